"""FramePack Sampler and finished sections: where they lie, what the node says, and what its two widgets do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.models.config import FramePackConfig
from framepack_transitions.models.dit import FramePackDiT
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.nodes import kept_records, notices
from framepack_transitions.nodes.sampling import run_progress
from framepack_transitions.nodes.sampling.sampler import FramePackTransitionsSampler
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.section_seeds import LARGEST_SEED, entry_seeds, section_seeds
from framepack_transitions.samplers.store.folder import MOST_BYTES, RecordFolder
from framepack_transitions.samplers.timeline.assignment import assign_prompts
from framepack_transitions.samplers.timeline.timeline import Timeline, TimelineEntry

WINDOW, SECTIONS = 3, 3


def conditioning(seed: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 5, 24, generator=generator), torch.randn(1, 20, generator=generator)
    return [[states, {"pooled_output": pooled}]]


@pytest.fixture
def sample(upstream):
    model = PlainModel(upstream.fill(FramePackDiT(FramePackConfig(**upstream.CONFIG))), 0.5)
    required = FramePackTransitionsSampler.INPUT_TYPES()["required"]
    widgets = {name: spec[1]["default"] for name, spec in required.items() if "default" in spec[1]}
    given = {
        "model": model,
        "positive": conditioning(0),
        "negative": conditioning(9),
        "start_latent": {"samples": torch.randn(1, 16, 1, 8, 8, generator=torch.Generator().manual_seed(1))},
        "latent_frames": WINDOW * SECTIONS,
        "window": WINDOW,
        "steps": 1,
    }

    def run(**overrides: Any) -> tuple[torch.Tensor, dict[str, Any], list[str]]:
        with torch.inference_mode():
            out = FramePackTransitionsSampler().sample(**{**widgets, **given, **overrides})
        result, shown = (out["result"], out["ui"]["text"]) if isinstance(out, dict) else (out, [])
        return result[0]["samples"], result[1], shown

    return run


@pytest.fixture
def folders(tmp_path: Path):
    found = Folders(tmp_path, tmp_path, records=tmp_path / "sections")
    with using(found):
        yield found


def reused(trace: dict[str, Any]) -> list[bool]:
    return [section["reused"] for section in trace["sections"]]


def test_the_node_takes_what_it_has_made_before_and_says_so(sample, folders):
    video, trace, shown = sample()
    assert reused(trace) == [False] * SECTIONS and shown == []
    again, trace, shown = sample()
    assert reused(trace) == [True] * SECTIONS and torch.equal(again, video)
    assert (
        shown
        == trace["notices"]
        == ["3 of 3 sections are there from an earlier run and are reused; none is sampled."]
    )


def test_notices_are_shown_once_and_before_the_first_section_that_is_sampled(sample, folders, monkeypatch):
    """Not as progress: its last text may stay in the node, beside the notice."""
    shown: list[Any] = []
    monkeypatch.setattr(run_progress, "show_text", shown.append)
    monkeypatch.setattr(notices, "show_now", lambda ui: shown.append(ui["text"]))
    sample()
    longer = Timeline((TimelineEntry(start=9.0, prompt="b", conditioning=conditioning(3)),))
    for seeds, count in (("", 3), ("2: 77", 1)):
        shown.clear()
        _, _, said = sample(timeline=longer, section_seeds=seeds)
        assert said[-1].startswith(f"{count} of 3 sections") and len(said) == 2
        assert [text for text in shown if isinstance(text, list)] == [said[:1], said]
        progress = [text for text in shown if isinstance(text, str)]
        assert not set(said) & set(progress)
        assert progress[-1].startswith("section 3 of 3")
        before = {text.split()[1] for text in shown[1 : shown.index(said)]}
        assert before == {"1", "2", "3"} - ({"3"} if count == 1 else set())


def test_one_section_is_drawn_anew_by_the_number_that_the_node_shows(sample, folders):
    video, _, _ = sample()
    redone, trace, _ = sample(section_seeds="2: 77")
    assert reused(trace) == [True, False, False]
    first = 1 + WINDOW
    assert torch.equal(redone[:, :, :first], video[:, :, :first])
    assert not torch.equal(redone[:, :, first : first + WINDOW], video[:, :, first : first + WINDOW])


def test_an_entry_s_seed_draws_the_section_that_it_takes_over_in_and_the_sampler_s_text_wins(sample, folders):
    def timeline(seed: int | None) -> Timeline:
        return Timeline(
            (TimelineEntry(start=0.6, prompt="b", conditioning=conditioning(3), section_seed=seed),)
        )

    sample(timeline=timeline(None))
    redone, trace, _ = sample(timeline=timeline(77))
    assert reused(trace) == [True, False, False] and trace["settings"]["section_seeds"] == {1: 77}
    by_hand, trace, _ = sample(timeline=timeline(None), section_seeds="2: 77")
    assert reused(trace) == [True] * SECTIONS and torch.equal(by_hand, redone)
    _, trace, _ = sample(timeline=timeline(77), section_seeds="2: 5")
    assert trace["settings"]["section_seeds"] == {1: 5}


def test_past_frames_do_not_move_the_numbers(sample, folders):
    past = {"samples": torch.randn(1, 16, 7, 8, 8, generator=torch.Generator().manual_seed(2))}
    sample(past_latent=past)
    _, trace, _ = sample(past_latent=past, section_seeds="3: 77")
    assert reused(trace) == [True, True, False]


def test_switched_off_nothing_is_kept_and_nothing_taken(sample, folders):
    sample(reuse_sections=False)
    assert not folders.records.exists()
    sample()
    assert reused(sample(reuse_sections=False)[1]) == [False] * SECTIONS


def test_outside_of_a_run_that_names_a_folder_nothing_is_kept(sample, tmp_path):
    with using(Folders(tmp_path, tmp_path)):
        sample()
    assert not list(tmp_path.iterdir())


class TestFolder:
    @pytest.mark.parametrize("value", ["off", "OFF", "0", " no ", "false", "none"])
    def test_the_environment_switches_it_off(self, folders, monkeypatch, value):
        monkeypatch.setenv(kept_records.FOLDER_VARIABLE, value)
        assert kept_records.record_folder() is None

    def test_the_environment_names_another_one_and_its_bound(self, folders, monkeypatch, tmp_path):
        assert kept_records.record_folder() == RecordFolder(folders.records, MOST_BYTES)
        monkeypatch.setenv(kept_records.FOLDER_VARIABLE, str(tmp_path / "elsewhere"))
        monkeypatch.setenv(kept_records.BOUND_VARIABLE, "0.5")
        assert kept_records.record_folder() == RecordFolder(tmp_path / "elsewhere", 500_000_000)

    @pytest.mark.parametrize("value", ["much", "-1", "nan", "inf", "2 GB"])
    def test_a_bound_that_is_no_number_is_refused(self, folders, monkeypatch, value):
        monkeypatch.setenv(kept_records.BOUND_VARIABLE, value)
        with pytest.raises(ValueError, match=f"FRAMEPACK_SECTIONS_GB is '{value}'; give the gigabytes"):
            kept_records.record_folder()


class TestSeeds:
    SECTIONS = plan_sections("f1", 5, 9)
    LATER = plan_sections("f1", 5, 9, past_latent_frames=19)

    @pytest.mark.parametrize(
        ("text", "seeds"),
        [
            ("", {}),
            (" \n ,", {}),
            ("3: 77", {2: 77}),
            ("3:77,5 = 12", {2: 77, 4: 12}),
            ("1: 0\n2: 5\n", {0: 0, 1: 5}),
            ("３：７７、５：１２", {2: 77, 4: 12}),  # noqa: RUF001
            (f"1: {LARGEST_SEED}", {0: LARGEST_SEED}),
        ],
    )
    def test_what_is_read(self, text, seeds):
        assert section_seeds(text, self.SECTIONS) == seeds

    def test_sections_count_from_the_first_that_is_made(self):
        assert self.LATER[0].index == 2
        assert section_seeds("1: 7", self.LATER) == {2: 7}

    @pytest.mark.parametrize(("layout", "index"), [("f1", 2), ("original", 2)])
    def test_an_entry_gives_its_seed_to_its_first_section_in_time(self, layout, index):
        prompts = [Prompt(start=0.0, text="a"), Prompt(start=2.4, text="b", section_seed=77)]
        sections = assign_prompts(plan_sections(layout, 5, 9), prompts)
        assert entry_seeds(sections) == {index: 77}
        (drawn,) = [section for section in sections if section.index == index]
        assert drawn.frames[0] == 73 and drawn.prompt.text == "b"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("77", "holds '77'; write the number of a section"),
            ("3: x", "holds '3: x'"),
            ("3: -1", "holds '3: -1'"),
            ("3: 7 7", "holds '3: 7 7'"),
            (f"3: {LARGEST_SEED + 1}", f"with seeds up to {LARGEST_SEED}"),
            ("9" * 5000 + ": 1", "holds '9999"),
            ("0: 1", "names section 0, but the video has 5"),
            ("6: 1", "names section 6, but the video has 5"),
            ("3: 1, 3: 2", "gives section 3 two seeds"),
        ],
    )
    def test_what_is_refused(self, text, words):
        with pytest.raises(ValueError, match=words) as caught:
            section_seeds(text, self.SECTIONS)
        assert len(str(caught.value)) < 300
