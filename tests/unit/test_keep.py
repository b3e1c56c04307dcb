"""What a new shot keeps of the one before it: what of the memory stays, what is looked for, and where it is refused."""

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
from framepack_transitions.samplers.context.history import Context, History
from framepack_transitions.samplers.context.indices import Direction
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising import sections as loop
from framepack_transitions.samplers.denoising.cuts.carried import carry_over
from framepack_transitions.samplers.denoising.drivers import PlainDriver, SectionTask
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.observer import SectionObserver
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.landing import land, landing_report
from framepack_transitions.samplers.timeline.syntaxes.brackets import format_spans
from framepack_transitions.samplers.timeline.syntaxes.spans import PromptSyntaxError
from framepack_transitions.samplers.timeline.syntaxes.table import parse
from framepack_transitions.samplers.timeline.timeline import TimelineEntry

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW = 3
SECTION = 4 * WINDOW / 30
TOKENS = 16  # of a frame of 8 x 8 latents, 4 to a row


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, length: int = 5) -> TextConditioning:
    return TextConditioning(normal(1, length, 24, seed=seed), normal(1, 20, seed=seed + 1))


def prompt(section: float, seed: int, **fields: Any) -> Prompt:
    """A prompt that takes over with the section of this number in time."""
    return Prompt(start=section * SECTION, text=f"text {seed}", conditioning=text(seed), **fields)


RUN = SampleInputs(
    start=normal(1, 16, 1, 8, 8, seed=100),
    has_start=True,
    negative=text(900),
    image_embeds=normal(1, 4, 12, seed=101),
)
SCENE, WORDS = prompt(0, 10, change=0.0), text(40, length=3)
CUT = prompt(2, 20, cut=True)
KEEPING = replace(CUT, keep=WORDS)


@pytest.fixture(scope="module")
def model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


def planned(prompts: list[Prompt], count: int, layout: str = "f1") -> list:
    return assign_prompts(plan_sections(layout, count, WINDOW), prompts)


def sample(model: PlainModel, prompts: list[Prompt], count: int = 4, **changes: Any) -> tuple:
    layout, inputs = changes.pop("layout", "f1"), changes.pop("inputs", RUN)
    others = {name: changes.pop(name) for name in ("store", "observer") if name in changes}
    chosen = SampleSettings(**{"layout": layout, "window": WINDOW, "steps": 2, "seed": 7, **changes})
    plan = planned(prompts, count, layout)
    return sample_sections(PlainDriver(model), plan, inputs, chosen, solver="unipc_bh1", **others)


@pytest.fixture
def tasks(monkeypatch) -> list[SectionTask]:
    """All that the driver is asked to run."""
    asked: list[SectionTask] = []
    run = PlainDriver.run

    def noting(driver: PlainDriver, task: SectionTask) -> torch.Tensor:
        asked.append(task)
        return run(driver, task)

    monkeypatch.setattr(PlainDriver, "run", noting)
    return asked


def finding(monkeypatch, *places: int) -> None:
    """Let the subject be found in these tokens of the start frame and of the last one."""
    found = torch.zeros(1, TOKENS)
    found[:, list(places)] = 1
    monkeypatch.setattr(loop, "look_for_subject", lambda *given: {"start": found, "last": found})


