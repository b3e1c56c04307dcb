// Shows the text that a node of this pack gives with its results, scores or notices, in the node itself.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { isOurs } from "./pack.js";

const WIDGET = "framepack_text";
const HEIGHT = { scores: 240, notices: 72 }; // px at least
const MOST = { scores: 320, notices: 160 };

// Scores come with a plot. The category does not tell: the editor translates it.
const showsScores = (nodeData) => nodeData.output_name?.includes("plot");
const findWidget = (node) => node.widgets?.find((widget) => widget.name === WIDGET);

function addWidget(node, kind) {
  const element = document.createElement("pre");
  Object.assign(element.style, {
    margin: "0",
    padding: "4px 6px",
    overflow: "auto",
    boxSizing: "border-box",
    height: "100%",
    width: "100%",
    font: "11px/1.35 ui-monospace, monospace",
    color: "var(--input-text)",
    background: "var(--comfy-input-bg)",
    userSelect: "text",
    whiteSpace: kind === "scores" ? "pre" : "pre-wrap",
  });
  const widget = node.addDOMWidget(WIDGET, "framepack_text", element, {
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
    getMinHeight: () => HEIGHT[kind],
    getMaxHeight: () => MOST[kind],
    serialize: false,
  });
  widget.serialize = false;
  return widget;
}

// A node grows when it gets a text, and only in height: in width a video would ask for more with every state it shows.
function growToFit(node) {
  const [, height] = node.computeSize();
  node.setSize([node.size[0], Math.max(node.size[1], height)]);
}

// A node may show a text, and then videos without one, while it runs; what it said in the run before is removed when it begins.
function showText(node, output, kind) {
  if (!output?.text?.length) return;
  const widget = findWidget(node) ?? addWidget(node, kind);
  widget.value = output.text.join("\n");
  growToFit(node);
  node.setDirtyCanvas?.(true, true);
}

function removeWidget(node) {
  const widget = findWidget(node);
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  node.setDirtyCanvas?.(true, true);
}

// The node of an execution's id, which names the subgraphs around it too: "5:3" is node 3 of subgraph node 5.
function findNode(id) {
  let graph = app.graph;
  let node;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(part) ?? graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}

const kinds = new Map(); // by the node's class

app.registerExtension({
  name: "FramePackTransitions.NodeText",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!isOurs(nodeData)) return;
    const kind = showsScores(nodeData) ? "scores" : "notices";
    kinds.set(nodeData.name, kind);
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      showText(this, output, kind);
    };
  },

  // Nodes with scores have their text from the beginning, so that a run does not change their size.
  nodeCreated(node) {
    if (kinds.get(node.comfyClass) === "scores") addWidget(node, "scores");
  },

  setup() {
    // A node without a notice sends no text.
    api.addEventListener("executing", ({ detail }) => {
      const node = detail ? findNode(detail) : undefined;
      if (node && kinds.get(node.comfyClass) === "notices" && findWidget(node)) removeWidget(node);
    });
  },
});
