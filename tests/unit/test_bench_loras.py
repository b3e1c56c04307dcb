"""The study of LoRAs: what they do to episodes, what is trained, and what its trainings amount to."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.loras import study, training
from framepack_transitions.benchmarks.loras.arms import compared, settings_of
from framepack_transitions.benchmarks.loras.comparing import comparisons, settings_rows
from framepack_transitions.benchmarks.loras.table import table
from framepack_transitions.benchmarks.statistics import grouped_gain_interval
from framepack_transitions.benchmarks.transition.arms import PLAIN, Arm, LoraFile
from framepack_transitions.benchmarks.transition.bench import Bench
from framepack_transitions.benchmarks.transition.episodes import make_episode
from framepack_transitions.benchmarks.transition.measures import Measures
from framepack_transitions.benchmarks.transition.running.results import Result, ResultKeys
from framepack_transitions.benchmarks.transition.running.sampling import BenchSettings, EpisodeSampler
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.studies import measuring
from framepack_transitions.tiny.bundle import TinyBundle, load_tiny
from framepack_transitions.tiny.train.learning.lora import LoraFactors, linear_layers
from framepack_transitions.tiny.train.lora import LoraRecipe, base_trio
from safetensors.torch import load_file, save_file

SMALL = BenchSettings(window=3, steps=1, before=1, after=2, bfloat16=False)
SHORT = LoraRecipe(steps=1, batch=1, rank=2)


@pytest.fixture(scope="module")
def bundle() -> TinyBundle:
    return load_tiny(weights=Path("nowhere"))


def save_lora(path: Path, bundle: TinyBundle, seed: int = 0) -> Path:
    factors = LoraFactors(bundle.dit, 2, seed)
    for up in factors.up:
        torch.nn.init.normal_(up, std=0.2, generator=torch.Generator().manual_seed(seed))
    save_file(factors.tensors(), path)
    return path


@pytest.fixture
def lora(tmp_path: Path, bundle: TinyBundle) -> Path:
    return save_lora(tmp_path / "own.safetensors", bundle)


class TestArms:
    def test_a_lora_adds_its_product_to_the_weights(self, bundle: TinyBundle, lora: Path) -> None:
        sampler, episodes = EpisodeSampler(bundle, SMALL), [make_episode("cut", 0)]
        start = sampler.sample_past(episodes)
        got = sampler.sample_after_switch(start, Arm("LoRA", lora=LoraFile.of(lora))).frames
        tensors, dit = load_file(lora), copy.deepcopy(bundle.dit)
        for name, layer in linear_layers(dit):
            key = "lora_unet_" + name.replace(".", "_")
            layer.weight += (
                tensors[f"{key}.lora_up.weight"].float() @ tensors[f"{key}.lora_down.weight"].float()
            )
        changed = EpisodeSampler(replace(bundle, dit=dit), SMALL)
        wanted = changed.sample_after_switch(start, PLAIN).frames
        assert np.allclose(got, wanted, atol=1e-4)
        assert not np.allclose(got, sampler.sample_after_switch(start, PLAIN).frames, atol=1e-2)

    def test_it_acts_where_nothing_is_switched_too(self, lora: Path) -> None:
        assert Arm("LoRA", lora=LoraFile.of(lora)).acts_without_a_switch

    def test_results_are_named_by_what_the_file_holds(self, bundle: TinyBundle, lora: Path) -> None:
        keys = ResultKeys("model")
        before = keys.key("cut", 0, Arm("LoRA", lora=LoraFile.of(lora)), [0])
        assert before == keys.key("cut", 0, Arm("LoRA", lora=LoraFile.of(lora)), [0])
        assert before != keys.key("cut", 0, Arm("LoRA"), [0])
        save_lora(lora, bundle, seed=1)
        assert before != keys.key("cut", 0, Arm("LoRA", lora=LoraFile.of(lora)), [0])

    def test_what_is_compared_differs_in_one_thing(self, lora: Path) -> None:
        files = {name: [lora, lora] for name in training.KINDS}
        settings = settings_of(files, beside_preset=(training.LORA,))
        assert [len(setting.arms) for setting in settings] == [1, 1, 2, 2, 2, 2]
        names = [arm.name for setting in settings for arm in setting.arms]
        assert len(set(names)) == len(names) and "LoRA + balanced, training 1" in names
        pairs = {(one.name, other.name) for one, other in compared(settings)}
        against = {one for one, other in pairs if other == "plain"}
        assert against == {"preset balanced", "LoRA + balanced", *training.KINDS}
        assert {pair for pair in pairs if pair[1] != "plain"} == {
            ("LoRA + balanced", "preset balanced"),
            ("LoRA", "one-caption LoRA"),
            ("recycled LoRA", "LoRA"),
        }

    def test_given_loras_are_named_as_their_files(
        self, bundle: TinyBundle, lora: Path, tmp_path: Path
    ) -> None:
        assert study.given_loras([lora], bundle) == {"own": [lora]}
        other = tmp_path / "other" / lora.name
        with pytest.raises(ValueError, match="two LoRAs are named own"):
            study.given_loras([lora, other], bundle)
        with pytest.raises(ValueError, match=r"absent\.safetensors: there is no such file"):
            study.given_loras([lora.with_name("absent.safetensors")], bundle)
        save_file({"lora_unet_elsewhere.lora_down.weight": torch.ones(2, 2)}, lora)
        with pytest.raises(ValueError, match=r"own\.safetensors: none of its 1 keys fits"):
            study.given_loras([lora], bundle)


def result(arm: str, case: str, seed: int, success: bool, jump: float | None = 1.0) -> Result:
    measures = Measures(
        success=success,
        held=(success,),
        latency=None,
        remaining=None,
        jump=jump,
        jump_before=None,
        jump_after=None,
        artefacts=0.5 if success else 0.0,
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


def results_of(settings, succeeds) -> list[Result]:
    """Four switches and two shams under every arm; `succeeds(arm, seed)` says which switches succeed."""
    return [
        made
        for setting in settings
        for arm in setting.arms
        for made in (
            *(result(arm.name, "cut", seed, succeeds(arm.name, seed)) for seed in range(4)),
            *(result(arm.name, "sham", seed, True, 1.5 if arm.lora else 1.0) for seed in range(2)),
            replace(result(arm.name, "cut", 9, True), valid=False),
        )
    ]


class TestTrainings:
    def test_success_is_the_mean_over_trainings_and_each_is_told(self, lora: Path) -> None:
        settings = settings_of({"LoRA": [lora] * 2}, beside_preset=())
        results = results_of(
            settings, lambda arm, seed: seed < {"training 0": 1, "training 1": 3}.get(arm[6:], 0)
        )
        row = settings_rows(settings, results)[2]
        assert (row["setting"], row["success"], row["success_n"]) == ("LoRA", 0.5, 4)
        assert row["success_by_training"] == [0.25, 0.75] and row["artefacts"] == 0.25
        assert (row["sham"], row["sham_jump"], row["evaluations"]) == (1.0, 1.5, 4.0)
        (_, gain) = comparisons(settings, results)
        assert (gain["gain"], gain["sham_gain"], gain["sham_jump"]) == (0.5, 0.0, 0.5)
        assert gain["gain_ci"] == pytest.approx(grouped_gain_interval([[1, 1], [0, 1], [0, 1], [0, 0]]))
        text = table([row], [gain])
        assert "0.25, 0.75" in text and "| +0.50 [" in text and "how far other trainings" in text.lower()

    def test_more_trainings_that_do_the_same_tell_nothing_more(self, lora: Path) -> None:
        widths = []
        for trainings in (1, 4):
            settings = settings_of({"LoRA": [lora] * trainings}, beside_preset=())
            results = results_of(settings, lambda arm, seed: arm.startswith("LoRA") and seed % 2 == 0)
            low, high = comparisons(settings, results)[1]["gain_ci"]
            widths.append(high - low)
        assert widths[1] > 0.9 * widths[0]


class TestTraining:
    def test_what_is_there_is_not_trained_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = training.training_run(tmp_path, torch.device("cpu"))
        run = replace(run, recipe=replace(run.recipe, clips=6), progress=False)
        wanted = training.recipes_of(
            tmp_path / "loras", 1, {"LoRA": SHORT, "one-caption LoRA": replace(SHORT, captions="clip")}
        )
        files = {file: recipe for kind in wanted.values() for file, recipe in kind.items()}
        done: list[int] = []
        training.train_missing(run, files, done.append)
        assert done == [1, 2] and [file.name for file in files] == [
            "LoRA_0.safetensors",
            "one-caption_LoRA_0.safetensors",
        ]
        trained: list[Path] = []
        monkeypatch.setattr(training, "train_stage_lora", lambda run, recipe, file: trained.append(file))
        training.train_missing(run, files)
        assert not trained
        longer = {
            file: replace(recipe, steps=2) if file.name.startswith("one") else recipe
            for file, recipe in files.items()
        }
        training.train_missing(run, longer)
        assert [file.name for file in trained] == ["one-caption_LoRA_0.safetensors"]
        other = base_trio(run)
        next(other.dit.parameters()).data += 1
        assert not training.is_lora_of(next(iter(files)), other, SHORT), "it is for other weights"

    def test_kinds_differ_in_one_thing_and_trainings_in_their_seed(self, tmp_path: Path) -> None:
        wanted = training.recipes_of(tmp_path, 2)
        assert all([recipe.seed for recipe in kind.values()] == [0, 1] for kind in wanted.values())
        first = {name: next(iter(kind.values())) for name, kind in wanted.items()}
        assert replace(first[training.ONE_CAPTION], captions="section") == first[training.LORA]
        assert replace(first[training.RECYCLED], errors="none") == first[training.LORA]

    def test_random_weights_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no trained weights"):
            training.training_run(tmp_path, torch.device("cpu"), weights=tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "Bench", lambda **given: Bench(**given, settings=SMALL, cases=("cut", "sham")))
    monkeypatch.setattr(measuring, "available_cores", lambda: 1)


def test_the_command_measures_given_loras(tmp_path: Path, quick: None, lora: Path, report_page) -> None:
    out = tmp_path / "out"
    assert (
        main(
            ["bench", "transition", "--study", "lora", "--lora", str(lora), "--seeds", "1", "--out", str(out)]
        )
        == 0
    )
    written = json.loads((out / "report.json").read_text(encoding="utf-8"))
    report_page.check(written, "study")
    assert [row["setting"] for row in written["trained"]] == [
        "plain",
        "preset balanced",
        "own",
        "own + balanced",
    ]
    assert [row["against"] for row in written["comparisons"]].count("preset balanced") == 1
    assert written["techniques"]["own"][0]["file"] == "own.safetensors"
    assert "| own + balanced" in (out / "table.md").read_text(encoding="utf-8")
    assert (out / written["plot"]).is_file() and (out / written["contact_sheet"]).is_file()


def test_without_files_every_kind_is_trained_first(
    tmp_path: Path, quick: None, bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(run, wanted, on_trained) -> None:
        for number, file in enumerate(wanted):
            file.parent.mkdir(exist_ok=True)
            save_lora(file, bundle, number)
        on_trained(len(wanted))

    monkeypatch.setattr(training, "train_missing", train)
    given = ["--study", "lora", "--trainings", "1", "--seeds", "1", "--out", str(tmp_path)]
    assert main(["bench", "transition", *given]) == 0
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert len(written["trained"]) == 2 + 3 + 1 and len(written["comparisons"]) == 5 + 1 + 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["--study", "doses", "--trainings", "2"], "--trainings belongs to --study lora."),
        (["--suite", "--lora", "a.safetensors"], "--lora belongs to --study"),
        (["--ratings", "a.json", "--trainings", "2"], "--trainings belongs to --study"),
        (["--study", "lora", "--trainings", "0"], "Trainings is 0; give at least 1."),
        (["--study", "lora", "--lora", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--study", "lora", "--lora", "a.safetensors", "--trainings", "2"], "leave it out with --lora"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], reason: str
) -> None:
    assert main(["bench", "transition", *given, "--seeds", "1", "--out", str(tmp_path)]) == 1
    assert reason in capsys.readouterr().err
