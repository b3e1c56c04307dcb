"""The templates in the editor: they say what their API twins say, nothing lies on anything else, and Run works at once."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(1800)]
EXAMPLES = Path(__file__).parents[3] / "example_workflows"
TEMPLATES = sorted(path.stem for path in EXAMPLES.glob("*.json"))
TINY = [name for name in TEMPLATES if name.startswith("tiny_")]
SLACK = 1  # units of the graph: boxes in the page are rounded to pixels

# Nodes outside of the view are not drawn.
SHOW_ALL = """
    const boxes = [...graph._nodes, ...graph._groups].map(({ pos, size }) => [...pos, pos[0] + size[0], pos[1] + size[1]]);
    const [left, top] = [0, 1].map((side) => Math.min(...boxes.map((box) => box[side])));
    const [right, bottom] = [2, 3].map((side) => Math.max(...boxes.map((box) => box[side])));
    const view = app.canvas.ds;
    view.scale = Math.min(1450 / (right - left), 850 / (bottom - top));
    view.offset[0] = 100 / view.scale - left;
    view.offset[1] = 100 / view.scale - top;
    app.canvas.setDirty(true, true);
"""
# What would be queued, and the boxes (left, top, right, bottom) of nodes and groups as they are drawn.
SEEN = """
    const view = app.canvas.ds, corner = app.canvas.canvas.getBoundingClientRect();
    const inGraph = ({ left, top, right, bottom }) => [
        (left - corner.left) / view.scale - view.offset[0],
        (top - corner.top) / view.scale - view.offset[1],
        (right - corner.left) / view.scale - view.offset[0],
        (bottom - corner.top) / view.scale - view.offset[1],
    ];
    const boxOf = (node) => {
        const element = document.querySelector(`[data-node-id="${node.id}"]`);
        if (element) return inGraph(element.getBoundingClientRect());
        return [node.pos[0], node.pos[1] - 30, node.pos[0] + node.size[0], node.pos[1] + node.size[1]];
    };
    const nodes = graph._nodes.map((node) => ({ title: node.title, type: node.type, box: boxOf(node) }));
    const groups = graph._groups.map(({ pos, size }) => [...pos, pos[0] + size[0], pos[1] + size[1]]);
    return app.graphToPrompt().then(({ output }) => ({ prompt: output, nodes, groups }));
"""
LOOK = f"{SHOW_ALL} return new Promise((done) => setTimeout(done, 1000)).then(() => {{ {SEEN} }});"
# The layout does not depend on how good the pictures are.
FEW_STEPS = """
    for (const node of graph._nodes) {
        for (const widget of node.widgets || []) if (widget.name === 'steps') widget.value = 2;
    }
"""
# A section more: the sampler says how many of the others it takes over, and shows its video beside that.
LONGER = """
    for (const node of graph._nodes.filter((node) => node.type === 'FramePackTransitionsSampler')) {
        const seconds = node.widgets.find((widget) => widget.name === 'seconds');
        seconds.value += 1.2;
    }
"""


def example(name: str) -> dict:
    return json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loaded(browser, nodes2):
    """What every template is as it is opened."""
    seen = browser.run_all([example(name) for name in TEMPLATES], probe=LOOK, runs=(), nodes2=nodes2)
    return dict(zip(TEMPLATES, seen))


@pytest.fixture(scope="module")
def run(browser, nodes2):
    """What every template with the embedded model is before Run was pressed, and after it was pressed twice."""
    graphs = [example(name) for name in TINY]
    seen = browser.run_all(graphs, before=LOOK, runs=(FEW_STEPS, LONGER), probe=LOOK, settle=3, nodes2=nodes2)
    return dict(zip(TINY, seen))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_queues_what_its_api_twin_says(loaded, name):
    twin = json.loads((EXAMPLES / "api" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = loaded[name]["result"]["prompt"]
    assert prompt.keys() == twin.keys()
    for node, stated in twin.items():
        queued = prompt[node]["inputs"]
        # ComfyUI's own nodes get new inputs, and some of them queue what they show.
        kept = queued if is_ours(stated) else {key: queued.get(key) for key in stated["inputs"]}
        assert (prompt[node]["class_type"], kept) == (stated["class_type"], stated["inputs"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_tidy_when_it_is_opened(loaded, name):
    assert untidy(loaded[name]["result"]) == []


@pytest.mark.parametrize("name", TINY)
def test_a_template_is_tidy_after_a_run_and_after_another_with_a_notice(run, name):
    assert untidy(run[name]["result"]) == []


@pytest.mark.parametrize("name", TINY)
def test_a_run_changes_nothing_that_is_queued_next_time(run, name):
    """Else ComfyUI would make the same video again when something behind it is changed."""
    before, after = (
        {node: value["inputs"] for node, value in run[name][when]["prompt"].items() if is_ours(value)}
        for when in ("before", "result")
    )
    for inputs in before.values():
        inputs.update({"steps": 2} if "steps" in inputs else {})
        inputs.update(
            {"seconds": pytest.approx(inputs["seconds"] + 1.2)} if "reuse_sections" in inputs else {}
        )
    assert before == after


def is_ours(node: dict) -> bool:
    return node["class_type"].startswith("FramePack")


def untidy(seen: dict) -> list[str]:
    """The nodes that lie on another one or in no group."""
    nodes = seen["nodes"]
    lying = [
        f"{one['title']} lies on {other['title']}: {one['box']}, {other['box']}"
        for one, other in combinations(nodes, 2)
        if overlap(one["box"], other["box"])
    ]
    outside = [
        f"{node['title']} is in no group: {node['box']}"
        for node in nodes
        if node["type"] != "MarkdownNote"
        and not any(contains(group, node["box"]) for group in seen["groups"])
    ]
    return lying + outside


def overlap(one: list[float], other: list[float]) -> bool:
    return all(one[side] < other[side + 2] - SLACK and other[side] < one[side + 2] - SLACK for side in (0, 1))


def contains(outer: list[float], inner: list[float]) -> bool:
    return all(
        outer[side] <= inner[side] + SLACK and inner[side + 2] <= outer[side + 2] + SLACK for side in (0, 1)
    )
