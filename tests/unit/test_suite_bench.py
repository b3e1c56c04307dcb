"""`bench transition --suite`: a workflow is filled, run plain and treated, measured, and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from framepack_transitions.benchmarks.suites.episodes import PromptedState, SuiteEpisode, read_suite
from framepack_transitions.benchmarks.suites.files import SHIPPED
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.suites import command, videos
from framepack_transitions.headless.commands.suites.workflow import PLAIN, TREATED, SuiteWorkflow
from framepack_transitions.headless.files import media
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.running import client, runs
from framepack_transitions.headless.running.server import ServerGone
from framepack_transitions.headless.spreading import spread
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.specs import specs_of
from framepack_transitions.headless.workflows.workflow import Link, Workflow, parse_api, read_json, to_api

API = runs.PACK / runs.EXAMPLES / "api"
BENCHES = pytest.mark.parametrize("name", ["framepack_bench", "tiny_bench"])
EPISODE = SuiteEpisode(
    id="one",
    case="colour",
    image="red.png",
    old=PromptedState("A.", "a"),
    new=PromptedState("B.", "b"),
    lost="",
    concept="",
    seconds=4.8,
    switch=1.2,
)


def load(name: str) -> Workflow:
    return parse_api(read_json(API / f"{name}.json"))


def titled(workflow: Workflow, title: str) -> dict[str, Any]:
    return next(node.inputs for node in workflow.values() if node.title == title)


class TestSuiteWorkflow:
    @BENCHES
    def test_plain_passes_the_model_through(self, name: str) -> None:
        treated = SuiteWorkflow.of(load(name), name)
        plain = treated.arm(PLAIN)
        assert [(node.class_type, node.inputs["preset"]) for node in treated.techniques()] == [
            ("FramePackTransitionPreset", "balanced")
        ]
        assert not plain.techniques()
        assert titled(plain.workflow, "Sampler")["model"] == Link("1", 0)
        removed = {node.id for node in treated.techniques()}
        assert plain.workflow.keys() == treated.workflow.keys() - removed
        same = [key for key in plain.workflow if plain.workflow[key] == treated.workflow[key]]
        assert len(same) == len(plain.workflow) - 1

    @BENCHES
    def test_an_episode_fills_its_places_and_nothing_else(self, name: str) -> None:
        suite_workflow = SuiteWorkflow.of(load(name), name)
        filled = suite_workflow.filled(EPISODE, 7, "takes/x")
        assert titled(filled, "Start image")["image"] == "red.png"
        assert titled(filled, "Prompts")["text"] == "[0s: A. => a]\n[1.2s: B. => b]"
        assert (titled(filled, "Prompts")["syntax"], titled(filled, "Prompts")["seconds"]) == (
            "brackets",
            4.8,
        )
        sampler = titled(filled, "Sampler")
        assert (sampler["seconds"], sampler["latent_frames"], sampler["seed"]) == (4.8, 0, 7)
        assert titled(filled, "Save")["filename_prefix"] == "takes/x"
        changed = {key for key in filled if filled[key] != suite_workflow.workflow[key]}
        assert len(changed) == 4 and to_api(suite_workflow.workflow) == to_api(load(name))

    def test_a_video_is_named_by_all_that_it_depends_on(self, tmp_path: Path) -> None:
        suite_workflow = SuiteWorkflow.of(load("tiny_bench"), "w")
        one, other = tmp_path / "one.png", tmp_path / "other.png"
        one.write_bytes(b"one")
        other.write_bytes(b"other")
        stronger = load("tiny_bench")
        titled(stronger, "Preset")["preset"] = "strong"
        keys = [
            suite_workflow.key(EPISODE, 1, one),
            suite_workflow.key(EPISODE, 2, one),
            suite_workflow.key(EPISODE, 1, other),
            suite_workflow.arm(PLAIN).key(EPISODE, 1, one),
            SuiteWorkflow.of(stronger, "w").key(EPISODE, 1, one),
        ]
        assert len(set(keys)) == len(keys)
        assert suite_workflow.key(EPISODE, 1, one) == keys[0]
        # The plain arm does not know how strong the techniques are.
        assert SuiteWorkflow.of(stronger, "w").arm(PLAIN).key(EPISODE, 1, one) == keys[3]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda graph: graph.pop("5"), "has no nodes titled 'Prompts'; the suite fills text and syntax"),
            (lambda graph: graph["5"]["_meta"].update(title="Sampler"), "has 2 nodes titled 'Sampler'"),
            (lambda graph: graph["12"]["inputs"].pop("filename_prefix"), "has no input 'filename_prefix'"),
            (lambda graph: graph["9"]["inputs"].pop("timeline"), "has no timeline connected"),
            (
                lambda graph: [graph["9"]["inputs"].update(model=["1", 0]), graph.pop("7")],
                "has no technique node between loader and sampler",
            ),
        ],
    )
    def test_a_workflow_that_does_not_fit_is_said(
        self, change: Callable[[dict[str, Any]], Any], sentence: str
    ) -> None:
        graph = read_json(API / "tiny_bench.json")
        change(graph)
        with pytest.raises(WorkflowError) as caught:
            SuiteWorkflow.of(parse_api(graph), "mine.json")
        assert sentence in str(caught.value) and "mine.json" in str(caught.value)


@pytest.fixture
def quick(tmp_path: Path) -> list[str]:
    """Arguments for two short episodes with the embedded model, whose workflow is quick enough for a test."""
    graph = read_json(API / "tiny_bench.json")
    graph["5"]["inputs"]["window"] = 3
    graph["9"]["inputs"].update(window=3, steps=1, measure_memory=False)
    (tmp_path / "quick.json").write_text(json.dumps(graph), encoding="utf-8")
    whole = read_json(SHIPPED["tiny"])
    whole["episodes"] = [entry for entry in whole["episodes"] if entry["case"] in ("cut", "control")]
    (tmp_path / "images").mkdir()
    for entry in whole["episodes"]:
        image = SHIPPED["tiny"].parent / entry["image"]
        (tmp_path / entry["image"]).write_bytes(image.read_bytes())
    few = {**whole, "name": "few", "seconds": 1.2, "switch": 0.4}
    (tmp_path / "few.json").write_text(json.dumps(few), encoding="utf-8")
    files = ["--suite", str(tmp_path / "few.json"), "--workflow", str(tmp_path / "quick.json")]
    return ["bench", "transition", *files, "--out", str(tmp_path / "out")]


def report(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))


def test_a_suite_is_run_measured_and_gone_on_with(
    quick: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    report_page: ModuleType,
) -> None:
    assert main(quick) == 0
    out, first = tmp_path / "out", report(tmp_path)
    report_page.check(first, "suite")
    assert (first["kind"], first["bench"], first["suite"], first["workflow"]) == (
        "bench",
        "transition",
        "few",
        "quick.json",
    )
    assert {(row["technique"], row["case"]) for row in first["rows"]} == {
        (arm, case) for arm in ("plain", "treated") for case in ("all", "cut", "control")
    }
    assert [(entry["episode"], entry["arm"]) for entry in first["episodes"]] == [
        (f"tiny-{case}", arm) for case in ("cut", "control") for arm in ("plain", "treated")
    ]
    assert [len(found) for found in first["switches"]] == [1, 1, 0, 0]
    assert [video["frames"] for video in first["videos"]] == [37] * 4
    # Three sections of one step, and in one of them guidance asks a second time.
    assert [entry["evaluations"] for entry in first["episodes"][:2]] == [3, 4]
    assert {entry["switch"] for entry in first["episodes"]} == {13}
    cut, control = ([entry["video"] for entry in first["episodes"]][at : at + 2] for at in (0, 2))
    assert frames(out, control[0]) == frames(out, control[1])
    assert frames(out, cut[0]) != frames(out, cut[1])
    assert (out / "contact_sheet.png").is_file()
    shown = capsys.readouterr().out
    assert (
        (out / "table.md")
        .read_text(encoding="utf-8")
        .strip()
        .endswith(shown[: shown.index(str(out))].strip())
    )

    made: list[str] = []
    whole = videos.VideoMaker._make
    monkeypatch.setattr(
        videos.VideoMaker,
        "_make",
        lambda maker, video, *where: made.append(video.name) or whole(maker, video, *where),
    )
    (out / cut[1]).with_suffix(".json").write_text("{")
    assert main(quick) == 0
    assert made == [Path(cut[1]).stem]


def frames(out: Path, name: str) -> list[bytes]:
    return [batch.tobytes() for batch in media.video_batches(out / name)]


class FakeServer:
    """A ComfyUI that knows the local nodes and answers everything with one video and a trace."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queued: list[dict[str, Any]] = []
        self.uploaded: list[str] = []
        self.refuses = ""
        self.patience = None
        self.gone = False
        self.understood = nullcontext
        self.saved: list[dict[str, str]] = [
            {"filename": "a_00007_.mp4", "subfolder": "takes", "type": "output"}
        ]
        self.trace = json.dumps(
            {
                "schema": "framepack-transitions/trace/1",
                "sections": [
                    {
                        "index": index,
                        "frames": [index and 1 + 12 * index, 13 + 12 * index],
                        "prompt": "",
                        "change": 1.0,
                        "since_switch": since,
                        "evaluations": 25,
                        "seconds": 10.0,
                    }
                    for index, since in enumerate([None, 0, 1])
                ],
            }
        )

    def specs(self, names: Sequence[str]) -> dict[str, Any]:
        with using(Folders(Path(), Path())):
            return specs_of(runs.local_nodes(), names)

    def upload(self, path: Path) -> str:
        self.uploaded.append(path.name)
        return path.name

    def queue(self, workflow: Workflow) -> str:
        if self.gone:
            raise ServerGone(f"No ComfyUI answers at {self.url}.")
        if self.refuses:
            raise WorkflowError(self.refuses)
        self.queued.append(to_api(workflow))
        return "1"

    def cancel_all(self) -> None:
        if self.gone:
            raise ServerGone(f"No ComfyUI answers at {self.url}.")

    def result(self, prompt_id: str) -> dict[str, Any]:
        outputs = {"12": {"images": self.saved}, "13": {"text": [self.trace]}}
        return {"outputs": outputs, "status": {"status_str": "success"}}

    def download(self, file: dict[str, str], target: Path) -> None:
        pictures = torch.zeros(37, 64, 64, 3)
        pictures[:13, ..., 0], pictures[13:, ..., 2] = 0.8, 0.8
        media.write_video(target, pictures, 30)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeServer]:
    """The imitation at each address that is asked for."""
    fakes: dict[str, FakeServer] = {}

    @contextmanager
    def events(server: Any) -> Iterator[None]:
        yield None

    def server_at(url: str, *, patience: float | None) -> FakeServer:
        return fakes.setdefault(url, FakeServer(url))

    monkeypatch.setattr(runs, "Server", server_at)
    monkeypatch.setattr(client, "_events", events)
    monkeypatch.setattr(client, "_watch", lambda *arguments: True)
    return fakes


