"""Core nodes that take a MODEL and make a schedule or a solver from it, before FramePack Sampler."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.host
ONE = {"seconds": 1.2, "timeline": None}


def made_by(name: str, *inputs: Any) -> Any:
    """What a node of the host's custom sampling gives."""
    node = getattr(importlib.import_module("comfy_extras.nodes_custom_sampler"), name)()
    outputs = getattr(node, getattr(node, "FUNCTION", "execute"))(*inputs)
    return getattr(outputs, "args", outputs)[0]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("BasicScheduler", ("simple", 3, 1.0)),
        ("BasicScheduler", ("beta", 3, 1.0)),
        ("BasicScheduler", ("karras", 3, 1.0)),
        ("BetaSamplingScheduler", (3, 0.6, 0.6)),
        ("SDTurboScheduler", (2, 1.0)),
    ],
)
def test_a_schedule_made_from_the_model_is_followed(tiny: Any, name: str, inputs: tuple[Any, ...]) -> None:
    sigmas = made_by(name, tiny.model, *inputs)
    latents, trace = tiny.run(tiny.model, sigmas=sigmas, **ONE)
    assert torch.isfinite(latents).all()
    assert trace["sections"][0]["sigmas"] == pytest.approx(sigmas.tolist(), abs=1e-4)


def test_a_schedule_that_does_not_begin_in_noise_is_refused(tiny: Any) -> None:
    sigmas = made_by("BasicScheduler", tiny.model, "ddim_uniform", 3, 1.0)
    with pytest.raises(ValueError, match="starts at 0.934 instead of 1"):
        tiny.run(tiny.model, sigmas=sigmas, **ONE)


def test_a_solver_made_for_the_model_samples(tiny: Any) -> None:
    solver = made_by("SamplerSASolver", tiny.model, 1.0, 0.2, 0.8, 1.0, 3, 4, False, False)
    plain = tiny.sample(tiny.model, steps=3, **ONE)
    sampled = tiny.sample(tiny.model, steps=3, sampler=solver, **ONE)
    assert torch.isfinite(sampled).all() and not torch.equal(sampled, plain)
