"""Finished sections of earlier runs: what is sampled again after a change, and that the rest is the same bit for bit."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.conditioning import Prompt, TextConditioning
from framepack_transitions.samplers.context.history import History
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.denoising.sections import sample_sections
from framepack_transitions.samplers.observer import SectionObserver
from framepack_transitions.samplers.progress import Interrupted, progress_reporting
from framepack_transitions.samplers.settings import SampleInputs, SampleSettings
from framepack_transitions.samplers.store import folder, jobs
from framepack_transitions.samplers.store.folder import RecordFolder
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.context.refresh import ContextRefresh
from framepack_transitions.samplers.techniques.wiring import with_technique
from framepack_transitions.samplers.timeline.assignment import assign_prompts

pytestmark = pytest.mark.usefixtures("no_gradients")

WINDOW, STEPS = 3, 2


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int) -> TextConditioning:
    return TextConditioning(normal(1, 5, 24, seed=seed), normal(1, 20, seed=seed + 1))


def prompt(start: float, seed: int, **options: Any) -> Prompt:
    return Prompt(start=start, text=f"prompt {seed}", conditioning=text(seed), **options)


def given(**changes: Any) -> SampleInputs:
    start = SampleInputs(
        start=normal(1, 16, 1, 8, 8, seed=3),
        has_start=True,
        negative=text(1),
        image_embeds=normal(1, 4, 12, seed=4),
    )
    return replace(start, **changes)


# Sections of 12 frames, 0.4 s: five of them, with a switch before the fourth.
PROMPTS = (prompt(0.0, 10), prompt(1.2, 20))
SECTIONS, SWITCH = 5, 3


def planned(layout: str = "f1", prompts=PROMPTS, sections: int = SECTIONS, **options: Any) -> list:
    return assign_prompts(plan_sections(layout, sections, WINDOW, **options), prompts)


@pytest.fixture(scope="module")
def plain_model(upstream) -> PlainModel:
    return PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)


class Listener(SectionObserver):
    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.reused: list[bool] = []
        self.told_after: int | None = None

    def notice(self, sentence: str) -> None:
        self.sentences.append(sentence)
        self.told_after = len(self.reused)

    def section_done(self, section, latents, *, reused: bool = False) -> None:
        assert latents.shape[2] == WINDOW
        self.reused.append(reused)


class Runs:
    """Runs of one model that share a folder; `calls` counts those of the model in the latest run."""

    def __init__(self, model: PlainModel, folder: RecordFolder | None) -> None:
        self.model, self.folder = model, folder
        self.calls = 0
        self.listener = Listener()

    def __call__(
        self,
        sections=None,
        inputs=None,
        *,
        model=None,
        keep: bool = True,
        solver: Any = "unipc_bh1",
        **settings,
    ):
        self.listener = Listener()
        sections = planned() if sections is None else sections
        inputs = given() if inputs is None else inputs
        layout = {"layout": "original"} if sections[0].padding else {}
        chosen = SampleSettings(**{"window": WINDOW, "steps": STEPS, "seed": 7, **layout, **settings})
        with self.counted(), self.opened(keep) as store:
            return sample_sections(
                PlainDriver(model or self.model),
                sections,
                inputs,
                chosen,
                solver=solver,
                observer=self.listener,
                store=store,
            )

    @contextmanager
    def opened(self, keep: bool):
        if not keep or self.folder is None:
            yield None
            return
        with self.folder.job() as store:
            yield store

    @contextmanager
    def counted(self) -> Iterator[None]:
        made: list[None] = []
        hook = self.model.model.diffusion_model.register_forward_hook(lambda *_: made.append(None))
        try:
            yield
        finally:
            hook.remove()
            self.calls = len(made)


@pytest.fixture
def runs(plain_model, tmp_path) -> Runs:
    return Runs(plain_model, RecordFolder(tmp_path / "sections"))


def timeless(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace without what a run that takes over finished sections shows otherwise."""
    sections = [{**section, "seconds": 0, "reused": None} for section in trace["sections"]]
    return {**trace, "sections": sections}


def reused(trace: dict[str, Any]) -> list[bool]:
    return [section["reused"] for section in trace["sections"]]


# What a change costs


