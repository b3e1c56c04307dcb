"""TransitionBench end to end with random weights: it repeats itself, goes on, and writes files."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks import statistics
from framepack_transitions.benchmarks.transition import bench as transition
from framepack_transitions.benchmarks.transition import pictures, summary
from framepack_transitions.benchmarks.transition.arms import ARMS, PLAIN, Arm, SwitchConditions
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.episodes import CASES, as_generated, make_episode
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running import results, tasks
from framepack_transitions.benchmarks.transition.running.decoding import frames_at_switch
from framepack_transitions.benchmarks.transition.running.results import (
    COMPRESSED,
    EPISODES,
    Result,
    ResultFile,
    save_compressed,
)
from framepack_transitions.benchmarks.transition.running.sampling import (
    BenchSettings,
    EpisodeSampler,
    StartState,
)
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands import bench as command
from framepack_transitions.headless.commands.studies import measuring
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.denoising.drivers import PlainDriver
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.techniques.registry import TECHNIQUES
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from PIL import Image

SMALL = BenchSettings(window=3, steps=2, after=3)
BY_NAME = {arm.name: arm for arm in ARMS}
TWO = (PLAIN, BY_NAME["adaptive_cfg"])


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


@pytest.fixture(scope="module")
def sampler(bundle) -> EpisodeSampler:
    return EpisodeSampler(bundle, SMALL)


def small(folder: Path, seeds: int = 1, **changes) -> Bench:
    return Bench(
        folder=folder,
        seeds=seeds,
        **{"settings": SMALL, "arms": TWO, "cases": ("colour", "control"), **changes},
    )


def timeless(results: list[Result]) -> list[Result]:
    return [replace(result, seconds=0) for result in results]


class TestRuns:
    def test_a_run_repeats_itself(self, tmp_path, sampler):
        one, two = (transition.run(small(tmp_path / name), sampler) for name in ("one", "two"))
        assert timeless(one) == timeless(two)
        assert [(r.arm, r.case, r.seed) for r in one] == [
            (arm.name, case, 0) for arm in TWO for case in ("colour", "control")
        ]

    def test_workers_find_what_one_process_finds(self, tmp_path):
        sampler = EpisodeSampler(load_tiny(), SMALL)
        alone = transition.run(small(tmp_path / "one"), sampler)
        assert timeless(transition.run(small(tmp_path / "two"), sampler, workers=2)) == timeless(alone)

    def test_more_seeds_go_on_from_what_is_there(self, tmp_path, sampler, monkeypatch):
        first = transition.run(small(tmp_path), sampler)
        asked = []
        monkeypatch.setattr(transition, "CHUNK", 1)
        monkeypatch.setattr(
            tasks,
            "make_episode",
            lambda case, seed: asked.append((case, seed)) or make_episode(case, seed),
        )
        more = transition.run(small(tmp_path, seeds=2), sampler)
        assert asked == [("colour", 1), ("control", 1)]
        assert [result for result in more if result.seed == 0] == first

    def test_another_batch_or_another_world_is_measured_anew(self, tmp_path, sampler, monkeypatch):
        first = transition.run(small(tmp_path), sampler)
        both = transition.run(small(tmp_path, seeds=2), sampler)
        assert not {result.key for result in first} & {result.key for result in both}
        assert len(ResultFile.open(tmp_path, Result.from_line).results) == 4 + 8
        monkeypatch.setattr(results, "world_digest", lambda: "another world")
        assert not {result.key for result in transition.run(small(tmp_path), sampler)} & {
            r.key for r in first
        }

    def test_the_digest_of_the_world_follows_its_files(self, tmp_path, monkeypatch):
        before = results.world_digest()
        copied = shutil.copytree(Path(results.world.__file__).parent, tmp_path / "world")
        detector = shutil.copytree(Path(results.detector.__file__).parent, tmp_path / "detector")
        monkeypatch.setattr(results.world, "__file__", str(copied / "__init__.py"))
        monkeypatch.setattr(results.detector, "__file__", str(detector / "__init__.py"))
        assert results.world_digest.__wrapped__() == before
        files = [*copied.glob("*.py"), *detector.glob("*.py")]
        assert len(files) > 5
        for file in files:
            text = file.read_bytes()
            file.write_bytes(text + b"#")
            assert results.world_digest.__wrapped__() != before, file
            file.write_bytes(text)
        assert results.world_digest.__wrapped__() == before

    def test_a_line_that_was_cut_off_is_measured_again(self, tmp_path, sampler, caplog):
        whole = transition.run(small(tmp_path), sampler)
        file = tmp_path / EPISODES
        file.write_text(file.read_text()[:-40])
        with caplog.at_level(logging.WARNING):
            assert timeless(transition.run(small(tmp_path), sampler)) == timeless(whole)
        assert "line 4 cannot be read" in caplog.text
        assert len(ResultFile.open(tmp_path, Result.from_line).results) == 4

    def test_other_settings_and_other_techniques_are_measured_anew(self, tmp_path, sampler, bundle):
        transition.run(small(tmp_path), sampler)
        stronger = (PLAIN, Arm(TWO[1].name, (AdaptiveCFG(base=9.0),)))
        transition.run(small(tmp_path, arms=stronger), sampler)
        assert len(ResultFile.open(tmp_path, Result.from_line).results) == 4 + 2
        other = replace(SMALL, steps=1)
        transition.run(small(tmp_path, settings=other), EpisodeSampler(bundle, other))
        assert len(ResultFile.open(tmp_path, Result.from_line).results) == 4 + 2 + 4

    def test_results_of_another_numeric_type_are_other_results(self, bundle):
        assert not BenchSettings().bfloat16
        exact, quick = (
            EpisodeSampler(bundle, replace(SMALL, bfloat16=bfloat16)).fingerprint()
            for bfloat16 in (False, True)
        )
        assert exact != quick

    def test_compressed_results_need_no_sampling(self, tmp_path, sampler, monkeypatch):
        results = transition.run(small(tmp_path / "first"), sampler)
        (tmp_path / "second").mkdir()
        for _ in range(2):
            save_compressed(tmp_path / "second", results)
            assert gzip.decompress((tmp_path / "second" / COMPRESSED).read_bytes()).decode().splitlines() == [
                result.to_line().strip() for result in results
            ]
        monkeypatch.setattr(EpisodeSampler, "sample_past", None)
        assert transition.run(small(tmp_path / "second"), sampler) == results

    def test_compressed_results_that_are_cut_off_are_measured_again(self, tmp_path, caplog):
        save_compressed(tmp_path, [])
        whole = (tmp_path / COMPRESSED).read_bytes()
        (tmp_path / COMPRESSED).write_bytes(whole[:-4])
        assert ResultFile.open(tmp_path, Result.from_line).results == {}
        assert "episodes.jsonl.gz cannot be read" in caplog.text

    def test_an_interrupt_keeps_the_arms_that_are_done(self, tmp_path, sampler):
        in_the_second_arm = SMALL.steps * (SMALL.before + SMALL.after + 1)

        def stop(done: int, total: int, case: str) -> None:
            if done == in_the_second_arm:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transition.run(small(tmp_path), sampler, on_steps=stop)
        kept = ResultFile.open(tmp_path, Result.from_line).results.values()
        assert [(result.case, result.arm) for result in kept] == [("colour", "plain")]

    def test_every_solver_step_moves_the_progress(self, tmp_path, sampler):
        seen: list[tuple[int, int]] = []
        transition.run(
            small(tmp_path), sampler, on_steps=lambda done, total, case: seen.append((done, total))
        )
        total = 2 * SMALL.steps * (SMALL.before + 2 * SMALL.after)
        done = [number for number, _ in seen]
        assert {whole for _, whole in seen} == {total} and done == sorted(done)
        # The second case is a control, which is sampled once for both arms.
        assert set(done) == set(range(total - SMALL.steps * SMALL.after + 1)) | {total}
        seen.clear()
        transition.run(
            small(tmp_path), sampler, on_steps=lambda done, total, case: seen.append((done, total))
        )
        assert seen == [(total, total)], "nothing is left to do"

    def test_workers_report_their_steps_too(self, tmp_path):
        seen: list[int] = []
        transition.run(
            small(tmp_path),
            EpisodeSampler(load_tiny(), SMALL),
            workers=2,
            on_steps=lambda done, total, case: seen.append(done),
        )
        total = 2 * SMALL.steps * (SMALL.before + 2 * SMALL.after)
        # Which of the workers comes first depends on the machine's load; the count only rises, to all steps. The control,
        # sampled once for both arms, makes one leap; otherwise it goes step by step.
        assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == total
        assert len(set(seen)) == total + 1 - (SMALL.steps * SMALL.after - 1)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_an_error_in_a_task_ends_the_run(self, tmp_path, sampler, workers):
        with pytest.raises(ValueError, match="has no case 'neither'"):
            transition.run(small(tmp_path, cases=("neither", "neither")), sampler, workers=workers)

    def test_no_seeds_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match="give at least 1"):
            Bench(folder=tmp_path, seeds=0)


def image_tokens(sampler: EpisodeSampler, start: StartState, arm: Arm) -> list[torch.Tensor | None]:
    """The image tokens of every call of the model while an arm goes on."""
    seen: list[torch.Tensor | None] = []
    hook = sampler.bundle.dit.register_forward_pre_hook(
        lambda module, args, named: seen.append(named.get("image_embeds")), with_kwargs=True
    )
    sampler.sample_after_switch(start, arm)
    hook.remove()
    return seen


@pytest.fixture(scope="module")
def start(sampler):
    return sampler.sample_past([make_episode("cut", seed) for seed in range(2)])


@pytest.fixture(scope="module")
def plain(sampler, start):
    return sampler.sample_after_switch(start, PLAIN)


class TestEpisodeSampler:
    def test_techniques_act_after_the_switch_alone(self, sampler):
        start = sampler.sample_past([make_episode("colour", 0)])
        plain, treated = (sampler.sample_after_switch(start, arm) for arm in TWO)
        assert plain.frames.shape == treated.frames.shape == (1, 3 * 12, 64, 64, 3)
        assert not np.array_equal(plain.frames, treated.frames)
        assert plain.evaluations == 3 * SMALL.steps < treated.evaluations

    def test_without_a_switch_they_change_nothing(self, sampler):
        start = sampler.sample_past([make_episode("control", 0)])
        plain, treated = (sampler.sample_after_switch(start, arm) for arm in TWO)
        assert np.array_equal(plain.frames, treated.frames)

    def test_the_published_baseline_acts_without_a_switch_too(self, sampler):
        arm = BY_NAME["alignvid"]
        assert arm.acts_without_a_switch
        start = sampler.sample_past([make_episode("control", 0)])
        plain, treated = (sampler.sample_after_switch(start, which) for which in (PLAIN, arm))
        assert not np.array_equal(plain.frames, treated.frames)

    def test_the_step_cache_saves_calls_once_the_first_section_is_over(self, bundle):
        sampler = EpisodeSampler(bundle, replace(SMALL, steps=6, before=1, after=2))
        start = sampler.sample_past([make_episode("colour", 0)])
        plain, cached = (sampler.sample_after_switch(start, arm) for arm in (PLAIN, BY_NAME["step_cache"]))
        assert plain.evaluations == 12 and 6 + 2 <= cached.evaluations < 12
        assert np.array_equal(plain.frames[:, :12], cached.frames[:, :12])

    # In two steps the step cache has nothing to reuse.
    @pytest.mark.parametrize(
        "arm", [arm for arm in ARMS[1:] if arm.name != "step_cache"], ids=lambda arm: arm.name
    )
    def test_every_arm_acts(self, sampler, start, plain, arm):
        assert not np.array_equal(sampler.sample_after_switch(start, arm).frames, plain.frames)

    def test_a_refreshed_anchor_brings_its_own_image_tokens(self, sampler, start):
        seen = image_tokens(sampler, start, BY_NAME["preset cut"])
        start = start.inputs.image_embeds
        assert seen[0] is None, "the past is denoised again without looking back"
        assert seen[-1].shape == start.shape and not torch.allclose(seen[-1], start, atol=0.1)

    def test_low_pass_guidance_swaps_image_tokens_early(self, sampler, start):
        seen = image_tokens(sampler, start, BY_NAME["low_pass"])
        start = start.inputs.image_embeds
        assert not torch.allclose(seen[0], start, atol=0.1) and torch.equal(seen[-1], start)

    def test_the_end_is_decoded_as_in_the_whole(self, sampler, bundle):
        latents = torch.randn(1, 16, 1 + 5 * 3, 8, 8, generator=torch.Generator().manual_seed(0))
        whole = bundle.vae.decode(latents)[:, -36:].numpy()
        shared, frames = frames_at_switch(bundle.vae, latents, after=9, forward=True)
        assert shared is None and np.allclose(frames, whole, atol=1e-5)

    def test_an_episode_hardly_depends_on_its_batch(self, sampler):
        episodes = [make_episode("colour", seed) for seed in range(2)]
        both = sampler.sample_after_switch(sampler.sample_past(episodes), TWO[1]).frames
        alone = sampler.sample_after_switch(sampler.sample_past(episodes[1:]), TWO[1]).frames
        assert np.allclose(both[1], alone[0], atol=1e-3)


BACKWARD = replace(SMALL, layout="original", before=1, after=2)


@pytest.fixture(scope="module")
def backward(bundle) -> EpisodeSampler:
    return EpisodeSampler(bundle, BACKWARD)


class TestOriginalLayout:
    """What is made from the end of the video is sampled, shared and told in that order."""

    def test_later_sections_are_shared_and_techniques_act_in_the_one_before_the_switch(self, backward):
        start = backward.sample_past([make_episode("colour", 0)])
        assert [section.latents for section in start.sections] == [(1, 4)]
        plain, treated = (backward.sample_after_switch(start, arm) for arm in TWO)
        assert plain.shared.shape == (1, 2 * 12, 64, 64, 3) and plain.frames.shape == (1, 12, 64, 64, 3)
        assert np.array_equal(plain.shared[:, :12], treated.shared[:, :12])
        assert not np.array_equal(plain.frames, treated.frames)
        assert plain.evaluations == SMALL.steps < treated.evaluations

    def test_frames_are_those_of_the_whole_video_from_its_end(self, backward, bundle):
        episodes = [make_episode("cut", 0)]
        driver = PlainDriver(PlainModel(bundle.dit, bundle.latent_scale))
        whole, _ = backward.sample_whole(episodes, driver)
        start = backward.sample_past(episodes)
        videos = backward.sample_after_switch(start, PLAIN)
        assert np.allclose(np.concatenate([videos.shared, videos.frames], axis=1), whole[:, :0:-1], atol=1e-5)
        assert np.allclose(start.frames[:, :12], videos.shared[:, :12], atol=1e-5)

    def test_the_scenes_come_the_other_way_round_and_the_start_image_stays(self):
        episode = make_episode("cut", 0)
        met = as_generated(episode, forward=False)
        assert (met.before, met.after, met.prompts) == (episode.after, episode.before, episode.prompts[::-1])
        assert met.image is episode.image and as_generated(episode, forward=True) is episode

    def test_results_are_not_those_of_the_other_layout(self, tmp_path, backward, bundle):
        other = EpisodeSampler(bundle, replace(BACKWARD, layout="f1"))
        assert backward.fingerprint() != other.fingerprint()
        bench = small(tmp_path, settings=BACKWARD)
        found = transition.run(bench, backward)
        assert [(r.arm, r.case) for r in found] == [
            (arm.name, case) for arm in TWO for case in ("colour", "control")
        ]
        assert all(len(r.measures.held) == 1 for r in found)

    def test_a_process_of_its_own_loads_the_layout(self):
        loaded = tasks._worker_sampler(BACKWARD).bundle.dit
        original, f1 = (load_tiny(layout=layout).dit for layout in ("original", "f1"))
        weights = [next(iter(dit.parameters())) for dit in (loaded, original, f1)]
        assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])

    def test_other_histories_and_anchors_are_refused(self, tmp_path):
        arm = Arm("no past", conditions=SwitchConditions(history="zero"))
        with pytest.raises(ValueError, match="layout is original, but an arm has conditions"):
            small(tmp_path, settings=BACKWARD, arms=(PLAIN, arm))


def result(
    arm: str,
    case: str,
    seed: int,
    success: bool,
    latency: int | None = None,
    valid: bool = True,
    jump: float | None = 2.0,
) -> Result:
    measures = Measures(
        success=success,
        held=(success, False),
        latency=latency,
        remaining=0.0 if success else 1.0,
        jump=jump,
        jump_before=1.0,
        jump_after=1.0,
        artefacts=0.25,
    )
    return Result(
        key=f"{arm}{case}{seed}",
        case=case,
        seed=seed,
        arm=arm,
        valid=valid,
        measures=measures,
        evaluations=12,
        seconds=0.5,
    )


class TestRows:
    results = [
        *(result("plain", "colour", seed, seed == 0, 4 if seed == 0 else None) for seed in range(4)),
        *(result("gate", "colour", seed, True, 0) for seed in range(4)),
        *(result(arm, "colour", 9, True, 0, valid=False) for arm in ("plain", "gate")),
        *(result(arm, "sham", seed, True) for arm in ("plain", "gate") for seed in range(2)),
    ]
    rows = {(row["technique"], row["case"]): row for row in summary.rows(results, 36)}

    def test_only_valid_episodes_count(self):
        assert self.rows["plain", "colour"]["n"] == self.rows["gate", "colour"]["n"] == 4

    def test_a_row_says_what_its_episodes_say(self):
        row = self.rows["plain", "colour"]
        assert (row["success"], row["reached"], row["remaining"], row["artefacts"]) == (
            0.25,
            0.25,
            0.75,
            0.25,
        )
        assert row["tl_frames"] == pytest.approx((4 + 3 * 36) / 4)
        assert (row["lasting"], row["relapse"], row["evaluations"], row["seconds"]) == (0, 1, 12, 0.5)

    def test_gains_are_paired_by_episode(self):
        row = self.rows["gate", "colour"]
        assert row["gain"] == 0.75 and row["gain_ci"][0] < 0.75 <= row["gain_ci"][1]
        assert row["gain_ci"] == pytest.approx(statistics.paired_interval(3, 0, 4))
        assert self.rows["plain", "colour"]["gain"] is None, "it is not compared with itself"

    def test_arms_are_paired_by_seed_whatever_their_order_and_what_is_missing(self):
        results = [
            *(result("plain", "cut", seed, seed == 1, valid=seed != 0) for seed in range(4)),
            *(result("gate", "cut", seed, True, valid=seed != 2) for seed in reversed(range(4))),
        ]
        rows = {row["technique"]: row for row in summary.rows(results, 36) if row["case"] == "cut"}
        assert rows["plain"]["n"] == rows["gate"]["n"] == 2, "1 and 3 were right under both"
        assert rows["gate"]["gain"] == 0.5 and rows["gate"]["gain_n"] == 2

    def test_jumps_are_paired_where_the_subject_is_seen_under_both(self):
        results = [
            *(result("plain", "sham", seed, True, jump=(1.0, 2.0, None, 9.0)[seed]) for seed in range(4)),
            *(result("gate", "sham", seed, True, jump=(2.0, 5.0, 7.0, None)[seed]) for seed in range(4)),
        ]
        row = summary.rows(results, 36)[-1]
        assert (row["technique"], row["jump_gain"], row["jump_gain_n"]) == ("gate", 2.0, 2)
        assert row["jump_gain_ci"] is None, "of two jumps nothing follows"
        assert "+2.0 [?] (2)" in pictures.table(summary.rows(results, 36))

    def test_the_loss_that_a_sham_does_not_exclude_is_said(self):
        results = [result(arm, "sham", seed, True) for arm in ("plain", "gate") for seed in range(31)]
        text = pictures.table(summary.rows(results, 36))
        assert "sham loss not excluded" in text and "up to 11%" in text

    def test_all_switches_are_pooled_without_controls_and_shams(self):
        assert self.rows["gate", "all"]["n"] == 4
        assert self.rows["gate", "sham"]["tl_frames"] is None

    def test_the_table_names_every_technique_and_case(self):
        text = pictures.table(summary.rows(self.results, 36))
        assert "gate" in text and "colour (4)" in text and "0.75 [" in text
        assert "sham success (2)" in text and "control" not in text

    def test_without_valid_episodes_rows_are_empty(self):
        row = summary.rows([result("plain", "cut", 0, True, 0, valid=False)], 36)[0]
        assert summary.rows([], 36) == []
        assert (
            row["n"] == 0
            and row["jump_gain"] is None
            and row["success"] is None
            and row["success_ci"] is None
        )


def test_the_command_writes_a_report_a_table_a_plot_and_a_sheet(tmp_path, monkeypatch, capsys, report_page):
    monkeypatch.setattr(command.transition, "Bench", small)
    monkeypatch.setattr(measuring, "available_cores", lambda: 1)
    assert main(["bench", "transition", "--seeds", "1", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")
    assert (written["kind"], written["bench"], written["seeds"], written["quotable"]) == (
        "bench",
        "transition",
        1,
        False,
    )
    wanted = {
        "technique",
        "case",
        "n",
        "success",
        "success_ci",
        "tl_frames",
        "remaining",
        "continuity",
        "evaluations",
        "seconds",
    }
    assert all(wanted <= set(row) for row in written["rows"])
    assert {row["case"] for row in written["rows"]} == {"all", "colour", "control"}
    assert written["rows"][0]["technique"] in (tmp_path / "table.md").read_text(encoding="utf-8")
    for name in ("plot.png", "contact_sheet.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 100
    assert "not enough to quote" in capsys.readouterr().out


def test_wrong_numbers_of_seeds_are_one_sentence(tmp_path, capsys):
    assert main(["bench", "transition", "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert "Seeds is 0; give at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--study", "conflict"], "The study conflict samples in layout f1"),
        (["--suite"], "--layout belongs to --study"),
    ],
)
def test_a_layout_that_does_not_belong_is_one_sentence(tmp_path, capsys, options, words):
    command = ["bench", "transition", *options, "--layout", "original", "--out", str(tmp_path)]
    assert main(command) == 1
    assert words in capsys.readouterr().err


def test_every_arm_has_a_name_of_its_own_and_the_first_is_plain():
    names = [arm.name for arm in ARMS]
    alone = {type(arm.techniques[0]) for arm in ARMS if len(arm.techniques) == 1}
    assert alone == {entry.technique for entry in TECHNIQUES}, "one arm for each technique"
    assert len(set(names)) == len(names) and names[0] == "plain" and not ARMS[0].techniques
    assert set(CASES) >= {"disappear", "appear", "colour", "background", "cut", "motion", "control", "sham"}