@pytest.fixture
def server(servers: dict[str, FakeServer]) -> FakeServer:
    return servers.setdefault("http://there", FakeServer("http://there"))


def test_a_server_makes_the_videos(quick: list[str], tmp_path: Path, server: FakeServer) -> None:
    assert main([*quick, "--server", "http://there"]) == 0
    assert len(server.queued) == 4
    assert server.uploaded == ["tiny_cut.png"] * 2 + ["tiny_control.png"] * 2
    plain, treated = server.queued[:2]
    assert plain["9"]["inputs"]["model"] == ["1", 0] and "7" not in plain
    assert treated["9"]["inputs"]["model"] == ["7", 0]
    assert plain["2"]["inputs"]["image"] == "tiny_cut.png"
    episodes = {episode.case: episode for episode in read_suite(str(tmp_path / "few.json")).episodes}
    assert plain["5"]["inputs"]["text"] == episodes["cut"].timeline()
    written = report(tmp_path)
    assert written["server"] == "http://there"
    assert {(entry["evaluations"], entry["seconds"], entry["switch"]) for entry in written["episodes"]} == {
        (75, 30.0, 13)
    }
    assert (
        sorted(path.suffix for path in (tmp_path / "out" / "takes").iterdir()) == [".json"] * 4 + [".mp4"] * 4
    )


