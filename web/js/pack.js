// What the extensions of this pack share.

const PACK = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/")[1].split("/")[0]);

// Whether a node's definition comes from this pack, whatever the folder is called that it was cloned into.
export const isOurs = (nodeData) => nodeData.python_module === `custom_nodes.${PACK}`;
