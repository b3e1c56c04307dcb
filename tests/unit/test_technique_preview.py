"""The picture of what techniques do: a preview says what a run then does, and the picture shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from framepack_transitions.metrics.reporting.style import picture_of
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.sampling import trace_plot
from framepack_transitions.nodes.sampling.preview import FramePackTechniquePreview
from framepack_transitions.nodes.sampling.trace_plot import plot_trace
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import LAYOUTS, plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.preview import preview_trace
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.dual_memory import DualMemory
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.base import Prediction, Step, Technique
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.guidance.contrastive import ContrastiveGuidance
from framepack_transitions.samplers.techniques.schedule.transition_sigmas import TransitionSigmas
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry
from matplotlib.text import Text

SECTION = plan_sections("f1", 1, 9)[0].with_prompt(Prompt(start=0.0, text=""))
SWITCHED = replace(SECTION, change=1.0, since_switch=0)
WIDGETS = dict(layout="f1", seconds=3.6, window=9, steps=10, distilled_guidance=10.0, cfg=1.0, shift=0.0)
SWITCH = Timeline((TimelineEntry(start=1.2, prompt="an empty room", conditioning=None),))


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


@dataclass(frozen=True)
class Away(Technique):
    """Asks for a prediction in a window and tells of its own strength."""

    t_start: float = 1.0
    t_end: float = 0.4

    def predictions(self, section, step):
        inside = self.amount(section) and self.t_end <= step.t <= self.t_start
        return (Prediction("positive", "anchor"),) if inside else ()

    def describe(self, section, step):
        return {**super().describe(section, step), "strength": 3 * step.sigma * self.amount(section)}


TECHNIQUES = (
    AdaptiveCFG(zero_init=0.2, t_end=0.3),
    SemanticKVGate(),
    AttentionScaling(),
    TransitionSigmas(shift=12.0, extra_steps=2),
    Away(),
    Technique(apply_to="all"),
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_preview_says_what_a_run_then_does(model, layout):
    techniques = TECHNIQUES
    settings = SampleSettings(layout=layout, window=3, steps=5, guidance=Guidance(distilled=9.0))
    sections = plan_sections(layout, 3, 3)

    def prompts(*texts):
        return [
            Prompt(start=0.0, text="old", conditioning=texts[0], change=0.0),
            Prompt(start=0.4, text="new", conditioning=texts[1], change=0.5),
        ]

    preview = preview_trace(techniques, assign_prompts(sections, prompts(None, None)), settings, size=(8, 8))
    for technique in techniques:
        model = with_technique(model, technique)
    texts = [TextConditioning(normal(1, 5, 24, seed=i), normal(1, 20, seed=i + 1)) for i in (1, 3)]
    with torch.inference_mode():
        _, trace = sample_sections(
            PlainDriver(model),
            assign_prompts(sections, prompts(*texts)),
            SampleInputs(
                start=normal(1, 16, 1, 8, 8, seed=5),
                has_start=True,
                negative=texts[0],
                image_embeds=normal(1, 4, 12, seed=9),
            ),
            settings,
        )
    assert len(preview["sections"]) == len(trace["sections"]) == 3
    for foreseen, done in zip(preview["sections"], trace["sections"]):
        assert {**foreseen, "seconds": 0} == {**done, "seconds": 0}
    assert preview["techniques"] == trace["techniques"]
    assert np.array_equal(plot_trace(preview), plot_trace(trace))


def test_a_schedule_that_starts_low_is_previewed_as_over_an_initial_video():
    sigmas = torch.tensor([0.6, 0.5, 0.2, 0.0])
    trace = preview_trace((), [SECTION], SampleSettings(), size=(8, 8), sigmas=sigmas)
    assert trace["sections"][0]["sigmas"] == pytest.approx(sigmas.tolist())


def test_a_technique_says_how_much_it_acts_where_it_says_nothing_else():
    half = replace(SWITCHED, change=0.5)
    assert Technique().describe(half, Step(0.9, 0.9)) == {"amount": 0.5}
    assert Technique().describe(SECTION, Step(0.9, 0.9)) == {"amount": 0.0}
    for idle in (
        ContextPurge(last="keep", history_2x="keep", history_4x="keep"),
        ContextPurge(threshold=0.6),
        ContextRefresh(strength=0.0),
        ContrastiveGuidance(omega=0.0),
    ):
        assert not any(idle.describe(half, Step(0.9, 0.9)).values()), idle
    assert ContextPurge().describe(half, Step(0.9, 0.9)) == {"amount": 0.5}
    first = replace(SECTION, since_switch=0)
    assert ContextRefresh(apply_to="all").describe(first, Step(0.9, 0.9)) == {"refreshed from sigma": 0.0}
    windowed = Away()
    assert windowed.describe(SWITCHED, Step(0.9, 0.6))["amount"] == 1
    assert windowed.describe(SWITCHED, Step(0.9, 0.4))["amount"] == 0


def test_the_trace_lists_predictions_and_what_techniques_say():
    settings = SampleSettings(layout="f1", window=9, steps=4, shift=1.0)
    sections = [replace(SWITCHED, prompt=Prompt(start=0.0, text="new"))]
    techniques = (AdaptiveCFG(base=3.0, t_end=0.6), Away())
    (record,) = preview_trace(techniques, sections, settings, size=(8, 8))["sections"]
    both = ["positive", "negative", "positive/anchor"]
    assert record["predictions"] == [both, both, ["positive", "positive/anchor"], ["positive"]]
    assert record["evaluations"] == 9
    silent, away = record["techniques"]
    assert silent == {} and away["amount"] == [1, 1, 1, 0]
    assert away["strength"] == pytest.approx([3, 2.25, 1.5, 0.75])


class TestPicture:
    def picture(self, model, *techniques, **values):
        for technique in techniques:
            model = with_technique(model, technique)
        (image,) = FramePackTechniquePreview().draw(model=model, **{**WIDGETS, **values})
        return image

    def test_it_is_an_image_and_grows_by_what_there_is_to_show(self, model):
        plain = self.picture(model)
        gated = self.picture(model, SemanticKVGate(), timeline=SWITCH)
        more = self.picture(model, SemanticKVGate(), Away(), timeline=SWITCH)
        assert plain.ndim == 4 and plain.shape[0] == 1 and plain.shape[2:] == (1000, 3)
        assert plain.dtype == torch.float32 and 0 <= plain.min() and plain.max() == 1
        assert plain.shape[1] < gated.shape[1] < more.shape[1]

    @pytest.mark.parametrize(
        ("changed", "values"),
        [
            (AdaptiveCFG(base=8.0), {}),
            (AdaptiveCFG(zero_init=0.3), {}),
            (TransitionSigmas(), {}),
            (SemanticKVGate(gamma=2.0), {}),
            (None, {"steps": 20}),
            (None, {"shift": 2.0}),
            (None, {"seconds": 7.2}),
            (None, {"cfg": 2.0}),
            (None, {"start_latent": {"samples": torch.zeros(1, 16, 1, 8, 8)}}),
            (None, {"sigmas": torch.tensor([1.0, 0.5, 0.0])}),
            (None, {"timeline": None}),
        ],
    )
    def test_every_setting_shows(self, model, changed, values):
        before = self.picture(model, AdaptiveCFG(), SemanticKVGate(), timeline=SWITCH)
        own = [AdaptiveCFG(), SemanticKVGate()]
        techniques = [technique for technique in own if type(technique) is not type(changed)]
        techniques += [] if changed is None else [changed]
        after = self.picture(model, *techniques, **{"timeline": SWITCH, **values})
        assert before.shape != after.shape or not torch.equal(before, after)

    def test_techniques_and_what_they_look_for_are_called_as_on_their_nodes(self, model, monkeypatch):
        written = []

        def noted(figure):
            written.extend(text.get_text() for text in figure.findobj(Text))
            return picture_of(figure)

        monkeypatch.setattr(trace_plot, "picture_of", noted)
        words = {"concept": "dual_memory/0/concept", "keep": "dual_memory/0/keep"}
        self.picture(model, DualMemory(**words), timeline=SWITCH)
        assert {"Dual Memory", "tokens by concept"} <= set(written)

    def test_text_to_video_begins_a_frame_earlier(self, model):
        near = {
            "timeline": Timeline((TimelineEntry(start=0.6, prompt="new", conditioning=None),)),
            "window": 9,
            "seconds": 3.6,
        }
        drawn = [
            self.picture(
                model, AdaptiveCFG(), **near, start_latent={"samples": torch.full((1, 16, 1, 8, 8), x)}
            )
            for x in (0.0, 1.0)
        ]
        assert drawn[0].shape != drawn[1].shape or not torch.equal(*drawn)

    def test_what_the_sampler_refuses_is_not_drawn(self, model):
        with pytest.raises(ValueError, match="same part of the past"):
            self.picture(model, ContextPurge(), ContextPurge(), timeline=SWITCH)

    def test_a_connected_trace_is_drawn_instead(self, model):
        settings = SampleSettings(layout="f1", window=9, steps=10)
        sections = assign_prompts(plan_sections("f1", 3, 9), [Prompt(start=0.0, text="", change=0.0)])
        trace = preview_trace((), sections, settings, size=(80, 80))
        assert torch.equal(
            self.picture(model, SemanticKVGate(), trace=trace, seconds=9.0), self.picture(model)
        )

    def test_long_videos_are_drawn_as_their_changes(self, model):
        """Sixty sections of 25 steps that do the same take the room of one."""
        long = self.picture(model, SemanticKVGate(), seconds=72.0, timeline=SWITCH)
        assert long.shape == self.picture(model, SemanticKVGate(), timeline=SWITCH).shape

    @pytest.mark.parametrize("steps", [1, 2, 300])
    def test_few_and_many_steps_and_odd_prompts_are_drawn(self, model, steps):
        entries = (
            TimelineEntry(start=1.2, prompt="夜の街 $x_1$ {a} [b] % \n" * 9, conditioning=None),
            TimelineEntry(start=2.4, prompt="", conditioning=None),
        )
        techniques = (AdaptiveCFG(), SemanticKVGate(mode="drop"), Away(), Technique(), Technique())
        odd = {"steps": steps, "timeline": Timeline(entries)}
        image, without = self.picture(model, *techniques, **odd), self.picture(model, **odd)
        assert torch.isfinite(image).all() and image.shape[2:] == without.shape[2:]
        assert image.shape[1] > without.shape[1], "the techniques' curves take room"

    def test_another_model_and_an_empty_trace_are_refused(self, model):
        other = SimpleNamespace(model=SimpleNamespace())
        with pytest.raises(ValueError, match="model is a SimpleNamespace, not a FramePack model"):
            self.picture(other)
        with pytest.raises(ValueError, match="trace has no sections"):
            self.picture(model, trace={"sections": []})
