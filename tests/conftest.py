"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Examples are the same in every run; `pytest --hypothesis-profile explore` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("repeatable")

# Before anything imports torch. The tests' tensors are so small that several threads mostly wait for one another,
# which on a busy machine takes ten times as long as one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Where more threads are asked for, they sleep while they wait: several test processes whose threads wait busily for one
# another take ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _helper(name: str) -> ModuleType:
    """The helper module tests/<name>.py: the importlib import mode leaves tests/ off sys.path."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def no_gradients() -> Iterator[None]:
    """Nothing is noted for gradients: for files that only sample, in `pytestmark = pytest.mark.usefixtures("no_gradients")`."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def upstream() -> ModuleType:
    """Upstream's recorded numbers and their rules: load("dit/all_tiers"), fill(module), names("dit")."""
    return _helper("upstream_fixtures")


@pytest.fixture
def recorded_frequencies(upstream: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time embedding's frequencies as the machine that recorded upstream's numbers rounded them.

    They are float32 exponentials, whose last bit differs between processors, and are multiplied by up to 10000: one
    bit moves the transformer's output by 5e-5.
    """
    from framepack_transitions.models.layers import embedders

    monkeypatch.setattr(embedders, "frequencies", lambda device: upstream.frequencies().to(device))


@pytest.fixture(scope="session")
def training_cases() -> ModuleType:
    """Clips and caches of training data: training_cases.write_clip(path, 130, cut=72), training_cases.make_dataset(folder)."""
    return _helper("training_cases")


@pytest.fixture(scope="session")
def dit_cases() -> ModuleType:
    """Small transformers and their inputs: dit_cases.make_dit(), dit_cases.make_inputs(batch=2)."""
    return _helper("dit_cases")


@pytest.fixture(scope="session")
def lora_cases() -> ModuleType:
    """LoRA files in all name styles: lora_cases.ORIGINAL_STYLES["kohya"].write(factors, alpha)."""
    return _helper("lora_cases")


@pytest.fixture(scope="session")
def quantised_cases() -> ModuleType:
    """Checkpoints in quantised layouts: stored, plain = quantised_cases.quantise(dit, "nvfp4")."""
    return _helper("quantised_cases")


@pytest.fixture(scope="session")
def score_cases() -> ModuleType:
    """Made-up scores: score_cases.video_scores(switches=(score_cases.switch_scores(30, stf=...),))."""
    return _helper("score_cases")


@pytest.fixture(scope="session")
def host_nodes() -> ModuleType:
    """What core nodes do to a video: host_nodes.outcomes(tiny, folder)."""
    return _helper("host_nodes")


@pytest.fixture(autouse=True)
def outside_comfyui(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides a ComfyUI that host tests have loaded into this process from all other tests."""
    if not request.node.get_closest_marker("host"):
        monkeypatch.delitem(sys.modules, "comfy.model_patcher", raising=False)


@pytest.fixture(scope="session")
def fake_comfy() -> ModuleType:
    """An imitation of a ComfyUI server: with fake_comfy.serving(video) as comfy: ... comfy.url"""
    return _helper("fake_comfy")


@pytest.fixture(scope="session")
def metric_videos() -> ModuleType:
    """Videos whose scores are known: metric_videos.scene(size, seed), .mixed(old, new, shares), ..."""
    return _helper("metric_videos")


@pytest.fixture(scope="session")
def report_page() -> ModuleType:
    """The keys that docs/REPORT.md lists: report_page.check(report, "demo")."""
    return _helper("report_page")
