"""What a user sees in ComfyUI's editor, in a real browser: texts and pictures in the nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(1800)]
EXAMPLES = Path(__file__).parents[3] / "example_workflows"
SAMPLER, EVALUATION = (
    "FramePackTransitionsSampler",
    ("FramePackCompare", "FramePackTransitionEvaluator", "FramePackDisappearanceEvaluator"),
)
# Of every node: its class, title and box, and the text that it shows.
NODES = """
    return graph._nodes.map((node) => ({
        type: node.type,
        title: node.title,
        box: [...node.pos, ...node.size],
        text: node.widgets?.find((widget) => widget.name === 'framepack_text')?.value ?? null,
    }));
"""
# The same with the size of the picture that the node shows.
PICTURES = """
    const sized = async (node) => {
        const file = app.nodeOutputs[node.id]?.images?.[0];
        if (!file?.filename.endsWith('.png')) return null;
        const picture = await createImageBitmap(await (await fetch('/view?' + new URLSearchParams(file))).blob());
        return [picture.width, picture.height];
    };
    const nodes = (() => { SHOWN })();
    return (async () => {
        for (const [i, node] of graph._nodes.entries()) nodes[i].picture = await sized(node);
        return nodes;
    })();
""".replace("SHOWN", NODES)
TEXT = "node.widgets?.find((widget) => widget.name === 'framepack_text')?.value"
# Whether all evaluators show what they found.
SCORED = f"""
    const nodes = graph._nodes.filter((node) => {json.dumps(EVALUATION)}.includes(node.type));
    return nodes.every((node) => {TEXT}?.includes('STF') && app.nodeOutputs[node.id]?.images);
"""
# Whether the sampler says something, as it does of a video that is shorter than its timeline, and of no other.
SAID = f"""
    const node = graph._nodes.find((node) => node.type === '{SAMPLER}');
    const seconds = node.widgets.find((widget) => widget.name === 'seconds').value;
    return Boolean({TEXT}) === (seconds < 4);
"""


# Of every node: its folder in the node library, and whether it has a place for a text.
FOLDERS = f"""
    return graph._nodes.map((node) => ({{
        type: node.type,
        folder: node.constructor.nodeData?.category,
        has_text: {TEXT} !== undefined,
    }}));
"""


@pytest.fixture
def japanese(server):
    """The editor in Japanese."""
    server.post("/settings", {"Comfy.Locale": "ja"})
    yield
    server.post("/settings", {"Comfy.Locale": "en"})


def example(name: str) -> dict:
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def by_type(nodes: list[dict], class_type: str) -> list[dict]:
    return [node for node in nodes if node["type"] == class_type]


def test_scores_are_read_in_the_node_and_a_run_does_not_change_its_size(browser, nodes2):
    seen = browser.run(example("tiny_ab"), before=NODES, until=SCORED, probe=PICTURES, nodes2=nodes2)
    for name in EVALUATION:
        (node,) = by_type(seen["result"], name)
        assert "STF, new prompt seen" in node["text"]
        width, height = node["picture"]
        assert width > height
    boxes = [
        [node["box"] for node in nodes if node["type"] in EVALUATION]
        for nodes in (seen["before"], seen["result"])
    ]
    assert boxes[0] == boxes[1]


def test_a_notice_stands_in_its_node_until_the_node_runs_without_one(browser, nodes2):
    def change(seed: int, seconds: float) -> str:
        return f"""
            const sampler = graph._nodes.find((node) => node.type === '{SAMPLER}');
            const set = (name, value) => (sampler.widgets.find((widget) => widget.name === name).value = value);
            set('seed', {seed}); set('steps', 1); set('seconds', {seconds});
        """

    first = 72 if nodes2 else 70  # seeds of which no section is there from the other renderer's run
    seen = browser.run(
        example("tiny_timeline"),
        runs=(change(first, 2.4), change(first + 1, 4.8)),
        watch=NODES,
        until=SAID,
        nodes2=nodes2,
    )
    texts = [by_type(nodes, SAMPLER)[0]["text"] for nodes in seen["watched"]]
    assert any(text and "the timeline was made for" in text for text in texts)
    assert texts[-1] is None


def test_in_japanese_the_folders_are_named_so_and_scores_have_their_place(browser, japanese, nodes2):
    seen = browser.run(example("tiny_ab"), probe=FOLDERS, runs=(), nodes2=nodes2)["result"]
    (sampler, *_), (compare,) = by_type(seen, SAMPLER), by_type(seen, "FramePackCompare")
    assert sampler["folder"] == "FramePack/サンプリング" and compare["folder"] == "FramePack/評価"
    assert compare["has_text"] and not sampler["has_text"]
