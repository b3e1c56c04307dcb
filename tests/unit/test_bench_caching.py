"""The study of step caches, and calibration: what is counted, what is paired, and what a workflow is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.caching import study
from framepack_transitions.benchmarks.caching.arms import OWN, UNCACHED, CacheArm
from framepack_transitions.benchmarks.caching.measuring import CachedEpisode, measure_batch, psnr
from framepack_transitions.benchmarks.transition.episodes import make_episode
from framepack_transitions.benchmarks.transition.running.results import (
    COMPRESSED,
    EPISODES,
    ResultFile,
    save_compressed,
)
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings, EpisodeSampler
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.step_cache.calibrate import mean_magnitudes, measure_in
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.workflow import Link, Node
from framepack_transitions.models.plain import PlainModel
from framepack_transitions.samplers.techniques.schedule.step_cache import StepCache
from framepack_transitions.tiny.bundle import load_tiny

DOCS = Path(__file__).parents[2] / "docs"
EPISODE = CachedEpisode(
    arm=UNCACHED.name,
    case="colour",
    seed=1,
    valid=True,
    calls=(12.0, 12.0, 18.0, 12.0),
    success=True,
    latency=4,
    artefacts=0.25,
    jump=None,
    psnr_before=100.0,
    psnr_after=100.0,
)
CACHED = replace(
    EPISODE, arm="cached", calls=(4.0, 5.0, 18.0, 9.0), artefacts=0.5, psnr_before=40.0, psnr_after=30.0
)


def test_episodes_are_sampled_whole_and_counted_at_the_model():
    bundle = load_tiny()
    sampler = EpisodeSampler(bundle, BenchSettings(window=3, steps=4, before=1, after=2))
    sparse = CacheArm("sparse", StepCache(threshold=10.0, longest_run=0, first=0.0))
    model = PlainModel(bundle.dit, bundle.latent_scale)
    episodes = [make_episode("colour", seed) for seed in (0, 1)]
    uncached, cached = measure_batch(sampler, model, episodes, [UNCACHED, sparse])
    # The preset asks for the negative prompt in the early steps of the section after the switch.
    assert {episode.calls[0] for episode in uncached} == {4.0} and uncached[0].calls[1] > 4
    assert {episode.calls for episode in cached} == {(2.0, uncached[0].calls[1], 2.0)}
    assert [episode.psnr_before for episode in uncached] == [100.0, 100.0]
    assert all(0 < episode.psnr_before < 100 for episode in cached)


def test_psnr_is_that_of_the_mean_squared_error():
    frames = torch.zeros(2, 4, 4, 3).numpy()
    assert psnr(frames + np.float32(0.1), frames) == pytest.approx(20.0, abs=1e-4)
    assert psnr(frames, frames) == 100.0


def test_rows_pair_the_episodes_that_were_right_both_times():
    lost = replace(CACHED, seed=2, success=False, latency=None)
    wrong = replace(CACHED, seed=3, valid=False, success=False)
    uncached = [replace(EPISODE, seed=seed) for seed in (1, 2, 3)]
    first, second = study.rows([*uncached, CACHED, lost, wrong])
    assert (first["n"], second["n"]) == (3, 2)
    assert first["fewer"] == 1 and first["gain"] is None
    assert second["fewer"] == 36 / 18 and second["fewer_in_all"] == 54 / 36
    assert second["success"] == 0.5 and second["gain"] == -0.5
    assert second["tl_gain"] == (0 + 36 - 4) / 2 and second["artefact_gain"] == 0.25
    assert "2.00x (1.50x)" in study.table([first, second])


def test_episodes_come_back_from_their_file_and_equal_ones_make_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_compressed(tmp_path / name, [EPISODE, CACHED])
    assert (tmp_path / "one" / COMPRESSED).read_bytes() == (tmp_path / "two" / COMPRESSED).read_bytes()
    assert list(study.load_episodes(tmp_path / "one" / COMPRESSED)) == [EPISODE, CACHED]


@pytest.fixture
def measured(monkeypatch):
    """Which arms were measured on which batch, without measuring anything."""
    asked = []

    def measure(sampler, model, episodes, arms):
        for arm in arms:
            asked.append((episodes[0].case, arm.name, len(episodes)))
            yield [replace(EPISODE, arm=arm.name, case=e.case, seed=e.seed) for e in episodes]

    monkeypatch.setattr(study, "measure_batch", measure)
    return asked


ARMS = (UNCACHED, CacheArm("one", StepCache()), CacheArm("two", StepCache(dense=0)))


def study_of(folder, arms=ARMS, seeds=2, fingerprint="weights"):
    sampler = SimpleNamespace(fingerprint=lambda: fingerprint)
    kept, told = ResultFile.open(folder, CachedEpisode.from_line), []
    found = study.run(sampler, None, arms, seeds=seeds, kept=kept, on_episodes=told.append)
    assert sum(told) == len(found) == len(arms) * len(study.CASES) * seeds
    return found


def test_a_study_goes_on_where_it_was_stopped(tmp_path, measured):
    whole = study_of(tmp_path)
    assert len(measured) == 3 * len(study.CASES)
    path = tmp_path / EPISODES
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]) + lines[-1][:20])  # stopped while the last arm was written
    measured.clear()
    assert study_of(tmp_path) == whole
    # The uncached video, to which the missing arm is compared, is sampled once more.
    assert measured == [("cut", "uncached", 2), ("cut", "two", 2)]


def test_what_a_result_depends_on_makes_it_another_one(tmp_path, measured):
    study_of(tmp_path)
    for changed in (
        {"arms": (*ARMS[:2], CacheArm("two", StepCache(threshold=0.1)))},
        {"seeds": 1},  # in a smaller batch numbers are rounded otherwise
        {"fingerprint": "other weights"},
    ):
        measured.clear()
        study_of(tmp_path, **changed)
        assert measured


@pytest.mark.parametrize("rows", ["step_cache", "step_cache_host"])
def test_the_lines_of_the_page_are_those_of_the_episodes_beside_it(rows):
    def cells(text: str) -> list[list[str]]:
        return [line.split("|") for line in text.replace(" ", "").splitlines() if line.startswith("|")]

    episodes = list(study.load_episodes(DOCS / "lab" / f"{rows}.jsonl.gz"))
    page = cells((DOCS / "BENCHMARKS.md").read_text(encoding="utf-8"))
    _, _, *lines = cells(study.table(study.rows(episodes)))
    assert lines and all(line in page for line in lines)


def test_every_arm_has_a_name_of_its_own():
    assert len({arm.name for arm in (UNCACHED, *OWN)}) == 1 + len(OWN)


def workflow(*between: str) -> dict[str, Node]:
    """A loader, nodes between, and a sampler."""
    chain = ["FramePackTinyLoader", *between, "FramePackTransitionsSampler"]
    nodes = {}
    for number, name in enumerate(chain):
        inputs: dict[str, Any] = {"model": Link(str(number - 1), 0)} if number else {}
        nodes[str(number)] = Node(str(number), name, name, inputs)
    return nodes


def test_a_measuring_cache_is_put_before_a_sampler_that_has_none():
    nodes = workflow("FramePackAdaptiveCFG")
    measure_in(nodes, "w.json", shows_traces=True)
    added = nodes[nodes["2"].inputs["model"].node]
    assert added.class_type == "FramePackStepCache"
    assert added.inputs == {"model": Link("1", 0), "mode": "measure"}
    assert [node.inputs for node in nodes.values() if node.class_type == "PreviewAny"] == [
        {"source": Link("2", 1)}
    ]


def test_a_workflows_own_cache_measures_where_it_is():
    nodes = workflow("FramePackStepCache", "FramePackAdaptiveCFG")
    measure_in(nodes, "w.json", shows_traces=False)
    assert len(nodes) == 4 and nodes["1"].inputs["mode"] == "measure"


def test_a_workflow_without_a_sampler_cannot_be_calibrated():
    with pytest.raises(WorkflowError, match="no FramePackTransitionsSampler"):
        measure_in({"0": Node("0", "SaveVideo", "", {})}, "w.json", shows_traces=False)


def traced(*measured: list[float] | None) -> dict[str, Any]:
    return {"sections": [{"cache": {} if ratios is None else {"magnitudes": ratios}} for ratios in measured]}


def test_magnitudes_are_the_mean_of_the_measured_sections():
    assert mean_magnitudes([traced([1.0, 2.0], None), traced([2.0, 4.0])]) == [1.5, 3.0]
    with pytest.raises(WorkflowError, match="No section was measured"):
        mean_magnitudes([traced(None), {"sections": [{}]}])
    with pytest.raises(WorkflowError, match="2 and 3 steps"):
        mean_magnitudes([traced([1.0], [1.0, 2.0])])


def test_calibrating_prints_what_the_node_takes(tmp_path, capsys):
    assert main(["bench", "cache", "--calibrate", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("magnitudes for 12 steps")]
    assert len(lines[place + 1].split(", ")) == 11
    StepCache(mode="magcache", magnitudes=lines[place + 1])


def test_options_of_calibration_need_it(tmp_path, capsys):
    assert main(["bench", "cache", "--server", "http://127.0.0.1:1", "--out", str(tmp_path)]) == 1
    assert "--server belongs to bench cache --calibrate" in capsys.readouterr().err
    assert main(["bench", "cache", "--comfyui", str(tmp_path), "--out", str(tmp_path)]) == 1
    assert "holds no ComfyUI" in capsys.readouterr().err
    assert main(["bench", "speed", "--calibrate", "--out", str(tmp_path)]) == 1
    assert "--calibrate belongs to bench cache" in capsys.readouterr().err
