"""What a section needs once is computed once, and never instead of what a step needs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from framepack_transitions.models import kept_work as kept_work_module
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.kept_work import MOST, KeptWork, once
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.base import Technique
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from torch import Tensor

pytestmark = pytest.mark.usefixtures("no_gradients")

SECTIONS, STEPS = 2, 4
NEEDS_OBJECTS = {"context_refresh"}


class Doubled:
    """Twice its input, and how often that was computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, *others: Any) -> Tensor:
        self.calls += 1
        return 2 * x


def test_equal_inputs_are_computed_once() -> None:
    work, doubled = KeptWork(), Doubled()
    first = once(work, doubled, torch.arange(3), (1, 2), None)
    assert once(work, doubled, torch.arange(3), (1, 2), None) is first
    assert doubled.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        (torch.arange(1, 4), (1, 2), None),
        (torch.arange(4), (1, 2), None),
        (torch.arange(3).float(), (1, 2), None),
        (torch.arange(3), (1, 3), None),
        (torch.arange(3), (1, 2), torch.arange(3)),
    ],
)
def test_other_inputs_are_computed_anew(other: tuple[Any, ...]) -> None:
    work, doubled = KeptWork(), Doubled()
    once(work, doubled, torch.arange(3), (1, 2), None)
    assert torch.equal(once(work, doubled, *other), 2 * other[0])
    assert doubled.calls == 2


def test_a_tensor_that_changes_in_place_is_another_input() -> None:
    work, doubled, x = KeptWork(), Doubled(), torch.zeros(3)
    once(work, doubled, x)
    x += 1
    assert torch.equal(once(work, doubled, x), torch.full((3,), 2.0))


def test_inputs_that_come_and_go_are_kept_and_old_ones_dropped() -> None:
    work, doubled = KeptWork(), Doubled()
    for _ in range(3):
        for number in range(MOST):
            once(work, doubled, torch.tensor(number))
    assert doubled.calls == MOST
    once(work, doubled, torch.tensor(MOST))
    once(work, doubled, torch.tensor(0))
    assert doubled.calls == MOST + 2


def test_with_gradients_nothing_is_kept() -> None:
    work, doubled = KeptWork(), Doubled()
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(2):
            once(work, doubled, torch.zeros(1))
    assert doubled.calls == 2


def test_two_modules_of_equal_inputs_keep_their_own() -> None:
    work, x = KeptWork(), torch.ones(1, 2)
    for module in (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)):
        assert torch.equal(once(work, module, x), module(x))


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


@pytest.fixture(scope="module")
def dit(upstream: Any) -> FramePackDiT:
    return upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG)))


def sample(dit: FramePackDiT, *techniques: Technique, guidance: Guidance | None = None) -> Tensor:
    model = PlainModel(dit, 0.5)
    for technique in techniques:
        model = with_technique(model, technique)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3)),
    ]
    return sample_sections(
        PlainDriver(model),
        assign_prompts(plan_sections("f1", SECTIONS, 3), prompts),
        SampleInputs(
            start=normal(1, 16, 1, 8, 8, seed=5),
            has_start=True,
            negative=text(7),
            image_embeds=normal(1, 4, 12, seed=9),
        ),
        SampleSettings(layout="f1", window=3, steps=STEPS, seed=7, guidance=guidance or Guidance()),
    )[0]


def counted(dit: FramePackDiT, **options: Any) -> Counter[str]:
    """How often some parts ran in a run."""
    calls: Counter[str] = Counter()
    parts = {
        "image": dit.image_projection,
        "text": dit.context_embedder.proj_in,
        "pooled": dit.time_text_embed.text_embedder,
        "tier": dit.clean_x_embedder.proj_4x,
        "window": dit.x_embedder,
        "refiner": dit.context_embedder.token_refiner,
    }
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.update([name]))
        for name, module in parts.items()
    ]
    try:
        sample(dit, **options)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def test_what_depends_on_the_section_alone_runs_once_a_section(dit: FramePackDiT) -> None:
    """The refiner itself reads the time of each step, and the window is new in each."""
    every_step = {"window": SECTIONS * STEPS, "refiner": SECTIONS * STEPS}
    assert counted(dit) == {
        "image": SECTIONS,
        "text": SECTIONS,
        "pooled": SECTIONS,
        "tier": SECTIONS,
        **every_step,
    }


def test_every_branch_has_its_own_text_and_shares_the_past(dit: FramePackDiT) -> None:
    both = {"window": 2 * SECTIONS * STEPS, "refiner": 2 * SECTIONS * STEPS}
    assert counted(dit, guidance=Guidance(cfg=3.0)) == {
        "image": SECTIONS, "text": 2 * SECTIONS, "pooled": 2 * SECTIONS, "tier": SECTIONS, **both,
    }  # fmt: skip


@pytest.mark.parametrize("entry", [entry for entry in TECHNIQUES if entry.name not in NEEDS_OBJECTS])
def test_no_technique_sees_what_was_kept_for_another_step(
    entry: Any, dit: FramePackDiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = sample(dit, entry.example)
    monkeypatch.setattr(kept_work_module, "MOST", 0)
    assert torch.equal(kept, sample(dit, entry.example))
