"""Cuts, keyframes and soft switches: what each section sees, in both layouts, and that a shot is a run of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning, blend_texts
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising import sections as sampling
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.run import Run
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.landing import land, landing_report
from framepack_transitions.samplers.timeline.syntaxes.table import parse
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
SECTION = 4 * WINDOW / 30
LAYOUTS = ["f1", "original"]


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, tokens: int = 5) -> TextConditioning:
    return TextConditioning(normal(1, tokens, 24, seed=seed), normal(1, 20, seed=seed + 1))


def image(seed: int) -> torch.Tensor:
    return normal(1, 16, 1, 8, 8, seed=seed)


def tokens(seed: int) -> torch.Tensor:
    return normal(1, 4, 12, seed=seed)


def prompt(section: int, seed: int = 1, **fields) -> Prompt:
    """A prompt that takes over with the section of this number in time."""
    return Prompt(start=section * SECTION, text=f"at {section}", conditioning=text(seed), **fields)


RUN = SampleInputs(start=image(100), has_start=True, negative=text(900), image_embeds=tokens(101))
OLD, NEW = prompt(0, seed=1, change=0.0), prompt(2, seed=11)


@pytest.fixture(scope="module")
def driver(upstream) -> PlainDriver:
    return PlainDriver(PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5))


def settings(layout: str, **changes) -> SampleSettings:
    return SampleSettings(**{"layout": layout, "window": WINDOW, "steps": 2, "seed": 7, **changes})


def sample(driver, layout: str, count: int, prompts: list[Prompt], inputs: SampleInputs = RUN, **changes):
    sections = assign_prompts(plan_sections(layout, count, WINDOW, keeps_start=inputs.has_start), prompts)
    return sample_sections(driver, sections, inputs, settings(layout, **changes))


def in_time(layout: str, count: int, prompts: list[Prompt], **plan) -> list:
    sections = assign_prompts(plan_sections(layout, count, WINDOW, **plan), prompts)
    return sorted(sections, key=lambda section: section.latents)


class TestShots:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_sections_belong_to_the_shot_of_their_prompt(self, layout):
        sections = in_time(layout, 5, [OLD, replace(NEW, cut=True), prompt(3), prompt(4, cut=True)])
        assert [section.shot.number for section in sections] == [0, 0, 1, 1, 2]
        assert [section.cut for section in sections] == [False, False, True, False, True]
        assert [section.shot.latents for section in sections] == [(1, 7)] * 2 + [(7, 13)] * 2 + [(13, 16)]
        assert [section.shot.last for section in sections] == [False] * 4 + [True]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_a_cut_moves_no_frame(self, layout):
        plain = [s.frames for s in in_time(layout, 4, [OLD, NEW])]
        assert [s.frames for s in in_time(layout, 4, [OLD, replace(NEW, cut=True)])] == plain
        assert plain[-1][1] == 4 * (1 + 4 * WINDOW) - 3

    def test_in_the_original_layout_each_shot_counts_its_distances_itself(self):
        sections = in_time("original", 9, [OLD, replace(prompt(6), cut=True)])
        alone = [in_time("original", count, [OLD]) for count in (6, 3)]
        assert [s.padding for s in sections] == [0, 1, 2, 2, 2, 3, 0, 1, 2]
        assert [s.indices for s in sections] == [s.indices for shot in alone for s in shot]

    def test_a_chosen_distance_holds_in_every_shot_but_for_its_last_section(self):
        planned = plan_sections("original", 5, WINDOW, padding=2)
        sections = assign_prompts(planned, [OLD, replace(prompt(3), cut=True)])
        assert [(s.shot.number, s.padding) for s in sections] == [(1, 2), (1, 0), (0, 2), (0, 2), (0, 0)]
        assert [s.indices.target[0] for s in sections] == [
            1 + 2 * WINDOW,
            1,
            1 + 2 * WINDOW,
            1 + 2 * WINDOW,
            1,
        ]

    def test_the_first_section_after_a_cut_is_in_no_transition(self):
        sections = in_time("f1", 4, [OLD, replace(NEW, cut=True), prompt(3, seed=21, change=0.5)])
        assert [s.since_switch for s in sections] == [None, None, None, 0]
        assert [s.previous and s.previous.text for s in sections] == [None, None, None, "at 2"]
        assert [s.change for s in sections] == [0, 0, 1, 0.5]

    def test_a_cut_without_a_section_still_cuts_before_the_prompt_that_follows(self):
        short = Prompt(start=2 * SECTION, text="never", conditioning=text(5), cut=True)
        sections = in_time(
            "f1", 4, [OLD, short, Prompt(start=2.2 * SECTION, text="after it", conditioning=text(6))]
        )
        assert [s.shot.number for s in sections] == [0, 0, 1, 1]
        assert sections[2].cut and sections[2].prompt.text == "after it"

    def test_a_cut_before_the_first_section_leaves_the_start_image_as_a_shot_of_its_own(self):
        sections = in_time("f1", 2, [OLD, Prompt(start=0.1, text="cut", conditioning=text(5), cut=True)])
        assert [s.shot.number for s in sections] == [1, 1] and [s.cut for s in sections] == [True, False]


KEYFRAMES = {
    "a keyframe": ({"start_latent": image(200), "image_embeds": tokens(201)}, image(200), tokens(201)),
    "a keyframe without tokens": ({"start_latent": image(200)}, image(200), None),
    "nothing": ({}, torch.zeros(1, 16, 1, 8, 8), None),
}


class TestAShotIsARunOfItsOwn:
    """Compared with a run of the shot alone, which draws the noise that the shot got: equal to the last bit."""

    @pytest.mark.parametrize("keyframe", KEYFRAMES)
    @pytest.mark.parametrize(("layout", "skipped"), [("f1", 2), ("original", 0)])
    def test_after_the_cut(self, driver, monkeypatch, layout, skipped, keyframe):
        fields, start, vision = KEYFRAMES[keyframe]
        video, trace = sample(driver, layout, 4, [OLD, replace(NEW, cut=True, **fields)])
        assert video.shape[2] == trace["latent_frames"] == 1 + 4 * WINDOW
        alone = self.alone(driver, monkeypatch, layout, 2, start, vision, skipped)
        assert torch.equal(video[:, :, 1 + 2 * WINDOW :], alone[:, :, -2 * WINDOW :])

    @pytest.mark.parametrize(("layout", "skipped"), [("f1", 0), ("original", 2)])
    def test_before_the_cut(self, driver, monkeypatch, layout, skipped):
        video, _ = sample(driver, layout, 4, [NEW_FIRST, replace(prompt(2, seed=31), cut=True)])
        alone = self.alone(driver, monkeypatch, layout, 2, RUN.start, RUN.image_embeds, skipped)
        assert torch.equal(video[:, :, : 1 + 2 * WINDOW], alone)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_the_end_image_belongs_to_the_last_shot(self, driver, layout):
        given = replace(RUN, end_image_embeds=tokens(300))
        if layout == "original":
            given = replace(given, end=image(301))
        prompts = [OLD, replace(NEW, cut=True)]
        with_end, without = (
            sample(driver, layout, 4, prompts, given)[0],
            sample(driver, layout, 4, prompts)[0],
        )
        assert torch.equal(with_end[:, :, : 1 + 2 * WINDOW], without[:, :, : 1 + 2 * WINDOW])
        assert not torch.equal(with_end[:, :, 1 + 2 * WINDOW :], without[:, :, 1 + 2 * WINDOW :])

    def alone(self, driver, monkeypatch, layout, count, start, vision, skipped):
        drawn = sampling.section_noises

        def later_noises(shape, settings, _lengths):
            noises = drawn(shape, settings)
            for _ in range(skipped):
                next(noises)
            return noises

        monkeypatch.setattr(sampling, "section_noises", later_noises)
        inputs = replace(RUN, start=start, has_start=bool(start.any()), image_embeds=vision)
        return sample(driver, layout, count, [NEW_FIRST], inputs)[0]


NEW_FIRST = replace(NEW, start=0.0)


@pytest.mark.parametrize("split", [1, 2, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_that_continues_over_a_cut_gives_what_the_whole_run_gives(driver, layout, split):
    prompts = [OLD, prompt(2, seed=11, cut=True, start_latent=image(200)), prompt(3, seed=21)]
    whole, _ = sample(driver, layout, 4, prompts)
    sections = assign_prompts(plan_sections(layout, 4, WINDOW), prompts)
    done = sorted(section.latents for section in sections[:split])
    past = whole[:, :, done[0][0] : done[-1][1]]
    rest, _ = sample_sections(driver, sections[split:], replace(RUN, earlier_sections=past), settings(layout))
    assert torch.equal(rest, whole)


class TestKeyframes:
    @pytest.fixture
    def seen(self, monkeypatch):
        """Start frame and image tokens of each section's context, by its first latent frame."""
        contexts = {}
        denoise = Run.denoise

        def note(run, given, *rest):
            context = given.context
            contexts[given.section.latents[0]] = (context.clean[:, :, :1], context.image_embeds)
            return denoise(run, given, *rest)

        monkeypatch.setattr(Run, "denoise", note)
        return lambda: [contexts[first] for first in sorted(contexts)]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_a_keyframe_is_in_force_from_its_entry_to_the_next(self, driver, seen, layout):
        keyed = prompt(1, seed=11, start_latent=image(200), image_embeds=tokens(201))
        sample(
            driver, layout, 5, [OLD, keyed, prompt(2, seed=21), prompt(4, seed=31, image_embeds=tokens(202))]
        )
        starts, vision = zip(*seen())
        assert [torch.equal(start, RUN.start) for start in starts] == [True, False, False, False, False]
        assert all(torch.equal(start, image(200)) for start in starts[1:])
        expected = [RUN.image_embeds, *[tokens(201)] * 3, tokens(202)]
        assert all(torch.equal(given, wanted) for given, wanted in zip(vision, expected))

    def test_without_a_cut_f1_still_remembers_its_own_frames(self, driver):
        keyed = replace(NEW, start_latent=image(200))
        video, _ = sample(driver, "f1", 4, [OLD, keyed])
        cut, _ = sample(driver, "f1", 4, [OLD, replace(keyed, cut=True, image_embeds=RUN.image_embeds)])
        plain, _ = sample(driver, "f1", 4, [OLD, NEW])
        border = 1 + 2 * WINDOW
        for other in (cut, plain):
            assert torch.equal(video[:, :, :border], other[:, :, :border])
            assert not torch.equal(video[:, :, border:], other[:, :, border:])

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_vision_strength_multiplies_the_tokens_while_its_entry_holds(self, driver, seen, layout):
        sample(driver, layout, 3, [OLD, prompt(1, seed=11, vision_strength=0.5), prompt(2, seed=21)])
        factors = [(vision / RUN.image_embeds).mean().item() for _, vision in seen()]
        assert factors == pytest.approx([1, 0.5, 1])

    def test_tokens_follow_the_chosen_mixture(self, driver, seen):
        inputs = replace(RUN, end_image_embeds=tokens(300))
        start, end = RUN.image_embeds, tokens(300)
        sample(driver, "f1", 2, [OLD], inputs)
        assert torch.allclose(
            torch.stack([vision for _, vision in seen()]), self.mixed(start, end, 0.25, 0.75)
        )
        mixture = {"embed_interpolation": "weighted_average", "start_embed_strength": 0.7}
        sample(driver, "f1", 2, [OLD], inputs, **mixture)
        assert torch.allclose(torch.stack([vision for _, vision in seen()]), self.mixed(start, end, 0.3, 0.3))
        sample(driver, "f1", 2, [OLD], RUN, **mixture)
        assert torch.allclose(seen()[0][1], 0.7 * start)

    def mixed(self, start, end, *shares):
        return torch.stack([(1 - share) * start + share * end for share in shares])