def test_the_same_run_again_samples_nothing(runs):
    video, trace = runs()
    assert runs.calls == SECTIONS * STEPS and reused(trace) == [False] * SECTIONS
    again, trace_again = runs()
    assert runs.calls == 0 and reused(trace_again) == [True] * SECTIONS
    assert torch.equal(again, video) and timeless(trace_again) == timeless(trace)


def test_a_late_change_of_the_prompt_samples_from_there_on(runs):
    runs()
    changed = planned(prompts=(PROMPTS[0], prompt(1.2, 30)))
    video, trace = runs(changed)
    assert runs.calls == (SECTIONS - SWITCH) * STEPS
    assert reused(trace) == [True] * SWITCH + [False] * (SECTIONS - SWITCH)
    assert torch.equal(video, runs(changed, keep=False)[0])


def test_in_the_original_layout_the_sections_before_a_change_in_time_are_sampled_again(runs):
    runs(planned("original"))
    changed = planned("original", prompts=(prompt(0.0, 30), PROMPTS[1]))
    video, _ = runs(changed)
    assert runs.calls == SWITCH * STEPS
    assert torch.equal(video, runs(changed, keep=False)[0])


def test_a_longer_video_samples_its_new_sections_forward_and_all_of_them_backward(runs):
    runs()
    runs(planned(sections=SECTIONS + 2))
    assert runs.calls == 2 * STEPS
    runs(planned("original", sections=3))
    runs(planned("original", sections=4))
    assert runs.calls == 4 * STEPS


def test_a_new_seed_for_one_section_samples_it_and_what_comes_after(runs):
    plain, _ = runs()
    redone, trace = runs(section_seeds={2: 77})
    assert runs.calls == (SECTIONS - 2) * STEPS and reused(trace) == [True, True, False, False, False]
    before = 1 + 2 * WINDOW
    assert torch.equal(redone[:, :, :before], plain[:, :, :before])
    assert not torch.equal(redone[:, :, before : before + WINDOW], plain[:, :, before : before + WINDOW])
    assert trace["settings"]["section_seeds"] == {2: 77}
    runs()
    assert runs.calls == 0, "the first take is still there"


def test_a_technique_that_acts_after_the_switch_leaves_the_sections_before_it(runs):
    runs()
    treated = with_technique(runs.model, AttentionScaling(scale=1.5))
    video, trace = runs(model=treated)
    assert runs.calls == (SECTIONS - SWITCH) * STEPS
    assert [len(section["techniques"]) for section in trace["sections"]] == [1] * SECTIONS
    stronger = with_technique(runs.model, AttentionScaling(scale=2.0))
    runs(model=stronger)
    assert runs.calls == (SECTIONS - SWITCH) * STEPS
    plain = runs(model=treated, keep=False)
    assert torch.equal(video, plain[0]) and timeless(trace) == timeless(plain[1])


def test_after_a_cut_an_earlier_change_costs_nothing(runs):
    shot = prompt(1.2, 20, cut=True, start_latent=normal(1, 16, 1, 8, 8, seed=50))
    runs(planned(prompts=(PROMPTS[0], shot)))
    changed = planned(prompts=(prompt(0.0, 30), shot))
    video, _ = runs(changed)
    assert runs.calls == SWITCH * STEPS
    assert torch.equal(video, runs(changed, keep=False)[0])


def test_names_and_states_of_prompts_cost_nothing(runs):
    runs()
    named = tuple(replace(each, text="another name", state="a state") for each in PROMPTS)
    _, trace = runs(planned(prompts=named))
    assert runs.calls == 0
    assert {(section["prompt"], section["state"]) for section in trace["sections"]} == {
        ("another name", "a state")
    }


# What is said


def test_the_observer_is_told_how_many_sections_are_there_before_the_first_is_sampled(runs):
    runs()
    runs(planned(prompts=(PROMPTS[0], prompt(1.2, 30))))
    assert runs.listener.sentences == [
        "3 of 5 sections are there from an earlier run and are reused; 2 are sampled."
    ]
    assert runs.listener.told_after == SWITCH
    assert runs.listener.reused == [True] * SWITCH + [False] * 2
    runs()
    assert runs.listener.sentences == [
        "5 of 5 sections are there from an earlier run and are reused; none is sampled."
    ]


