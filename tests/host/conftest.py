"""A real ComfyUI for the tests marked host: its checkout is named by COMFYUI_PATH, it runs on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

PACK = Path(__file__).parents[2]
PAGE_GATE = Path(__file__).parent / "browser" / "page_gate.py"
EXAMPLES_INPUT = PACK / "example_workflows" / "input"
COMFYUI = os.environ.get("COMFYUI_PATH")
# The folder `static` of a frontend other than the installed one.
FRONT_END = os.environ.get("COMFYUI_FRONT_END")


def pytest_collection_modifyitems(items):
    if COMFYUI is None:
        skip = pytest.mark.skip(
            reason="needs ComfyUI: set COMFYUI_PATH to a checkout whose requirements are installed"
        )
        for item in items:
            if item.get_closest_marker("host"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def comfy():
    """The host's packages in this process, set to the CPU before anything reads its settings."""
    sys.path.insert(0, COMFYUI)
    from comfy.cli_args import args

    args.cpu = True
    import comfy.samplers
    import comfy.sd  # noqa: F401

    return sys.modules["comfy"]


@pytest.fixture(scope="session", autouse=True)
def keep_no_sections():
    """Every run in this process samples all of its sections, whichever tests came before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FRAMEPACK_SECTIONS", "off")
        yield


@pytest.fixture
def every_step(comfy, monkeypatch):
    """Has the host report every step of progress; newer ones leave out those that follow quickly."""
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0, raising=False)
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_PERCENT", 0, raising=False)


class Server:
    """A ComfyUI server over HTTP."""

    def __init__(self, url: str, process: subprocess.Popen, log: Path, base: Path) -> None:
        self.url, self.process, self.log, self.base = url, process, log, base

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.loads(response.read() or "null")

    def post(self, path: str, value):
        request = urllib.request.Request(
            self.url + path, json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read() or "null")

    def queue(self, workflow) -> str:
        return self.post("/prompt", {"prompt": workflow})["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = 120) -> dict:
        """The history entry of a prompt once it is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.1)
        raise TimeoutError(
            f"prompt {prompt_id} did not finish in {seconds} s:\n{self.log.read_text()[-3000:]}"
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server with this checkout linked into its custom_nodes, and a gate beside it, which tests in the editor can close."""
    base = tmp_path_factory.mktemp("comfyui")
    for folder in ("custom_nodes", "input", "user"):
        (base / folder).mkdir()
    (base / "custom_nodes" / "framepack-transitions").symlink_to(PACK, target_is_directory=True)
    (base / "custom_nodes" / PAGE_GATE.name).symlink_to(PAGE_GATE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = base / "log.txt"
    command = [
        sys.executable,
        "main.py",
        "--cpu",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--database-url",
        f"sqlite:///{base / 'user.db'}",
        "--disable-api-nodes",
        "--preview-method",
        "latent2rgb",
    ]
    if FRONT_END is not None:
        command += ["--front-end-root", FRONT_END]
    usual = {name: value for name, value in os.environ.items() if name != "FRAMEPACK_SECTIONS"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=COMFYUI, env=usual, stdout=stream, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", process, log, base)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_ready(server: Server, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"ComfyUI stopped while starting:\n{server.log.read_text()[-3000:]}")
        try:
            server.get("/system_stats")
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"ComfyUI did not answer:\n{server.log.read_text()[-3000:]}")


class TinyRun:
    """The embedded model in this host, with a prompt switch in the second of two sections."""

    def __init__(self) -> None:
        from framepack_transitions.nodes import NODE_CLASS_MAPPINGS

        self.nodes = NODE_CLASS_MAPPINGS
        self.model, self.clip, self.vae, self.clip_vision = self.call("FramePackTinyLoader")
        pixels = np.array(Image.open(EXAMPLES_INPUT / "framepack_transitions_start.png").convert("RGB"))
        self.image = torch.from_numpy(pixels).float()[None] / 255
        outputs = self.call(
            "FramePackPromptTimeline",
            clip=self.clip,
            text="a large red circle stands still in the sky by day\n[1.2s: an empty city at night]",
            syntax="brackets",
            seconds=2.4,
            window=9,
            change="full",
            blend=0,
        )
        self.timeline, self.positive = outputs[0], outputs[1]

    def call(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        """What a node of the pack returns."""
        node = self.nodes[name]()
        with torch.inference_mode():
            outputs = getattr(node, node.FUNCTION)(**inputs)
        return outputs["result"] if isinstance(outputs, dict) else outputs

    def encode(self, text: str) -> list[Any]:
        """The CONDITIONING of a text."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def sample(self, model: Any, **inputs: Any) -> torch.Tensor:
        """The latents of a run."""
        return self.run(model, **inputs)[0]

    def run(self, model: Any, **inputs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        """The latents of a run and its trace; what is not given is as in the node, but for one short video."""
        defaults = dict(
            positive=self.positive,
            negative=self.encode(""),
            start_latent={"samples": self.vae.encode(self.image)},
            layout="f1",
            seconds=2.4,
            latent_frames=0,
            window=9,
            steps=4,
            distilled_guidance=10.0,
            cfg=1.0,
            guidance_rescale=0.0,
            shift=0.0,
            solver="unipc_bh1",
            denoise=1.0,
            upstream_rounding=False,
            seed=2,
            clip_vision_output=self.clip_vision.encode_image(self.image, crop=False),
            timeline=self.timeline,
        )
        latent, trace = self.call("FramePackTransitionsSampler", model=model, **{**defaults, **inputs})
        return latent["samples"], trace


@pytest.fixture(scope="session")
def tiny(comfy):
    """The embedded model and what a run of it needs, in this process."""
    return TinyRun()