def test_several_servers_share_the_videos_and_the_report_keeps_their_order(
    quick: list[str], tmp_path: Path, servers: dict[str, FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "POLL_SECONDS", 0.05)
    gone = servers.setdefault("http://gone", FakeServer("http://gone"))
    gone.gone = True
    addresses = ["http://gone", "http://there"]
    assert main([*quick, *(word for url in addresses for word in ("--server", url))]) == 0
    assert not gone.queued and len(servers["http://there"].queued) == 4
    written = report(tmp_path)
    assert written["server"] == addresses and written["dask"] is None
    names = [(entry["case"], entry["arm"]) for entry in written["episodes"]]
    assert names == [("cut", "plain"), ("cut", "treated"), ("control", "plain"), ("control", "treated")]
    for entry, video in zip(written["episodes"], written["videos"]):
        assert entry["video"] == video["path"]
        assert Path(video["path"]).name.startswith(f"{entry['episode']}_1_{entry['arm']}_")


def test_nothing_of_a_video_that_was_stopped_is_left_over(
    quick: list[str], tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "takes"
    download = server.download

    def stopped(file: dict[str, str], target: Path) -> None:
        download(file, target)
        prefix = server.queued[-1]["12"]["inputs"]["filename_prefix"]
        (tmp_path / "out" / f"{prefix}_00009_.mp4").touch()  # as a run that was killed leaves it
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "download", stopped)
    assert main([*quick, "--server", "http://there"]) == 130
    assert list(folder.iterdir()) == []


def test_a_workflow_that_shows_no_trace_is_measured_without(
    quick: list[str], tmp_path: Path, server: FakeServer
) -> None:
    server.trace = "None"
    assert main([*quick, "--server", "http://there"]) == 0
    written = report(tmp_path)
    assert {(entry["evaluations"], entry["switch"]) for entry in written["episodes"]} == {(None, 13)}
    assert any("No trace came with the videos" in remark for remark in written["remarks"])


def test_more_seeds_are_other_videos(quick: list[str], tmp_path: Path, server: FakeServer) -> None:
    assert main([*quick, "--seeds", "2", "--features", "pixel", "--server", "http://there"]) == 0
    written = report(tmp_path)
    assert len({entry["video"] for entry in written["episodes"]}) == 8
    assert [prompt["9"]["inputs"]["seed"] for prompt in server.queued] == [1] * 4 + [2] * 4
    # pixel reads no text: nothing can be judged, and that is said.
    assert {row["n"] for row in written["rows"]} == {0}
    assert any("read no text" in remark for remark in written["remarks"])


def test_people_rate_the_videos_and_the_report_says_what_they_found(
    quick: list[str], tmp_path: Path, server: FakeServer, report_page: ModuleType
) -> None:
    assert main([*quick, "--rate", "5", "--server", "http://there"]) == 0
    out, first = tmp_path / "out", report(tmp_path)
    report_page.check(first, "suite")
    text = (out / first["rating_page"]).read_text(encoding="utf-8")
    plan = json.loads(text.split('id="plan">', 1)[1].split("</script>", 1)[0])
    assert {entry["video"] for entry in plan["videos"]} == {video["path"] for video in first["videos"]}
    # The switch is at frame 13, and the first section of three latent frames after it ends at 25.
    assert {(entry["switch"], entry["until"]) for entry in plan["videos"]} == {(0.433, 0.833)}
    prompts = {entry["left"].split("_")[0]: entry["prompts"] for entry in plan["pairs"]}
    assert {name: [prompt["seconds"] for prompt in said] for name, said in prompts.items()} == {
        "takes/tiny-cut": [0, 0.433],
        "takes/tiny-control": [0],
    }

    answers = {
        "schema": "framepack-transitions/ratings/1",
        "rater": "Ann",
        "order": 5,
        "videos": [{"video": entry["video"], "seen": "new", "jumped": True} for entry in plan["videos"]],
        "pairs": [],
    }
    (tmp_path / "ann.json").write_text(json.dumps(answers), encoding="utf-8")
    assert main(["bench", "transition", "--ratings", str(tmp_path / "ann.json"), "--out", str(out)]) == 0
    second = report(tmp_path)
    report_page.check(second, "suite")
    assert {name: second[name] for name in first} == first
    assert [row["videos"] for row in second["ratings"]["raters"]] == [4]
    assert (out / second["ratings"]["table"]).read_text(encoding="utf-8").startswith("| agreement ")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"videos": [{"video": "takes/other.mp4"}]}, "rates videos that this report does not have"),
        ({"schema": "other"}, "holds no answers"),
    ],
)
def test_answers_that_do_not_fit_are_refused(
    change: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite_report = {"suite": "few", "episodes": [], "videos": []}
    answers = {
        "schema": "framepack-transitions/ratings/1",
        "rater": "Ann",
        "order": 0,
        "videos": [],
        "pairs": [],
    }
    (tmp_path / "ann.json").write_text(json.dumps({**answers, **change}), encoding="utf-8")
    command = ["bench", "transition", "--ratings", str(tmp_path / "ann.json"), "--out", str(tmp_path)]
    assert main(command) == 1
    assert "There is no report of a suite" in capsys.readouterr().err
    (tmp_path / "report.json").write_text(json.dumps(suite_report), encoding="utf-8")
    assert main(command) == 1
    assert sentence in capsys.readouterr().err
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == suite_report


def test_long_videos_are_not_rated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"suite": "long", "switches_in_turn": []}))
    assert main(["bench", "transition", "--ratings", "ann.json", "--out", str(tmp_path)]) == 1
    assert "is the report of long videos, which people do not rate" in capsys.readouterr().err