class Listener(SectionObserver):
    """Keeps what a run's user is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)


class TestWhatStays:
    def old_shot(self, batch: int = 1) -> tuple[History, Context, Any]:
        history = History(Direction.FORWARD, normal(batch, 16, 1, 8, 8, seed=1))
        history.append(normal(batch, 16, 2 * WINDOW, 8, 8, seed=2))
        section = planned([SCENE, CUT], 4)[2]
        return history, history.context(section, normal(batch, 4, 12, seed=3)), section

    def test_the_subject_stays_in_its_place_and_the_rest_is_empty(self):
        """Token 6 covers rows 2 to 3 and columns 4 to 5 of the latents; token 15 rows and columns 6 to 7."""
        history, before, section = self.old_shot()
        start, last = torch.zeros(1, TOKENS), torch.zeros(1, TOKENS)
        start[0, 6], last[0, 15] = 1, 1
        assert carry_over(history, before, {"start": start, "last": last}).tolist() == [True]
        after = history.context(section)
        expected = torch.zeros_like(before.clean)
        expected[:, :, 0, 2:4, 4:6] = before.clean[:, :, 0, 2:4, 4:6]
        expected[:, :, 1, 6:8, 6:8] = before.clean[:, :, 1, 6:8, 6:8]
        assert torch.equal(after.clean, expected)
        assert not after.clean_2x.any() and not after.clean_4x.any()
        assert after.indices == before.indices

    def test_every_video_keeps_its_own(self):
        history, before, section = self.old_shot(batch=2)
        found = torch.zeros(2, TOKENS)
        found[1, 0] = 1
        seen = carry_over(history, before, {"start": found, "last": torch.zeros(2, TOKENS)})
        assert seen.tolist() == [False, True]
        after = history.context(section).clean
        assert not after[0].any() and not after[1, :, 1].any()
        assert torch.equal(after[1, :, 0, :2, :2], before.clean[1, :, 0, :2, :2])
        assert torch.count_nonzero(after) == 16 * 4

    def test_where_nothing_is_found_the_memory_is_that_of_a_cut(self):
        history, before, _ = self.old_shot()
        nothing = torch.zeros(1, TOKENS)
        carry_over(history, before, {"start": nothing, "last": nothing})
        plain, _, _ = self.old_shot()
        plain.cut(torch.zeros(1, 16, 1, 8, 8))
        for one, other in zip(vars(history.memory).values(), vars(plain.memory).values()):
            assert one is other is None or torch.equal(one, other)

    def test_the_video_stays(self):
        history, before, _ = self.old_shot()
        video = history.video()
        carry_over(history, before, {"start": torch.ones(1, TOKENS), "last": torch.ones(1, TOKENS)})
        assert torch.equal(history.video(), video)


class TestInARun:
    def test_the_new_shot_sees_both_frames_as_far_as_they_show_it(self, model, monkeypatch, tasks):
        finding(monkeypatch, 0, 1)
        video, _ = sample(model, [SCENE, KEEPING])
        first, second = (task.denoiser.context for task in tasks[2:])
        kept = torch.cat([RUN.start, video[:, :, 2 * WINDOW : 2 * WINDOW + 1]], dim=2)[..., :2, :4]
        assert torch.equal(first.clean[..., :2, :4], kept)
        assert torch.count_nonzero(first.clean) == torch.count_nonzero(kept)
        assert first.image_embeds is None
        # The start frame stays for the whole shot; what came since is remembered as usual.
        assert torch.equal(second.clean[:, :, :1], first.clean[:, :, :1])
        assert torch.equal(second.clean[:, :, 1], video[:, :, 3 * WINDOW])

    def test_with_nothing_found_it_is_a_cut_to_the_last_bit(self, model, monkeypatch):
        listener = Listener()
        plain, _ = sample(model, [SCENE, CUT])
        finding(monkeypatch)
        empty, _ = sample(model, [SCENE, KEEPING], observer=listener)
        assert torch.equal(plain, empty)
        assert len(listener.notices) == 1 and "found nowhere" in listener.notices[0]

    def test_the_shot_before_stays_as_it_is(self, model, monkeypatch):
        plain, _ = sample(model, [SCENE, CUT])
        finding(monkeypatch, 5)
        keeping, _ = sample(model, [SCENE, KEEPING])
        assert torch.equal(plain[:, :, : 1 + 2 * WINDOW], keeping[:, :, : 1 + 2 * WINDOW])
        assert not torch.equal(plain[:, :, 1 + 2 * WINDOW :], keeping[:, :, 1 + 2 * WINDOW :])

    def test_a_keyframe_later_in_the_shot_takes_over(self, model, monkeypatch, tasks):
        finding(monkeypatch, 5)
        image = normal(1, 16, 1, 8, 8, seed=300)
        sample(model, [SCENE, KEEPING, prompt(3, 50, start_latent=image)])
        assert torch.equal(tasks[-1].denoiser.context.clean[:, :, :1], image)

    def test_it_is_looked_for_in_the_old_shot_and_in_one_evaluation(self, model, tasks):
        """The words come first and compete with both prompts; the memory is what the old shot's next section would see."""
        _, trace = sample(model, [SCENE, KEEPING])
        search, first = tasks[2].denoiser, tasks[3].denoiser
        states = torch.cat([part.states for part in (WORDS, CUT.conditioning, SCENE.conditioning)], dim=1)
        assert torch.equal(search.texts["keep+positive"].states, states)
        assert search.texts["keep"].states.shape[1] == 3
        sample(model, [SCENE], 3)
        goes_on = tasks[-1].denoiser.context
        for name in ("clean", "clean_2x", "clean_4x", "image_embeds"):
            assert torch.equal(getattr(search.context, name), getattr(goes_on, name)), name
        assert search.evaluations == 1
        evaluations = [section["evaluations"] for section in trace["sections"]]
        assert evaluations == [2, 2, 3, 2]
        # What was found is what the new shot keeps, and what the trace shows.
        found = search.context.concepts["keep+positive"]["start"].reshape(4, 4)
        assert trace["sections"][2]["concepts"]["keep+positive"]["start"] == [found.int().tolist()]
        kept = found.repeat_interleave(2, 0).repeat_interleave(2, 1) > 0
        assert torch.equal(first.context.clean[0, 0, 0], torch.where(kept, RUN.start[0, 0, 0], 0.0))

    def test_memory_that_runs_out_in_the_search_is_not_the_end(self, model, monkeypatch):
        failed = []
        run = PlainDriver.run

        def failing(driver: PlainDriver, task: SectionTask) -> torch.Tensor:
            if len(task.sigmas) == 2 and not failed:
                failed.append(task)
                raise MemoryError
            return run(driver, task)

        monkeypatch.setattr(PlainDriver, "run", failing)
        _, trace = sample(model, [SCENE, KEEPING])
        assert failed and [section["retried"] for section in trace["sections"]] == [False, False, True, True]

    def test_every_shot_can_keep_something(self, model, monkeypatch, tasks):
        finding(monkeypatch, 0)
        again = replace(prompt(3, 60), cut=True, keep=WORDS)
        video, _ = sample(model, [SCENE, KEEPING, again])
        last = tasks[-1].denoiser.context.clean
        assert torch.equal(last[:, :, 1, :2, :2], video[:, :, 3 * WINDOW, :2, :2])
        assert torch.equal(last[:, :, 0, :2, :2], RUN.start[:, :, 0, :2, :2])

    def test_finished_sections_depend_on_what_is_kept(self, model, tmp_path: Path):
        folder = RecordFolder(tmp_path / "sections")

        def taken(*prompts: Prompt) -> tuple[torch.Tensor, list[bool]]:
            with folder.job() as store:
                video, trace = sample(model, list(prompts), store=store)
            return video, [section["reused"] for section in trace["sections"]]

        made, reused = taken(SCENE, KEEPING)
        assert reused == [False] * 4
        again, reused = taken(SCENE, KEEPING)
        assert reused == [True] * 4 and torch.equal(made, again)
        assert taken(SCENE, CUT)[1] == [True, True, False, False]
        assert taken(SCENE, replace(KEEPING, keep=text(41, length=3)))[1][:3] == [True, True, False]
        assert taken(replace(SCENE, conditioning=text(11)), KEEPING)[1] == [False] * 4


