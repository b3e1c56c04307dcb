"""Loops, more past frames and the newer prompt notations in ComfyUI: as without it, and a loop's seam is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.host
RUN = {"layout": "original", "steps": 8, "timeline": None}


@pytest.fixture(scope="module")
def alone(tiny: Any) -> Any:
    """The tiny model without ComfyUI."""
    from framepack_transitions.models.plain import PlainModel
    from framepack_transitions.tiny.bundle import load_tiny

    bundle = load_tiny()
    return PlainModel(bundle.dit, bundle.latent_scale)


@pytest.mark.parametrize("inputs", [{"loop": True}, {"recent_frames": 3}, {"loop": True, "recent_frames": 2}])
def test_loops_and_recent_frames_equal_the_run_without_the_host(tiny: Any, alone: Any, inputs: Any) -> None:
    run = {**RUN, "seconds": 2.4, "steps": 3, **inputs}
    in_host, outside = tiny.sample(tiny.model, **run), tiny.sample(alone, **run)
    assert in_host.shape[2] == 19 and torch.allclose(in_host, outside, atol=1e-3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_seam_of_a_loop_is_no_larger_than_steps_inside_it(tiny: Any, seed: int) -> None:
    def seam(**inputs: Any) -> tuple[float, float]:
        """How much the first frame differs from the last, and the most that neighbours do."""
        latents = tiny.sample(tiny.model, **RUN, seconds=2.4, seed=seed, **inputs)
        frames = tiny.vae.decode(latents)[0]
        steps = (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))
        return float((frames[0] - frames[-1]).abs().mean()), float(steps.max())

    looped, inside = seam(loop=True)
    assert looped <= 1.5 * inside, (looped, inside, seam())


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        ("times", "0s: a large red circle in the sky by day\n1.2s: an empty city at night"),
        ("brackets", "a large red circle in the sky by day［1.2秒：an empty city at night］"),
        ("brackets", "a large red circle in the sky by day [36f: an empty city at night]"),
    ],
)
def test_prompts_in_newer_notations_are_those_of_the_plain_one(tiny: Any, syntax: str, text: str) -> None:
    def timeline(text: str, syntax: str) -> Any:
        return tiny.call(
            "FramePackPromptTimeline", clip=tiny.clip, text=text, syntax=syntax, seconds=2.4, window=9, change="full", blend=0
        )  # fmt: skip

    plain = timeline("a large red circle in the sky by day\n[1.2s: an empty city at night]", "brackets")
    given = timeline(text, syntax)
    one, other = (
        tiny.sample(tiny.model, timeline=made[0], positive=made[1], steps=2) for made in (plain, given)
    )
    assert torch.equal(one, other)