class TestBlending:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_the_weights_rise_in_equal_steps_along_the_video(self, layout):
        sections = in_time(layout, 6, [OLD, prompt(2, blend=3)])
        assert [s.blend for s in sections] == pytest.approx([1, 1, 0.25, 0.5, 0.75, 1])
        assert [s.blend_from and s.blend_from.text for s in sections] == [None, None, *["at 0"] * 3, None]

    def test_the_next_switch_ends_a_blend_and_starts_from_the_whole_prompt(self):
        sections = in_time("f1", 4, [OLD, prompt(1, blend=3), prompt(2, blend=1)])
        assert [s.blend for s in sections] == pytest.approx([1, 0.25, 0.5, 1])
        assert sections[2].blend_from.text == "at 1"

    def test_nothing_blends_over_a_cut(self):
        cut = [OLD, replace(prompt(1), cut=True), prompt(1.4, blend=2)]
        assert [s.blend for s in in_time("f1", 3, cut)] == [1, 1, 1]

    def test_a_blended_section_reads_the_mixture(self, driver):
        video, trace = sample(driver, "f1", 2, [OLD, prompt(1, seed=11, blend=1)])
        half = prompt(1)
        mixture = TextConditioning(
            (OLD.conditioning.states + text(11).states) / 2, (OLD.conditioning.pooled + text(11).pooled) / 2
        )
        expected, _ = sample(driver, "f1", 2, [OLD, replace(half, conditioning=mixture)])
        assert torch.allclose(video, expected, atol=1e-5)
        assert [(s["blend"], s["blend_from"]) for s in trace["sections"]] == [(1.0, None), (0.5, "at 0")]

    def test_texts_of_different_length_are_padded_and_masked(self):
        old = TextConditioning(normal(1, 3, 4, seed=1), normal(1, 2, seed=2))
        mask = torch.tensor([[True, False, True, True, False]])
        new = TextConditioning(normal(1, 5, 4, seed=3), normal(1, 2, seed=4), mask, {"note": 1})
        mixed = blend_texts(old, new, 0.25)
        padded = torch.nn.functional.pad(old.states, (0, 0, 0, 2))
        assert torch.allclose(mixed.states, 0.75 * padded + 0.25 * new.states)
        assert torch.allclose(mixed.pooled, 0.75 * old.pooled + 0.25 * new.pooled)
        assert mixed.mask.tolist() == [[True, True, True, True, False]] and mixed.options == {"note": 1}
        assert blend_texts(old, new, 1.0) is new and blend_texts(old, new, 0.0) is old


