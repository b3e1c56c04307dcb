"""Returning to an earlier scene: which one is chosen, what its shot remembers, and where it is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes.timeline.entry import FramePackTimelineEntry
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.techniques.base import Technique
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.landing import land, landing_report
from framepack_transitions.samplers.timeline.recall import recall_remarks, recalled_number
from framepack_transitions.samplers.timeline.syntaxes.brackets import format_spans
from framepack_transitions.samplers.timeline.syntaxes.spans import PromptSyntaxError
from framepack_transitions.samplers.timeline.syntaxes.table import parse
from framepack_transitions.samplers.timeline.timeline import TimelineEntry

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
SECTION = 4 * WINDOW / 30
SEED = 77  # of the section that returns, wherever it lies


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def prompt(section: float, seed: int, **fields: Any) -> Prompt:
    """A prompt that takes over with the section of this number in time."""
    return Prompt(start=section * SECTION, text=f"text {seed}", conditioning=text(seed), **fields)


RUN = SampleInputs(
    start=normal(1, 16, 1, 8, 8, seed=100),
    has_start=True,
    negative=text(900),
    image_embeds=normal(1, 4, 12, seed=101),
)
SCENE, OTHER = prompt(0, 10, change=0.0), prompt(2, 20)
AGAIN = prompt(3, 30, cut=True, recall=True)


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def planned(prompts: list[Prompt], count: int, layout: str = "f1") -> list:
    return assign_prompts(plan_sections(layout, count, WINDOW), prompts)


def sample(model: PlainModel, prompts: list[Prompt], count: int, **changes: Any) -> tuple:
    layout, store = changes.pop("layout", "f1"), changes.pop("store", None)
    chosen = SampleSettings(**{"layout": layout, "window": WINDOW, "steps": 2, "seed": 7, **changes})
    return sample_sections(
        PlainDriver(model), planned(prompts, count, layout), RUN, chosen, solver="unipc_bh1", store=store
    )


BETWEEN: dict[str, tuple[dict[str, Any], Technique | None]] = {
    "a switch": ({}, None),
    "a cut": ({"cut": True}, None),
    "a keyframe": ({"start_latent": normal(1, 16, 1, 8, 8, seed=200)}, None),
    "another image's tokens": ({"image_embeds": normal(1, 4, 12, seed=201)}, None),
    "a memory made anew": (
        {},
        ContextRefresh(strength=0.9, sees="none", anchor="replaced", history="emptied"),
    ),
}


class TestWhatIsRemembered:
    @pytest.mark.parametrize("between", BETWEEN)
    def test_a_recalled_scene_goes_on_as_if_nothing_had_come_between(self, model, between):
        """Compared with a run in which the prompt follows directly: equal to the last bit."""
        fields, technique = BETWEEN[between]
        treated = model if technique is None else with_technique(model, technique)
        seeds = {3: SEED, 4: SEED + 1}
        video, _ = sample(treated, [SCENE, replace(OTHER, **fields), AGAIN], 5, section_seeds=seeds)
        seeds = {2: SEED, 3: SEED + 1}
        direct, _ = sample(model, [SCENE, prompt(2, 30)], 4, section_seeds=seeds)
        assert torch.equal(video[:, :, -2 * WINDOW :], direct[:, :, -2 * WINDOW :])

    def test_the_scene_between_stays_as_it_is(self, model):
        with_recall, _ = sample(model, [SCENE, OTHER, AGAIN], 4)
        without, _ = sample(model, [SCENE, OTHER], 4)
        assert torch.equal(with_recall[:, :, :-WINDOW], without[:, :, :-WINDOW])
        assert not torch.equal(with_recall[:, :, -WINDOW:], without[:, :, -WINDOW:])

    def test_the_most_similar_scene_is_recalled_of_several(self, model):
        like_other = replace(AGAIN, start=4 * SECTION, conditioning=OTHER.conditioning)
        _, trace = sample(model, [SCENE, OTHER, prompt(3, 40), like_other], 5)
        assert [section["recalls"] for section in trace["sections"]] == [None, None, None, None, OTHER.start]

    def test_techniques_that_act_at_a_switch_leave_it_alone(self, model):
        plain, _ = sample(model, [SCENE, OTHER, AGAIN], 4)
        refreshed = with_technique(model, ContextRefresh(strength=0.5, sections=1))
        treated, _ = sample(refreshed, [SCENE, OTHER, AGAIN], 4)
        assert torch.equal(plain[:, :, -WINDOW:], treated[:, :, -WINDOW:])

    def test_a_later_prompt_goes_on_from_the_recalled_scene(self, model):
        sections = planned([SCENE, replace(OTHER, start_latent=RUN.start * 2), AGAIN, prompt(4, 50)], 5)
        assert [section.anchor for section in sections[3:]] == [None, None]
        assert sections[4].previous is AGAIN and sections[4].since_switch == 0


class TestFinishedSections:
    def test_a_recalled_scene_depends_on_what_it_remembers_and_not_on_what_came_between(
        self, model, tmp_path: Path
    ):
        folder = RecordFolder(tmp_path / "sections")

        def taken(prompts: list[Prompt]) -> list[bool]:
            with folder.job() as store:
                _, trace = sample(model, prompts, 4, store=store)
            return [section["reused"] for section in trace["sections"]]

        assert taken([SCENE, OTHER, AGAIN]) == [False] * 4
        assert taken([SCENE, OTHER, AGAIN]) == [True] * 4
        assert taken([SCENE, prompt(2, 21), AGAIN]) == [True, True, False, True]
        assert taken([replace(SCENE, conditioning=text(11)), OTHER, AGAIN]) == [False] * 4
        assert taken([SCENE, OTHER, replace(AGAIN, recall=False)]) == [True, True, True, False]


class TestTheChoice:
    def test_the_nearest_text_is_taken(self):
        one, other, before, near = (
            (torch.tensor(vector), torch.tensor([1.0]))
            for vector in ([1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [0.7, 0.71])
        )
        assert recalled_number([one, other, before, near]) == 1
        assert recalled_number([other, one, before, near]) == 0

    def test_of_equals_the_latest_is_taken(self):
        one, other = (torch.tensor([1.0, 0.0]),), (torch.tensor([0.0, 1.0]),)
        assert recalled_number([one, other, one, other, one]) == 2

    def test_the_prompt_before_is_never_the_choice(self):
        same = replace(AGAIN, conditioning=OTHER.conditioning)
        assert planned([SCENE, OTHER, same], 4)[3].recalls is SCENE

    def test_a_prompt_without_a_section_is_never_the_choice(self):
        unseen = replace(prompt(2.9, 30), start=1.99 * SECTION)
        last = planned([SCENE, unseen, OTHER, AGAIN], 4)[3]
        assert last.prompt is AGAIN and last.recalls is SCENE

    def test_it_is_the_first_section_that_recalls(self):
        assert [section.recalls for section in planned([SCENE, OTHER, AGAIN], 5)] == [None] * 3 + [
            SCENE,
            None,
        ]


class TestRefusals:
    def test_there_must_be_an_earlier_scene(self):
        with pytest.raises(ValueError, match="none before the one that it follows"):
            planned([SCENE, replace(AGAIN, start=OTHER.start)], 4)

    def test_layout_original_has_not_made_the_scene_yet(self, model):
        with pytest.raises(ValueError, match="layout original generates from the end"):
            sample(model, [SCENE, OTHER, AGAIN], 4, layout="original")

    def test_the_scene_must_be_sampled_in_the_same_run(self, model):
        video, _ = sample(model, [SCENE, OTHER, AGAIN], 4)
        rest = replace(RUN, earlier_sections=video[:, :, 1 : 1 + 2 * WINDOW])
        settings = SampleSettings(window=WINDOW, steps=2, seed=7)
        with pytest.raises(ValueError, match="not sampled in this run"):
            sample_sections(PlainDriver(model), planned([SCENE, OTHER, AGAIN], 4)[2:], rest, settings)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"cut": False}, "recalls a scene without a cut"),
            ({"start_latent": {"samples": RUN.start}}, "brings an image"),
            ({"clip_vision_output": object()}, "brings an image"),
            ({"blend": 2}, "nothing to blend with"),
        ],
    )
    def test_entries_that_make_no_sense(self, fields, words):
        values = {"start": 1.0, "prompt": "", "conditioning": None, "cut": True, "recall": True, **fields}
        with pytest.raises(ValueError, match=words):
            TimelineEntry(**values)

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ("[0s recall: a] [2s: b]", "returns to an earlier prompt"),
            ("a [2s recall: b]", "there is none yet"),
            ("a [2s: b] [4s recall ~2: c]", "nothing to blend with"),
            ("a [2s: b] [4s recall sham: b]", "nothing to blend with or to repeat"),
        ],
    )
    def test_texts_that_make_no_sense(self, written, words):
        with pytest.raises(PromptSyntaxError, match=words):
            parse(written, "brackets")


class TestNotations:
    @pytest.mark.parametrize(
        "written",
        ["a [2s: b] [4s recall: c]", "a [60f: b] [120f recall: c]", "0s: a\n2s: b\n4s recall: c"],
    )
    def test_the_word_is_read_wherever_options_are(self, written):
        spans = parse(written)
        assert [(span.cut, span.recall) for span in spans] == [(False, False), (False, False), (True, True)]
        assert parse(format_spans(spans)) == spans

    def test_the_report_says_so(self):
        report = landing_report(land(parse("a [2.4s: b] [4.8s recall: c]"), 5, 9), 5, 9)
        assert "(asked for 4.8 s, cut, recall): c" in report

    def test_the_report_names_the_scene(self):
        along = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, -1.0], "d": [0.9, 0.1]}
        spans = parse("a [1s: b] [2s: c] [3s recall: d]")
        assert recall_remarks(spans, lambda text: (torch.tensor(along[text]),)) == [
            "The prompt at 3 s goes back to the scene of the prompt at 0 s."
        ]

    def test_the_node_makes_a_shot_of_it(self):
        entry = FramePackTimelineEntry().add(None, 4.0, "c", 1.0, recall=True)
        timeline = (entry["result"] if isinstance(entry, dict) else entry)[0]
        assert timeline.entries[0].cut and timeline.entries[0].recall
