"""What a user sees in the interface while a template runs: what the server's history cannot say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

COMFYUI = os.environ.get("COMFYUI_PATH", "")
PLAYWRIGHT = Path(COMFYUI).parent / "browser" / "node_modules" / "playwright-core"
CHROMIUM, NODE = shutil.which("chromium"), shutil.which("node")
SCRIPT = Path(__file__).parent / "browser" / "run_template.js"

pytestmark = [
    pytest.mark.host,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (COMFYUI and CHROMIUM and NODE and PLAYWRIGHT.is_dir()),
        reason="needs chromium, node, and playwright-core in browser/node_modules beside COMFYUI_PATH",
    ),
]


def states(server, template: str, *, nodes_2: bool) -> list[dict]:
    """What could be seen during and after a run of the template, in the order of time."""
    command = [NODE, SCRIPT, PLAYWRIGHT, CHROMIUM, server.url, template, str(nodes_2).lower()]
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize("nodes_2", [False, True])
@pytest.mark.parametrize(("template", "samplers"), [("tiny_f1", 1), ("tiny_timeline", 1), ("tiny_ab", 2)])
def test_the_video_grows_in_the_sampler_and_plays_in_decode(server, template, samplers, nodes_2):
    seen = states(server, template, nodes_2=nodes_2)
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
