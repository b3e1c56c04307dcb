"""Context refresh: what is remembered afterwards, what the video keeps, and that off is off."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.plan import direction_of, plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.techniques.context.blur import ContextBlur
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh, held, nearest
from framepack_transitions.samplers.techniques.preparation import Preparation
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

WINDOW = 3
LAYOUTS = ("f1", "original")


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def switched(layout: str):
    """The section that meets the switch, of three; two or one of them lie before it."""
    prompts = [Prompt(start=0.0, text="old", change=0.0), Prompt(start=0.9, text="new")]
    sections = assign_prompts(plan_sections(layout, 3, WINDOW), prompts)
    return next(section for section in sections if section.since_switch == 0)


def preparation_of(section, history, solved=None, attachments=None, image_embeds=None) -> Preparation:
    return Preparation(
        section=section,
        history=history,
        image_embeds=lambda: image_embeds if history.replaced_tokens is None else history.replaced_tokens,
        attachments=attachments or {},
        draw_noise=lambda: torch.zeros(1, 16, WINDOW, 4, 4),
        to_vae=lambda latents: latents,
        to_model=lambda latents: latents,
        vision_tokens=lambda output: output.last_hidden_state,
        solve=solved or (lambda **given: (torch.ones(1, 16, WINDOW, 4, 4), 7)),
    )


def prepared(layout: str, technique: ContextRefresh, attachments=None, image_embeds=None):
    """Run the hook with a denoiser that writes down what it was given and returns ones."""
    section, asked = switched(layout), []
    history = History(direction_of(layout), torch.full((1, 16, 1, 4, 4), 5.0))
    for number in range(section.index):
        history.append(torch.full((1, 16, WINDOW, 4, 4), 10.0 + number))
    solved = lambda **given: (asked.append(given), (torch.ones(1, 16, WINDOW, 4, 4), 7))[1]  # noqa: E731
    preparation = preparation_of(section, history, solved, attachments, image_embeds)
    technique.before_section(section, preparation)
    return preparation, asked


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("frames", [0, 1, 2])
def test_the_frames_next_to_the_window_are_replaced_and_the_video_is_not(layout, frames):
    preparation, [solved] = prepared(layout, ContextRefresh(frames=frames, strength=0.6))
    newest = 10.0 + preparation.section.index - 1
    assert (solved["initial"] == newest).all() and solved["strength"] == 0.6
    used = frames or WINDOW
    remembered = preparation.history.recent(WINDOW)[0, 0, :, 0, 0].tolist()
    expected = [newest] * (WINDOW - used) + [1.0] * used
    assert remembered == (expected if layout == "f1" else expected[::-1])
    assert not (preparation.history.video() == 1).any()
    assert preparation.evaluations == 7
    assert preparation.record == {"refreshed": {"sigma": 0.6, "frames": used, "anchor": "kept"}}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sees", ["full", "anchor", "none"])
def test_what_is_refreshed_sees_what_was_before_it(layout, sees):
    preparation, [solved] = prepared(layout, ContextRefresh(sees=sees))
    context = solved["context"]
    newest = 10.0 + preparation.section.index - 1
    everything = torch.cat([context.clean, context.clean_2x, context.clean_4x], dim=2)
    assert not (everything == newest).any(), "not itself"
    assert (everything == 5).any() == (sees != "none")
    if layout == "f1":
        assert (everything == newest - 1).any() == (sees == "full")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_replaced_anchor_and_an_emptied_history_are_a_first_section(layout):
    preparation, _ = prepared(layout, ContextRefresh(frames=1, anchor="replaced", history="emptied"))
    context = preparation.context()
    assert (context.clean == 1).all()
    assert not context.clean_2x.any() and not context.clean_4x.any()


def test_new_tokens_come_from_the_decoded_anchor():
    seen = []
    vae = SimpleNamespace(decode=lambda latent: (seen.append(latent), torch.full((1, 1, 8, 8, 3), 0.5))[1])
    vision = SimpleNamespace(
        encode_image=lambda image, crop: SimpleNamespace(
            last_hidden_state=image.mean() * torch.ones(1, 4, 12)
        )
    )
    technique = ContextRefresh(anchor="replaced", vae="v", clip_vision="c")
    preparation, _ = prepared("f1", technique, {"v": vae, "c": vision}, torch.zeros(1, 4, 12))
    assert (seen[0] == 1).all() and seen[0].shape[2] == 1
    assert (preparation.context().image_embeds == 0.5).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_section_of_a_shot_has_nothing_to_refresh(layout):
    prompts = [Prompt(start=0.0, text="old", change=0.0), Prompt(start=0.7, text="new", cut=True)]
    sections = assign_prompts(plan_sections(layout, 4, WINDOW), prompts)
    technique, refreshed = ContextRefresh(apply_to="all"), {}
    for section in sections:
        preparation = preparation_of(section, History(direction_of(layout), torch.ones(1, 16, 1, 4, 4)))
        technique.before_section(section, preparation)
        refreshed[section.latents[0]] = "refreshed" in preparation.record
    expected = [False, True, False, True] if layout == "f1" else [True, False, True, False]
    assert [refreshed[latent] for latent in sorted(refreshed)] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_longer_than_the_memory_is_filled_up_and_cut_back(layout):
    section = plan_sections(layout, 2, 24)[1]
    history = History(direction_of(layout), torch.zeros(1, 16, 1, 4, 4))
    history.append(torch.arange(24.0).view(1, 1, 24, 1, 1).expand(1, 16, 24, 4, 4))
    preparation = preparation_of(section, history, solved=lambda **given: (given["initial"] + 100, 7))
    ContextRefresh(apply_to="all", strength=1.0).before_section(section, preparation)
    remembered = list(range(5, 24)) if layout == "f1" else list(range(19))
    assert history.recent(24)[0, 0, :, 0, 0].tolist() == [100 + frame for frame in remembered]


@pytest.mark.parametrize(("forward", "frames"), [(True, [0, 0, 0, 1, 2]), (False, [0, 1, 2, 2, 2])])
def test_a_short_past_holds_the_frame_that_is_farthest_from_the_next_window(forward, frames):
    latents = torch.arange(3.0).view(1, 1, 3, 1, 1)
    assert held(latents, 5, forward).flatten().tolist() == frames
    assert held(latents, 2, forward).flatten().tolist() == [0, 1, 2], "nothing is taken away"


def test_frames_touch_the_window_from_the_side_where_time_comes_from():
    latents = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert nearest(latents, 2, True).flatten().tolist() == [2, 3]
    assert nearest(latents, 2, False).flatten().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strength": 1.5}, "strength is 1.5; give a value from 0 to 1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"frames": -1}, "frames is -1"),
        ({"anchor": "new"}, "anchor is 'new'; choose one of kept, replaced"),
        ({"sees": "all"}, "sees is 'all'"),
    ],
)
def test_values_that_cannot_work_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ContextRefresh(**values)


# In the sampler


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def sample(model, *techniques, layout: str = "f1", switch: bool = True, driver=None):
    for technique in techniques:
        model = with_technique(model, technique)
    prompts = [
        Prompt(start=0.0, text="old", conditioning=text(1), change=0.0),
        Prompt(start=0.4, text="new", conditioning=text(3)),
    ]
    inputs = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=5),
        has_start=True,
        negative=text(7),
        image_embeds=normal(1, 4, 12, seed=9),
    )
    with torch.inference_mode():
        return sample_sections(
            driver or PlainDriver(model),
            assign_prompts(plan_sections(layout, 3, WINDOW), prompts[: 1 + switch]),
            inputs,
            SampleSettings(layout=layout, window=WINDOW, steps=2, seed=7),
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_off_and_without_a_switch_nothing_changes(model, layout):
    off, plain = ContextRefresh(strength=0.0, apply_to="all"), sample(model, layout=layout)[0]
    assert torch.equal(sample(model, off, layout=layout)[0], plain)
    quiet = sample(model, ContextRefresh(), layout=layout, switch=False)[0]
    assert torch.equal(quiet, sample(model, layout=layout, switch=False)[0])


def test_sections_before_the_switch_stay_and_the_cost_is_recorded(model):
    plain, _ = sample(model)
    latents, trace = sample(model, ContextRefresh())
    assert torch.equal(latents[:, :, : 1 + WINDOW], plain[:, :, : 1 + WINDOW])
    assert not torch.equal(latents[:, :, 1 + WINDOW :], plain[:, :, 1 + WINDOW :])
    assert [section["evaluations"] for section in trace["sections"]] == [2, 4, 2]


class Watched(PlainDriver):
    """Keeps the packed past of every section that it denoises."""

    def __init__(self, model):
        super().__init__(model)
        self.seen = []

    def run(self, task):
        self.seen.append(task.denoiser.context)
        return super().run(task)


def test_what_changes_the_past_of_a_section_does_so_while_it_is_refreshed(model):
    def seen(*techniques):
        changed = model
        for technique in techniques:
            changed = with_technique(changed, technique)
        driver = Watched(changed)
        sample(changed, driver=driver)
        return driver.seen

    first, refreshed, second, third = seen(ContextPurge(), ContextRefresh())
    assert not first.tokens and not third.tokens
    assert refreshed.tokens.keys() == second.tokens.keys() == {"last", "2x", "4x"}
    plain, blurred = seen(ContextRefresh())[1], seen(ContextRefresh(), ContextBlur(start=4.0))[1]
    assert not torch.equal(blurred.clean, plain.clean)


@settings(max_examples=10, deadline=None)
@given(
    st.floats(0, 1),
    st.integers(0, 5),
    st.sampled_from(["full", "anchor", "none"]),
    st.sampled_from(["kept", "replaced"]),
    st.sampled_from(["kept", "emptied"]),
    st.sampled_from(LAYOUTS),
)
def test_no_setting_breaks_the_latents_or_the_start_frame(
    model, strength, frames, sees, anchor, history, layout
):
    technique = ContextRefresh(
        apply_to="all", strength=strength, frames=frames, sees=sees, anchor=anchor, history=history
    )
    latents, _ = sample(model, technique, layout=layout)
    plain, _ = sample(model, layout=layout)
    assert latents.shape == plain.shape and latents.isfinite().all()
    first = 1 + WINDOW if layout == "f1" else 1  # nothing is there to refresh before the first section
    assert torch.equal(latents[:, :, :first], plain[:, :, :first])
