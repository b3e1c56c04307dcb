"""Draws the pictures that the help pages begin with: each node alone in the editor, in English and Japanese.

It is no test, and runs only when it is named, with what the tests here need, on a frontend that has Nodes 2.0:

    COMFYUI_PATH=/path/to/ComfyUI python -m pytest tests/host/browser/node_pictures.py

It writes into `web/docs/images`. One version of the editor on one machine gives the same files again for nodes that did not
change; commit the pictures that show something else than before.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from framepack_transitions.nodes import NODE_CLASS_MAPPINGS
from PIL import Image

pytestmark = [pytest.mark.host, pytest.mark.timeout(1800)]
FOLDERS = {"en": "", "ja": "ja"}
IMAGES = Path(__file__).parents[3] / "web" / "docs" / "images"
WIDTH = 360
# Nothing in the node but what it has itself, and nothing over it.
SETTINGS = {"Comfy.NodeBadge.NodeSourceBadgeMode": "None", "Comfy.Minimap.Visible": False}
# Shows the node as low as it gets, clear of the editor's bars; gives its box in the page: left, top, right, bottom.
PLACE = """
    const view = app.canvas.ds, [node] = graph._nodes;
    view.scale = 1;
    view.offset[0] = 500 - node.pos[0];
    view.offset[1] = 120 - node.pos[1];
    node.setSize([node.size[0], 0]);
    app.canvas.setDirty(true, true);
    const box = () => {
        const { left, top, right, bottom } =
            document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
        return [left, top, right, bottom].map(Math.round);
    };
    return new Promise((done) => setTimeout(() => done(box()), 1000));
"""


def alone(class_type: str) -> dict:
    """A workflow, as the editor saves it, of one node with the values that it comes with."""
    node = {
        "id": 1,
        "type": class_type,
        "pos": [0, 0],
        "size": [WIDTH, 60],
        "flags": {},
        "order": 0,
        "mode": 0,
    }
    return {"last_node_id": 1, "last_link_id": 0, "nodes": [node], "links": [], "groups": [], "version": 0.4}


@pytest.mark.parametrize("locale", FOLDERS)
def test_draw_every_node(server, browser, tmp_path, locale):
    if not browser.has_nodes2:
        pytest.skip("this version of the editor does not offer Nodes 2.0")
    server.post("/settings", {**SETTINGS, "Comfy.Locale": locale})
    graphs = [alone(name) for name in NODE_CLASS_MAPPINGS]
    seen = browser.run_all(graphs, probe=PLACE, runs=(), nodes2=True, screenshots=tmp_path)
    for number, (name, visit) in enumerate(zip(NODE_CLASS_MAPPINGS, seen)):
        with Image.open(tmp_path / f"{number}.png") as page:
            picture = page.convert("RGB").crop(visit["result"])
        picture.save(IMAGES / FOLDERS[locale] / f"{name}.webp", quality=80, method=6)
