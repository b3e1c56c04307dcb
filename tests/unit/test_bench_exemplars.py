"""The study of exemplars: what is found, how it enters, and what the table says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.exemplars import study
from framepack_transitions.benchmarks.transition.arms import EXEMPLAR, PLAIN, Arm, SwitchConditions
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.episodes import make_episode
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running import exemplars
from framepack_transitions.benchmarks.transition.running.exemplars import Exemplar, Exemplars, Library
from framepack_transitions.benchmarks.transition.running.results import Result, ResultKeys
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings, EpisodeSampler
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.studies import measuring
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.world import Scene, Subject, prompt_of

SMALL = BenchSettings(window=3, steps=1, before=1, after=1, bfloat16=False)
RED, BLUE = Subject("circle", "red", "large"), Subject("star", "blue", "small")


def library_of(*scenes: Scene) -> Library:
    return Library.of(
        [
            Exemplar(number=number, scene=scene, caption=prompt_of(scene))
            for number, scene in enumerate(scenes)
        ]
    )


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


@pytest.fixture
def short_library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library.of([exemplars._exemplar(number) for number in range(6)])
    monkeypatch.setattr(exemplars, "usual_library", lambda: library)
    return library


class TestLibrary:
    def test_a_prompt_finds_its_place_and_time(self) -> None:
        scenes = [Scene(place, night, BLUE) for place in ("sky", "city", "sea") for night in (False, True)]
        library = library_of(*scenes)
        for scene in scenes:
            asked = replace(scene, subject=RED)
            assert library.find(prompt_of(asked), RED).scene == scene

    def test_the_scene_itself_is_not_in_the_library(self) -> None:
        library = library_of(Scene("sky", False, RED), Scene("city", False, BLUE))
        assert library.find(prompt_of(Scene("sky", False, RED)), RED).scene.subject == BLUE
        assert library.find(prompt_of(Scene("sky", False, RED)), None).scene.subject == RED

    def test_a_clip_is_what_its_caption_says_and_always_the_same(self) -> None:
        one, other = (exemplars._exemplar(5) for _ in range(2))
        assert one == other and np.array_equal(one.frames(3), other.frames(3))
        assert one.frames(3).shape == (3, 64, 64, 3)


class TestSampling:
    def test_an_exemplar_stands_in_for_the_history_and_the_video_keeps_its_own(
        self, bundle: TinyBundle, short_library: Library
    ) -> None:
        sampler, episodes = EpisodeSampler(bundle, SMALL), [make_episode("background", 0)]
        start = sampler.sample_past(episodes)
        met = sampler.with_conditions(episodes, start, SwitchConditions(history=EXEMPLAR))
        found = Exemplars(bundle)._found(episodes[0])
        expected = bundle.vae.encode(torch.from_numpy(found.frames(13)[None]).float() / 255)[:, :, 1:]
        scale = bundle.latent_scale
        torch.testing.assert_close(met.inputs.earlier_sections, expected * scale)
        assert torch.equal(met.inputs.start, start.inputs.start)
        assert torch.equal(met.shown, start.inputs.earlier_sections)
        latents = torch.cat([start.inputs.start, met.inputs.earlier_sections, torch.randn(1, 16, 3, 8, 8)], 2)
        own = torch.cat([start.inputs.start, start.inputs.earlier_sections, latents[:, :, -3:]], 2)
        assert torch.equal(met.as_shown(latents), own) and start.as_shown(latents) is latents

    def test_an_exemplar_stands_in_for_start_frame_and_image_tokens(
        self, bundle: TinyBundle, short_library: Library
    ) -> None:
        sampler, episodes = EpisodeSampler(bundle, SMALL), [make_episode("background", 0)]
        start = sampler.sample_past(episodes)
        met = sampler.with_conditions(episodes, start, SwitchConditions(anchor=EXEMPLAR))
        assert torch.equal(met.inputs.earlier_sections, start.inputs.earlier_sections) and met.shown is None
        picture = Exemplars(bundle).pictures(episodes)[0]
        assert np.array_equal((met.images[0].numpy() * 255).round(), picture)
        assert not torch.equal(met.inputs.start, start.inputs.start)
        assert not torch.equal(met.inputs.image_embeds, start.inputs.image_embeds)

    def test_results_of_other_arms_keep_their_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys, arm = ResultKeys("model"), Arm("found", (), SwitchConditions(history=EXEMPLAR))
        before = [keys.key("cut", 0, which, [0]) for which in (PLAIN, arm)]
        monkeypatch.setattr(
            "framepack_transitions.benchmarks.transition.running.results.library_digest", lambda: "x"
        )
        after = [keys.key("cut", 0, which, [0]) for which in (PLAIN, arm)]
        assert before[0] == after[0] and before[1] != after[1]


def result(arm: str, case: str, seed: int, place: bool, subject: bool) -> Result:
    measures = Measures(
        success=place and subject,
        held=(place and subject,),
        latency=None,
        remaining=None,
        jump=None,
        jump_before=None,
        jump_after=None,
        artefacts=0.25,
        place=place,
        subject=subject,
    )
    return Result(
        key=f"{arm}{case}{seed}",
        case=case,
        seed=seed,
        arm=arm,
        valid=True,
        measures=measures,
        evaluations=4,
        seconds=0.1,
    )


def test_the_table_says_what_is_right_and_what_it_brings() -> None:
    results = []
    for seed in range(4):
        results += [
            result("plain", "cut", seed, False, True),
            result("preset balanced", "cut", seed, seed > 0, True),
            result("exemplar as history", "cut", seed, True, seed == 0),
            result("exemplar as history + balanced", "cut", seed, True, True),
            *(result(arm, "sham", seed, True, arm == "plain") for arm in ("plain", "exemplar as history")),
        ]
    rows = {row["arm"]: row for row in study.rows(results)}
    history, both = rows["exemplar as history"], rows["exemplar as history + balanced"]
    assert (history["place"], history["subject"], history["success"]) == (1.0, 0.25, 0.25)
    assert (history["against"], history["gain"], history["sham"], history["sham_gain"]) == (
        "plain",
        0.25,
        0.0,
        -1.0,
    )
    assert (both["against"], both["gain"], both["sham"]) == ("preset balanced", 0.25, None)
    assert rows["plain"]["gain"] is None and "exemplar as anchor" not in rows
    text = study.table(list(rows.values()))
    assert "| exemplar as history + balanced |" in text and "+0.25 [" in text


def test_every_way_is_tried_alone_and_beside_the_preset() -> None:
    names = [arm.name for arm in study.ARMS]
    assert len(set(names)) == 8 and names[0] == "plain"
    assert {name for name in names if "exemplar" in name} == {
        f"exemplar as {mode}{beside}"
        for mode in ("history", "anchor", "both")
        for beside in ("", " + balanced")
    }


def test_the_command_writes_table_plot_and_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_library: Library, report_page
) -> None:
    arms = (PLAIN, study.BALANCED, study.ALONE[2])
    monkeypatch.setattr(study, "ARMS", arms)
    monkeypatch.setattr(
        study, "Bench", lambda **given: Bench(**{**given, "settings": SMALL, "cases": ("cut",)})
    )
    monkeypatch.setattr(measuring, "available_cores", lambda: 1)
    given = ["--study", "exemplars", "--seeds", "1", "--first-seed", "3000", "--out", str(tmp_path)]
    assert main(["bench", "transition", *given]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")
    assert (tmp_path / written["plot"]).is_file()
    assert "place and time" in (tmp_path / "table.md").read_text(encoding="utf-8")
