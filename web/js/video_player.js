// Keeps the editor's video player out of what is queued.
//
// Once a node shows a video, the editor sends the player along as one of the node's inputs. To ComfyUI that is another
// node than in the run before: it would sample the same video again when Run is pressed for something behind it.
import { app } from "../../../scripts/app.js";
import { isOurs } from "./pack.js";

const PLAYER = "video-preview";

app.registerExtension({
  name: "FramePackTransitions.VideoPlayer",

  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!isOurs(nodeData)) return;
    const addDOMWidget = nodeType.prototype.addDOMWidget;
    nodeType.prototype.addDOMWidget = function (name, type, element, options) {
      const settings = name === PLAYER ? { ...options, serialize: false } : options;
      return addDOMWidget.call(this, name, type, element, settings);
    };
  },
});