class TestRefusals:
    def test_layout_original_has_not_made_the_shot_before_yet(self, model):
        with pytest.raises(ValueError, match="layout original generates from the end"):
            sample(model, [SCENE, KEEPING], layout="original")

    @pytest.mark.parametrize("first", [2, 3])
    def test_the_shot_before_must_be_sampled_in_the_same_run(self, model, first):
        rest = replace(RUN, earlier_sections=torch.zeros(1, 16, first * WINDOW, 8, 8))
        settings = SampleSettings(window=WINDOW, steps=2, seed=7)
        with pytest.raises(ValueError, match="not sampled in this run"):
            sample_sections(PlainDriver(model), planned([SCENE, KEEPING], 4)[first:], rest, settings)

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"cut": False}, "a keep without a cut"),
            ({"recall": True}, "choose one of keep and recall"),
            ({"start_latent": {"samples": RUN.start}}, "brings an image"),
            ({"clip_vision_output": object()}, "brings an image"),
            ({"start": 0.0}, "the video only begins there"),
        ],
    )
    def test_entries_that_make_no_sense(self, fields, words):
        values = {"start": 1.0, "prompt": "", "conditioning": None, "cut": True, "keep": [[]], **fields}
        with pytest.raises(ValueError, match=words):
            TimelineEntry(**values)

    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ('[0s keep "x": a] [2s: b]', "this one is the first"),
            ('a [2s keep "": b]', "keep names nothing"),
            ("a [2s keep: b]", "'keep' is no option"),
            ('a [2s keep "x": b] [4s keep "x" ~2: c]', "nothing to blend with"),
            ('a [2s: b] [4s keep "x" recall: c]', "remove one of them"),
        ],
    )
    def test_texts_that_make_no_sense(self, written, words):
        with pytest.raises(PromptSyntaxError, match=words):
            parse(written, "brackets")


class TestNotations:
    @pytest.mark.parametrize(
        ("written", "phrase"),
        [
            ('a [2s keep "the man": b]', "the man"),
            ('a [2s cut keep "the man" #7: b]', "the man"),
            ('a [60f keep "the man": b]', "the man"),
            ("a [2s keep “the man”: b]", "the man"),
            ('0s: a\n2s keep "a man, 40": b', "a man, 40"),
            ("\uff10s\uff1aa\n2s keep「\uff14人」\uff1ab", "\uff14人"),
        ],
    )
    def test_a_phrase_is_read_as_it_is_written(self, written, phrase):
        first, second = parse(written)
        assert (first.keep, second.keep, second.cut, second.text) == ("", phrase, True, "b")
        assert parse(format_spans([first, second])) == [first, second]

    def test_the_report_says_so(self):
        report = landing_report(land(parse('a [2.4s keep "the man": b]'), 4, 9), 4, 9)
        assert '(asked for 2.4 s, cut, keep "the man"): b' in report

    def test_the_node_hands_it_on(self):
        entry = FramePackTimelineEntry().add(None, 4.0, "c", 1.0, cut=True, keep=[["words", {}]])
        (timeline,) = entry if isinstance(entry, tuple) else entry["result"]
        assert timeline.entries[0].keep == [["words", {}]]
