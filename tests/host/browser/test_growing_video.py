"""What a user sees in the interface while a template runs: what the server's history cannot say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(900)]
EXAMPLES = Path(__file__).parents[3] / "example_workflows"

# Another seed, so that nothing comes from the cache; and all nodes in view, for only there are videos loaded.
BEFORE_RUN = """
    for (const node of graph._nodes) {
        for (const widget of node.widgets || []) if (widget.name === 'seed') widget.value = Date.now() % 1000000;
    }
    const view = app.canvas.ds;
    view.scale = 1500 / Math.max(...graph._nodes.map((node) => node.pos[0] + node.size[0]));
    view.offset[0] = 0;
    view.offset[1] = 100 / view.scale;
    app.canvas.setDirty(true, true);
"""
# What can be seen: {videos: [{file, seconds, width, shown}], texts: [...]}.
SEEN = """
    const videos = [...document.querySelectorAll('video')].map((video) => ({
        file: new URL(video.currentSrc || 'http://none/').searchParams.get('filename'),
        seconds: video.readyState > 0 ? video.duration : 0,
        width: video.videoWidth,
        shown: Math.round(video.getBoundingClientRect().width),
    }));
    const nodes = graph._nodes.filter((node) => node.type === 'FramePackTransitionsSampler');
    const widgets = nodes.flatMap((node) => (node.widgets || []).filter((widget) => /text-preview/.test(widget.name)));
    return { videos, texts: widgets.map((widget) => String(widget.value)) };
"""


@pytest.mark.parametrize(("template", "samplers"), [("tiny_f1", 1), ("tiny_timeline", 1), ("tiny_ab", 2)])
def test_the_video_grows_in_the_sampler_and_plays_in_decode(browser, template, samplers, nodes2):
    graph = json.loads((EXAMPLES / f"{template}.json").read_text(encoding="utf-8"))
    seen = browser.run(graph, runs=(BEFORE_RUN,), watch=SEEN, nodes2=nodes2, settle=4, seconds=400)["watched"]
    last = seen[-1]["videos"]
    assert all(video["width"] > 0 and video["shown"] > 0 and video["seconds"] > 1 for video in last), last
    previews = [video["file"] for video in last if video["file"].startswith("FramePack_preview")]
    assert len(previews) == samplers, "each sampler shows its video"
    assert len(last) - len(previews) == samplers, "each Decode shows its file"
    lengths = {
        video["file"]: video["seconds"]
        for state in seen
        for video in state["videos"]
        if video["seconds"] and (video["file"] or "").startswith("FramePack_preview")
    }
    assert len(lengths) >= 2 * samplers, "shorter videos were shown during the run"
    assert max(lengths.values()) > min(lengths.values()) + 1
    words = {text.split(" · ")[0] for state in seen for text in state["texts"]}
    assert any(word.startswith("section 2 of ") for word in words), words