def test_progress_jumps_over_what_is_there(runs):
    runs()
    steps: list[int] = []
    with progress_reporting(lambda step, total, info: steps.append(step)):
        runs(planned(prompts=(PROMPTS[0], prompt(1.2, 30))))
    assert steps == [2, 4, 6, 7, 8, 9, 10]


# Whatever has stopped a run, the next one goes on


@pytest.mark.parametrize("layout", ["f1", "original"])
@pytest.mark.parametrize("after", range(1, SECTIONS * STEPS + 1, 3))
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(runs, layout, after):
    def stop(step: int, total: int, info: object) -> None:
        if step == after:
            raise Interrupted

    sections = planned(layout)
    treated = with_technique(runs.model, ContextRefresh(strength=0.6, anchor="replaced"))
    with progress_reporting(stop), pytest.raises(Interrupted):
        runs(sections, model=treated)
    finished = (after - 1) // STEPS
    assert len(runs.folder.entries()) == finished
    video, trace = runs(sections, model=treated)
    assert reused(trace) == [number < finished for number in range(SECTIONS)]
    whole, whole_trace = runs(sections, model=treated, keep=False)
    assert torch.equal(video, whole) and timeless(trace) == timeless(whole_trace)


KEYFRAME = prompt(
    0.8, 40, start_latent=normal(1, 16, 1, 8, 8, seed=51), image_embeds=normal(1, 4, 12, seed=52)
)
VIDEOS: dict[str, Callable[[], tuple[list, SampleInputs]]] = {
    "f1": lambda: (planned(), given()),
    "original": lambda: (planned("original"), given()),
    "a keyframe": lambda: (planned(prompts=(PROMPTS[0], KEYFRAME)), given()),
    "a cut": lambda: (planned(prompts=(PROMPTS[0], replace(KEYFRAME, cut=True))), given()),
    "a cut backward": lambda: (
        planned("original", prompts=(PROMPTS[0], replace(KEYFRAME, cut=True))),
        given(),
    ),
    "an end image": lambda: (
        planned("original"),
        given(end=normal(1, 16, 1, 8, 8, seed=60), end_image_embeds=normal(1, 4, 12, seed=61)),
    ),
    "a past video": lambda: (
        assign_prompts(
            plan_sections("f1", SECTIONS, WINDOW, past_latent_frames=5), PROMPTS, past_latent_frames=5
        ),
        given(past_video=normal(1, 16, 5, 8, 8, seed=62)),
    ),
    "a loop": lambda: (planned("original", prompts=PROMPTS[:1], loop=True), given()),
    "recent frames": lambda: (planned(recent_frames=4), given()),
    "a blend": lambda: (planned(prompts=(PROMPTS[0], replace(PROMPTS[1], blend=2))), given()),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_every_kind_of_video_goes_on_from_every_section(runs, name):
    sections, inputs = VIDEOS[name]()
    refreshed = with_technique(runs.model, ContextRefresh(strength=0.6, anchor="replaced", history="emptied"))
    settings = {"recent_frames": 4} if name == "recent frames" else {}
    whole, trace = runs(sections, inputs, model=refreshed, keep=False, **settings)
    runs(sections, inputs, model=refreshed, **settings)
    for finished in reversed(range(SECTIONS)):
        newest = max(runs.folder.entries(), key=lambda entry: entry.path.stat().st_ctime_ns)
        newest.path.unlink()
        video, resumed = runs(sections, inputs, model=refreshed, **settings)
        assert sum(reused(resumed)) == SECTIONS - 1
        assert torch.equal(video, whole) and timeless(resumed) == timeless(trace), finished


def test_all_that_changes_in_a_history_is_kept(plain_model, tmp_path, monkeypatch):
    """Each field of a history is one that never changes, the video, or part of its memory."""
    fixed = {"_forward", "_end", "_size", "_front"}
    video, followed = {"_sections"}, {"_loop_from"}  # a loop is closed again by the section that closes it
    remembered = {"_start", "_remembered", "replaced_tokens"}
    history = History(planned()[0].direction, normal(1, 16, 1, 8, 8, seed=3))
    names = set(vars(history))
    assert names == fixed | video | followed | remembered, "put what changes into Memory"
    assert len(vars(history.memory)) == len(remembered)


def test_two_runs_at_once_share_what_they_finish(runs):
    first, second = planned(), planned()
    inner: dict[str, Any] = {}

    def run_second(step: int, total: int, info: object) -> None:
        if step == 3 * STEPS + 1 and not inner:  # three sections are finished
            inner["calls"] = -1
            own = Runs(runs.model, runs.folder)
            with progress_reporting(None):
                inner["video"], _ = own(second)
            inner["calls"] = own.calls

    with progress_reporting(run_second):
        video, trace = runs(first)
    assert inner["calls"] == 2 * STEPS
    assert reused(trace) == [False] * 4 + [True], "the section that the second run finished first"
    assert torch.equal(video, inner["video"])


# What is never taken


def test_a_damaged_record_is_sampled_again(runs):
    video, _ = runs()
    damaged = runs.folder.entries()[0].path
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    again, _ = runs()
    assert runs.calls == STEPS and torch.equal(again, video)


def test_values_that_are_not_finite_are_not_kept(runs, monkeypatch):
    run = PlainDriver.run
    monkeypatch.setattr(PlainDriver, "run", lambda self, task: run(self, task) * float("nan"))
    with pytest.raises(ValueError, match="holds NaN"):
        runs(planned(sections=1))
    assert not runs.folder.entries()


class SmallDisk:
    """Opens files on a disk that has room for so many bytes; what is removed gives none back."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, path: Path, mode: str) -> IO[Any]:
        disk = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                fitting = memoryview(data)[: disk.room]
                if not fitting:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                disk.room -= len(fitting)
                return super().write(fitting)

        file = io.BufferedWriter(Raw(path, mode.replace("b", "")))
        return file if "b" in mode else io.TextIOWrapper(file)


@pytest.mark.parametrize("share", [0, 0.001, 0.2, 0.334, 0.4, 0.66, 0.67, 0.9, 0.999])
def test_a_disk_that_is_full_at_any_point_ends_no_run_and_the_next_one_goes_on(
    plain_model, tmp_path, monkeypatch, caplog, share
):
    sections, enough = planned(sections=3), 10**9

    def run(name: str, disk: SmallDisk):
        for module in (folder, jobs):
            monkeypatch.setattr(module, "open_private", disk.open)
        runs = Runs(plain_model, RecordFolder(tmp_path / name))
        return runs, *runs(sections)

    disk = SmallDisk(enough)
    _, video, _ = run("whole", disk)
    assert not caplog.records
    runs, found, trace = run("full", SmallDisk(int(share * (enough - disk.room))))
    assert torch.equal(found, video) and reused(trace) == [False] * 3
    [said] = [record.getMessage() for record in caplog.records]
    assert "No space left on device" in said and "the run goes on" in said
    kept = runs.folder.entries()
    assert len(kept) == int(3 * share), "each record takes about a third"
    files = {path for path in runs.folder.path.rglob("*") if path.is_file()}
    assert files == {entry.path for entry in kept}
    _, again, trace = run("full", SmallDisk(enough))
    assert torch.equal(again, video) and reused(trace) == [number < len(kept) for number in range(3)]


def test_a_section_that_was_marked_as_retried_is_not_kept(runs, monkeypatch):
    from framepack_transitions.samplers.denoising import run

    record = run.section_record
    monkeypatch.setattr(run, "section_record", lambda *args: {**record(*args), "retried": True})
    runs(planned(sections=2))
    assert not runs.folder.entries()


def test_a_function_of_another_pack_is_said_once_and_nothing_is_kept(runs):
    model = runs.model.clone()
    model.model_options["transformer_options"]["patches_replace"] = {
        "dit": {("double_block", 0): foreign_patch}
    }
    runs(model=model)
    [sentence] = runs.listener.sentences
    assert "foreign_patch" in sentence and "not kept" in sentence
    assert not runs.folder.path.exists()


def foreign_patch(args, extra):
    return extra["original_block"](args)


def test_without_a_store_nothing_is_kept(plain_model, tmp_path):
    runs = Runs(plain_model, None)
    runs()
    runs()
    assert runs.calls == SECTIONS * STEPS
