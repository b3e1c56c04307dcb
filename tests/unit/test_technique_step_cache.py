"""FramePack Step Cache over whole runs: what is computed and what is reused, counted at the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Technique
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
from framepack_transitions.samplers.techniques.schedule.step_cache import CORRECTIONS, MODES, StepCache
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

WINDOW, STEPS = 3, 12
# Whatever the signals are: every third step is computed.
THIRDS = StepCache(threshold=10.0, longest_run=2, first=0.0)
REUSING = [mode for mode in MODES if mode != "measure"]
COMPUTED = 5  # 0, 3, 6, 9 and the last one


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


@pytest.fixture(scope="module")
def plain(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


class Sampled:
    """A run of four sections with a switch (or a cut) before the third, and how often the last block ran."""

    def __init__(self, model: PlainModel, *techniques: Technique, layout: str = "f1", **changes: Any) -> None:
        for technique in techniques:
            model = with_technique(model, technique)
        self.forwards = 0
        block = model.model.diffusion_model.single_transformer_blocks[-1]
        handle = block.register_forward_hook(self._count)
        try:
            self.latents, trace = self._sample(PlainDriver(model), layout, **changes)
        finally:
            handle.remove()
        self.sections = trace["sections"]

    def _count(self, *args: Any) -> None:
        self.forwards += 1

    @staticmethod
    def _sample(
        driver: PlainDriver,
        layout: str,
        *,
        cut: bool = False,
        cfg: float = 1.0,
        count: int = 4,
        store: Any = None,
    ) -> Any:
        prompts = [
            Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
            Prompt(start=0.8, text="new", conditioning=text(3), cut=cut),
        ]
        inputs = SampleInputs(
            start=normal(1, 16, 1, 8, 8, seed=5),
            has_start=True,
            negative=text(7),
            image_embeds=normal(1, 4, 12, seed=9),
        )
        settings = SampleSettings(
            layout=layout, window=WINDOW, steps=STEPS, seed=7, guidance=Guidance(cfg=cfg)
        )
        with torch.inference_mode():
            sections = assign_prompts(plan_sections(layout, 4, WINDOW), prompts)
            return sample_sections(driver, sections[:count], inputs, settings, store=store)

    def counted(self, name: str = "computed") -> list[int]:
        return [section["cache"][name] for section in self.sections]


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize("mode", REUSING)
def test_sections_are_sparse_but_for_the_first_after_the_switch(plain, mode, layout):
    magnitudes = " ".join(["1"] * (STEPS - 1))
    settings = StepCache(mode=mode, threshold=10.0, longest_run=2, first=0.0, magnitudes=magnitudes)
    run = Sampled(plain, settings, layout=layout)
    assert run.counted() == [COMPUTED, COMPUTED, STEPS, COMPUTED]
    assert run.counted("reused") == [STEPS - COMPUTED, STEPS - COMPUTED, 0, STEPS - COMPUTED]
    assert run.sections[0]["cache"]["reused_steps"] == [1, 2, 4, 5, 7, 8, 10]
    assert [section["evaluations"] for section in run.sections] == run.counted()
    assert run.forwards == 3 * COMPUTED + STEPS
    assert run.latents.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_a_threshold_that_nothing_passes_computes_everything_bit_for_bit(plain, mode):
    expected, run = Sampled(plain), Sampled(plain, StepCache(mode=mode, threshold=1e-9, first=0.0))
    assert torch.equal(run.latents, expected.latents) and run.forwards == expected.forwards == 4 * STEPS
    assert run.counted("reused") == [0, 0, 0, 0]
    assert "cache" not in expected.sections[0]


def test_off_leaves_no_trace(plain):
    run = Sampled(plain, StepCache(threshold=0.0))
    assert torch.equal(run.latents, Sampled(plain).latents) and "cache" not in run.sections[0]


def test_more_sections_after_a_switch_can_be_dense_or_none(plain):
    settings = StepCache(threshold=10.0, longest_run=2, first=0.0, dense=2)
    assert Sampled(plain, settings).counted() == [COMPUTED, COMPUTED, STEPS, STEPS]
    assert Sampled(plain, replace(settings, dense=0)).counted() == [COMPUTED] * 4


def test_two_predictions_of_a_step_are_reused_together(plain):
    run = Sampled(plain, THIRDS, cfg=2.0)
    assert run.counted() == [COMPUTED, COMPUTED, STEPS, COMPUTED]
    assert run.forwards == 2 * (3 * COMPUTED + STEPS)
    assert [section["evaluations"] for section in run.sections] == [10, 10, 24, 10]


def test_steps_around_the_edge_of_a_window_are_computed(plain):
    """12 steps lie at t 1, 11/12, ...: number 6, at 1/2, is the first one outside; then 6 and 7 are computed."""
    gate = SemanticKVGate(gamma=2.0, apply_to="all", t_end=0.51)
    run = Sampled(plain, THIRDS, gate)
    assert run.sections[0]["cache"]["reused_steps"] == [1, 2, 4, 5, 8, 9]


def test_a_prediction_that_begins_in_mid_section_is_computed_first(plain):
    history = ContrastiveGuidance(omega=0.0, history=1.5, apply_to="all", t_start=0.51, t_end=0.0)
    run = Sampled(plain, THIRDS, history)
    assert run.sections[0]["cache"]["reused_steps"] == [1, 2, 4, 5, 8, 9]
    # 0 and 3 with one prediction; 6, 7, 10 and 11 with two.
    assert run.sections[0]["evaluations"] == 2 + 2 * 4


def test_steps_that_move_nothing_are_not_asked_about(plain):
    resting = AdaptiveCFG(base=1.0, zero_init=0.1, apply_to="all")
    run = Sampled(plain, THIRDS, resting)
    cache = run.sections[0]["cache"]
    assert cache["computed"] + cache["reused"] < STEPS and 0 not in cache["reused_steps"]


def test_recorded_slopes_take_one_whole_section_for_each_shot(plain):
    settings = StepCache(threshold=10.0, longest_run=2, first=0.0, correction="recorded")
    assert Sampled(plain, settings).counted() == [STEPS, COMPUTED, STEPS, COMPUTED]
    assert Sampled(plain, settings, cut=True).counted() == [STEPS, COMPUTED, STEPS, COMPUTED]
    assert Sampled(plain, THIRDS, cut=True).counted() == [COMPUTED] * 4


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_run_that_goes_on_from_kept_sections_is_the_same(plain, tmp_path, correction):
    settings = StepCache(threshold=10.0, longest_run=2, first=0.0, correction=correction)
    expected = Sampled(plain, settings)
    with RecordFolder(tmp_path).job() as store:
        Sampled(plain, settings, count=2, store=store)
        again = Sampled(plain, settings, store=store)
    assert [section["reused"] for section in again.sections] == [True, True, False, False]
    assert torch.equal(again.latents, expected.latents) and again.counted() == expected.counted()


def test_nothing_is_left_on_the_model_or_the_technique(plain):
    first, second = Sampled(plain, THIRDS), Sampled(plain, THIRDS)
    assert torch.equal(first.latents, second.latents) and first.forwards == second.forwards
    assert torch.equal(Sampled(plain).latents, Sampled(plain).latents)


def test_two_step_caches_are_refused(plain):
    with pytest.raises(ValueError, match="keep one FramePack Step Cache"):
        Sampled(plain, THIRDS, StepCache())
    assert Sampled(plain, THIRDS, StepCache(threshold=0.0)).counted() == [COMPUTED, COMPUTED, STEPS, COMPUTED]


def test_measuring_computes_everything_and_writes_a_table_that_can_be_used(plain):
    run = Sampled(plain, StepCache(mode="measure"))
    assert torch.equal(run.latents, Sampled(plain).latents) and run.counted("reused") == [0, 0, 0, 0]
    first, _, switched, _ = (section["cache"].get("magnitudes") for section in run.sections)
    assert len(first) == STEPS - 1 and switched is None
    assert StepCache(mode="magcache", magnitudes=", ".join(f"{ratio:.3f}" for ratio in first))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mode": "none"}, "choose one of history"),
        ({"correction": "erc"}, "choose one of steady"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"longest_run": -1}, "longest_run is -1"),
        ({"first": 1.5}, "first is 1.5"),
        ({"magnitudes": "1.2, low"}, "bench cache --calibrate"),
        ({"magnitudes": "1.2, 0"}, "a ratio from 0.01 to 100"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        StepCache(**values)
