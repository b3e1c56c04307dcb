"""What a user sees in the interface while a template runs: what the server's history cannot say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(3000)]
EXAMPLES = Path(__file__).parents[3] / "example_workflows"
SAMPLER = "FramePackTransitionsSampler"

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
# A long video, soon sampled, of which the sampler shows nothing but its steps.
WITHOUT_VAE = """
    const values = { seconds: 24, steps: 2 };
    for (const node of graph._nodes) {
        for (const widget of node.widgets || []) widget.value = values[widget.name] ?? widget.value;
        if (node.type === 'SAMPLER') node.disconnectInput(node.inputs.findIndex((input) => input.name === 'vae'));
    }
"""
# A video of two sections, which is shorter than its timeline.
SHORTER = """
    for (const node of graph._nodes.filter((node) => node.type === 'SAMPLER')) {
        for (const widget of node.widgets) widget.value = widget.name === 'seconds' ? 2.4 : widget.value;
    }
"""
# What can be seen: {videos: [{file, seconds, width, shown}], texts and notices of samplers, pictures: nodes with one of a step}.
# The gate is told, so that the run waits for it; and all is drawn anew, as progress and the mouse have it done: the canvas
# begins to load a video when it draws the node.
SEEN = """
    app.canvas.setDirty(true, true);
    const videos = [...document.querySelectorAll('video')].map((video) => ({
        file: new URL(video.currentSrc || 'http://none/').searchParams.get('filename'),
        seconds: video.readyState > 0 ? video.duration : 0,
        width: video.videoWidth,
        shown: Math.round(video.getBoundingClientRect().width),
    }));
    const nodes = graph._nodes.filter((node) => node.type === 'SAMPLER');
    const valuesOf = (name) => nodes.flatMap((node) => (node.widgets || []).filter((widget) => name.test(widget.name)))
        .map((widget) => String(widget.value));
    const texts = valuesOf(/text-preview/), notices = valuesOf(/framepack_text/);
    const pictures = Object.keys(app.nodePreviewImages).filter((id) => app.nodePreviewImages[id]?.length);
    const shown = videos.filter((video) => video.seconds).map((video) => video.file);
    const body = JSON.stringify({ shown: [...shown, ...pictures.map(() => 'step')] });
    return fetch('/page_gate', { method: 'POST', body }).then(() => ({ videos, texts, notices, pictures }));
"""
# Whether every node shows its finished video.
ALL_SHOWN = """
    const videos = [...document.querySelectorAll('video')];
    const finished = (video) => !new URL(video.currentSrc).searchParams.get('filename').startsWith('FramePack_decoding');
    const shown = (video) => video.readyState > 0 && finished(video) && video.getBoundingClientRect().width > 0;
    return videos.length === COUNT && videos.every(shown);
"""
# Starts every video and says how far each one has come when all of them play.
PLAYED = """
    const plays = (video) => new Promise((done) => {
        video.addEventListener('timeupdate', () => video.currentTime > 0 && done(video.currentTime));
        Object.assign(video, { muted: true, currentTime: 0 }).play();
    });
    return Promise.all([...document.querySelectorAll('video')].map(plays));
"""


@pytest.fixture(autouse=True)
def gate(server):
    """Has every run wait until the page has shown what it sent."""
    server.post("/page_gate", {"closed": True})
    yield
    server.post("/page_gate", {"closed": False})


def run(browser, template: str, script: str, *, videos: int, nodes2: bool) -> dict:
    """What is seen while a template with so many videos runs after `script`, and then where each is once it plays."""
    graph = json.loads((EXAMPLES / f"{template}.json").read_text(encoding="utf-8"))
    before, watch = (text.replace("SAMPLER", SAMPLER) for text in (BEFORE_RUN + script, SEEN))
    until = ALL_SHOWN.replace("COUNT", str(videos))
    return browser.run(
        graph, runs=(before,), watch=watch, until=until, probe=PLAYED, nodes2=nodes2, settle=0, seconds=900
    )


def lengths(states: list[dict], prefix: str) -> dict[str, float]:
    """The seconds of all files that were shown whose names begin with `prefix`."""
    videos = [video for state in states for video in state["videos"] if video["seconds"]]
    return {video["file"]: video["seconds"] for video in videos if (video["file"] or "").startswith(prefix)}


@pytest.mark.parametrize(
    ("template", "samplers"), [("tiny_f1", 1), ("tiny_timeline", 1), ("tiny_transition", 2), ("tiny_ab", 2)]
)
def test_the_video_grows_in_the_sampler_and_plays_in_decode(browser, template, samplers, nodes2):
    seen = run(browser, template, "", videos=2 * samplers, nodes2=nodes2)
    states = seen["watched"]
    last = states[-1]["videos"]
    assert all(video["width"] > 0 and video["shown"] > 0 and video["seconds"] > 1 for video in last), last
    assert all(seconds > 0 for seconds in seen["result"]), "every video plays"
    previews = [video["file"] for video in last if video["file"].startswith("FramePack_preview")]
    assert len(previews) == samplers, "each sampler shows its video"
    assert len(last) - len(previews) == samplers, "each Decode shows its file"
    grown = lengths(states, "FramePack_preview")
    assert len(grown) >= 2 * samplers, "shorter videos were shown during the run"
    assert max(grown.values()) > min(grown.values()) + 1
    words = {text.split(" · ")[0] for state in states for text in state["texts"]}
    assert any(word.startswith("section 2 of ") for word in words), words
    assert not any(state["pictures"] for state in states), "a picture of a step would hide the video"


def test_the_video_grows_in_decode_where_the_sampler_shows_its_steps(browser, nodes2):
    seen = run(browser, "tiny_timeline", WITHOUT_VAE, videos=1, nodes2=nodes2)
    states = seen["watched"]
    assert any(state["pictures"] for state in states)
    parts = lengths(states, "FramePack_decoding").values()
    assert parts and min(parts) < 20, "a shorter video was shown while it was decoded"
    (video,) = states[-1]["videos"]
    assert not video["file"].startswith("FramePack") and video["width"] > 0 and video["shown"] > 0
    assert video["seconds"] == pytest.approx(24, abs=0.5) and seen["result"][0] > 0


def test_a_notice_stands_in_the_sampler_from_its_first_section_on(browser, nodes2):
    states = run(browser, "tiny_timeline", SHORTER, videos=2, nodes2=nodes2)["watched"]
    growing = [state for state in states if lengths([state], "FramePack_preview")]
    assert all(len(state["notices"]) == 1 for state in growing)
    assert "the timeline was made for" in growing[0]["notices"][0]