def test_the_trace_tells_shots_anchors_and_blends(driver):
    keyed = replace(NEW, start=SECTION, start_latent=image(200), vision_strength=0.5)
    _, trace = sample(driver, "f1", 3, [OLD, keyed, prompt(2, cut=True)])
    sections = trace["sections"]
    assert [(s["shot"], s["cut"]) for s in sections] == [(0, False), (0, False), (1, True)]
    assert [s["anchor"] for s in sections] == [
        {"start": None, "vision": None, "from_nothing": False, "vision_strength": 1.0},
        {"start": SECTION, "vision": None, "from_nothing": False, "vision_strength": 0.5},
        {"start": 2 * SECTION, "vision": 2 * SECTION, "from_nothing": True, "vision_strength": 1.0},
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start": 0.0, "cut": True}, "only begins there"),
        ({"cut": True, "blend": 2}, "nothing to blend with"),
        ({"blend": -1}, "blend of -1"),
        ({"vision_strength": -0.5}, "vision_strength of -0.5"),
        ({"vision_strength": float("nan")}, "vision_strength of nan"),
    ],
)
def test_entries_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Timeline((TimelineEntry(**{"start": 1.0, "prompt": "", "conditioning": None, **fields}),))


def test_the_report_marks_cuts_and_blends():
    report = landing_report(land(parse("a [1s~2!: b] [3s cut: c]"), 4, 9), 4, 9)
    assert "(asked for 1 s, forced, blended over 2): b" in report and "(asked for 3 s, cut): c" in report