def test_one_person_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "schema": "framepack-transitions/ratings/1",
        "rater": "Ann",
        "order": 0,
        "videos": [],
        "pairs": [],
    }
    (tmp_path / "report.json").write_text(json.dumps({"suite": "few", "episodes": [], "videos": []}))
    (tmp_path / "ann.json").write_text(json.dumps(answers))
    twice = [str(tmp_path / "ann.json")] * 2
    assert main(["bench", "transition", "--ratings", *twice, "--out", str(tmp_path)]) == 1
    assert "Several files are by Ann" in capsys.readouterr().err


def test_what_a_server_refuses_names_the_episode(
    quick: list[str], server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuses = "The server refuses node 1: no such model."
    assert main([*quick, "--server", "http://there"]) == 1
    assert "Episode tiny-cut, seed 1, plain: The server refuses node 1: no such model." in (
        capsys.readouterr().err
    )


def test_a_run_that_saves_nothing_is_said(
    quick: list[str], server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.saved = []
    assert main([*quick, "--server", "http://there"]) == 1
    assert 'node 12 SaveVideo "Save" has saved no videos' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--server", "127.0.0.1:9", "--suite", "tiny"], "No ComfyUI answers at http://127.0.0.1:9"),
        (
            ["--suite", "transition", "--features", "pixel"],
            "The example framepack_bench.json needs ComfyUI and the files of the 13B model",
        ),
        (["--suite", "nowhere.json"], "The suite nowhere.json cannot be read"),
        (["--suite", "tiny", "--workflow", "nowhere.json"], "The workflow nowhere.json cannot be read"),
        (["--suite", "tiny", "--workflow", str(API / "tiny_f1.json")], "has no nodes titled 'Prompts'"),
        (["--suite", "tiny", "--seeds", "0"], "Seeds is 0; give at least 1."),
        (["--workflow", "w.json"], "--workflow belongs to --suite, which is missing."),
        (["--features", "clip"], "--features belongs to --suite or to --study judge."),
        (["--rate"], "--rate belongs to --suite, which is missing."),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "transition", "--out", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_missing_clip_weights_are_said_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = ["--pretrained", str(tmp_path / "absent.safetensors")]
    assert main(["bench", "transition", "--suite", "--out", str(tmp_path), *weights]) == 1
    assert "absent.safetensors" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_study_and_a_suite_are_two_things() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", "transition", "--study", "doses", "--suite"])
    assert caught.value.code == 2


def test_arms_have_the_names_that_rows_have() -> None:
    assert (PLAIN, TREATED) == ("plain", "treated")
    assert np.array_equal(command.ARMS, ("plain", "treated"))
