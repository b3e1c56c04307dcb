"""`sweep`: every combination of values is run once, measured, and shown in one table, contact sheet and plot."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from framepack_transitions.headless.cli import main
from framepack_transitions.headless.commands.sweep import pictures
from framepack_transitions.headless.commands.sweep.grid import Axis, Unit, units_of
from framepack_transitions.headless.commands.sweep.results import Result
from framepack_transitions.headless.commands.sweep.runs import Run, with_shown_traces
from framepack_transitions.headless.files import media
from framepack_transitions.headless.files.folders import Folders, using
from framepack_transitions.headless.running import runs
from framepack_transitions.headless.running.runs import LocalRunner, local_nodes
from framepack_transitions.headless.spreading import places
from framepack_transitions.headless.spreading import spread as spread_module
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.headless.workflows.specs import specs_of
from framepack_transitions.headless.workflows.workflow import Link, Workflow, parse_api
from matplotlib.figure import Figure
from PIL import Image

API = runs.PACK / runs.EXAMPLES / "api"
FLOW = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
    "3": {"class_type": "PreviewAny", "inputs": {"source": "x"}, "_meta": {"title": "Text"}},
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("S.steps=1,2, 3", ("1", "2", "3")),
        ("S.steps=5", ("5",)),
        ("S.steps=5,5", ("5",)),
        ('My.node.text=["a, b", "c"]', ("a, b", "c")),
        ("S.steps=[1, 2.5, true]", ("1", "2.5", "true")),
        ("P.text=[3s: night]", ("[3s: night]",)),
        ('S.section_seeds=["", "3: 77"]', ("", "3: 77")),
        ("S.text=", ("",)),
    ],
)
def test_values_stand_between_commas_or_in_a_list(text: str, values: tuple[str, ...]) -> None:
    assert Axis.parse(text).values == values


@pytest.mark.parametrize(
    ("text", "words"),
    [("steps=1", "expected NODE.INPUT"), ("S.steps=1,,2", "a value is empty"), ("S.steps=[]", "no value")],
)
def test_a_wrong_grid_is_refused_with_what_to_do(text: str, words: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "x.json", "--grid", text])
    assert words in capsys.readouterr().err


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "input").mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (32, 16), colour).save(tmp_path / "input" / name)
    (tmp_path / "flow.json").write_text(json.dumps(FLOW))
    return Folders(tmp_path / "input", tmp_path / "out")


def grid(folders: Folders, *texts: str, flow: dict[str, Any] = FLOW) -> list[Any]:
    workflow = parse_api(flow)
    with using(folders):
        specs = specs_of(local_nodes(), {node.class_type for node in workflow.values()})
    return units_of([Axis.parse(text) for text in texts], workflow, specs, folders)


def test_there_is_a_unit_for_every_combination_and_the_last_axis_changes_fastest(folders: Folders) -> None:
    units = grid(folders, "1.image=a.png,b.png", "Text.source=x,y")
    assert [tuple(unit.values.values()) for unit in units] == [
        ("a.png", "x"),
        ("a.png", "y"),
        ("b.png", "x"),
        ("b.png", "y"),
    ]
    assert [unit.workflow["1"].inputs["image"] for unit in units] == ["a.png", "a.png", "b.png", "b.png"]
    assert units[1].label == "1.image=a.png, Text.source=y"
    assert len({unit.name for unit in units}) == 4 and units[1].name.startswith("image-a.png_source-y_")


def test_a_digest_knows_values_and_contents_of_files_but_not_titles(folders: Folders) -> None:
    (one,) = grid(folders, "Text.source=x")
    retitled = {**FLOW, "3": {**FLOW["3"], "_meta": {"title": "Other"}}}
    (same,) = grid(folders, "3.source=x", flow=retitled)
    assert same.digest == one.digest
    assert grid(folders, "Text.source=y")[0].digest != one.digest
    Image.new("RGB", (32, 16), "green").save(folders.input / "a.png")
    assert grid(folders, "Text.source=x")[0].digest != one.digest


def test_a_digest_knows_the_contents_of_loras(folders: Folders) -> None:
    flow = {
        "1": {"class_type": "FramePackTinyLoader", "inputs": {}},
        "2": {
            "class_type": "FramePackLoraLoader",
            "inputs": {"model": ["1", 0], "lora_name": "a.safetensors", "strength": 1.0, "blocks": ""},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}},
    }
    digests = set()
    for contents in (b"one", b"another"):
        (folders.input / "a.safetensors").write_bytes(contents)
        digests.add(grid(folders, "2.strength=1", flow=flow)[0].digest)
    assert len(digests) == 2


def test_names_of_units_are_names_of_folders(folders: Folders) -> None:
    (unit,) = grid(folders, 'Text.source=["../../etc: \\u732b <&>' + "x" * 200 + '"]')
    assert unit.name.isascii() and len(unit.name) < 80 and not set("/:<> ") & set(unit.name)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (
            ["Nobody.x=1"],
            r"--grid names the node 'Nobody'.*there is 1 \(LoadImage\), 2 \(SaveImage\), 3 \(Text\)",
        ),
        (["Text.sauce=1"], "--grid names the input 'sauce'.*the closest is source"),
        (["3.source=1", "Text.source=2"], "--grid names Text.source twice"),
    ],
)
def test_unknown_nodes_and_inputs_are_named_with_what_there_is(
    folders: Folders, texts: list[str], words: str
) -> None:
    with pytest.raises(WorkflowError, match=words):
        grid(folders, *texts)


def sweep(tmp_path: Path, *more: str) -> int:
    return main(["sweep", str(tmp_path / "flow.json"), "--out", str(tmp_path / "out"), *more])


def report_of(tmp_path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    return report


def test_pictures_are_shown_and_nothing_is_made_twice(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert sweep(tmp_path, "--grid", "1.image=a.png,b.png") == 0
    report = report_of(tmp_path)
    assert [row["file"] for row in report["rows"]] == ["p_00001_.png"] * 2 and report["failed"] == []
    sheet = Image.open(tmp_path / "out" / report["contact_sheet"]).convert("RGB")
    colours = {colour for _, colour in sheet.getcolors(2**20)}
    assert {(255, 0, 0), (0, 0, 255)} <= colours
    assert "| a.png" in capsys.readouterr().out
    ran = []
    monkeypatch.setattr(LocalRunner, "run", lambda *arguments, **more: ran.append(arguments))
    assert sweep(tmp_path, "--grid", "1.image=b.png,a.png") == 0 and not ran
    assert [row["values"] for row in report_of(tmp_path)["rows"]] == [
        {"1.image": "b.png"},
        {"1.image": "a.png"},
    ]


def test_a_run_is_known_by_what_it_depends_on_not_by_what_was_swept(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep(tmp_path, "--grid", "1.image=a.png,b.png") == 0
    monkeypatch.setattr(LocalRunner, "run", lambda *arguments, **more: pytest.fail("made again"))
    assert sweep(tmp_path, "--grid", "Text.source=x", "--set", "1.image=b.png") == 0
    (row,) = report_of(tmp_path)["rows"]
    assert row["unit"].startswith("image-b.png_") and row["values"] == {"Text.source": "x"}


def test_a_unit_whose_files_are_gone_is_made_again(folders: Folders, tmp_path: Path) -> None:
    sweep(tmp_path, "--grid", "1.image=a.png")
    (picture,) = (tmp_path / "out" / "units").rglob("*.png")
    picture.unlink()
    assert sweep(tmp_path, "--grid", "1.image=a.png") == 0 and picture.is_file()


def test_what_does_not_fit_is_said_for_all_units_before_any_is_run(
    folders: Folders, tmp_path: Path, capsys
) -> None:
    assert sweep(tmp_path, "--grid", "1.image=a.png,c.png,d.png") == 1
    error = capsys.readouterr().err
    assert "1.image=c.png: Node 1 LoadImage" in error and "1.image=d.png: Node 1" in error
    assert not (tmp_path / "out" / "units").exists()


def test_a_unit_that_fails_is_a_row_and_leaves_nothing(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run = LocalRunner.run

    def failing(self: Any, workflow: Workflow, specs: Any, **more: Any) -> None:
        run(self, workflow, specs, **more)
        if workflow["1"].inputs["image"] == "b.png":
            raise WorkflowError("Node 9 failed: no.")

    monkeypatch.setattr(LocalRunner, "run", failing)
    assert sweep(tmp_path, "--grid", "1.image=a.png,b.png") == 1
    report = report_of(tmp_path)
    assert [row["problems"] for row in report["rows"]] == [[], ["Node 9 failed: no."]]
    assert len(report["failed"]) == 1 and "Node 9 failed: no." in capsys.readouterr().out
    assert len(list((tmp_path / "out" / "units").iterdir())) == 1
    monkeypatch.setattr(LocalRunner, "run", run)
    assert sweep(tmp_path, "--grid", "1.image=a.png,b.png") == 0


def test_videos_are_scored_by_their_switch(tmp_path: Path, report_page: ModuleType) -> None:
    settings = {
        "Sampler.steps": "1",
        "Sampler.seconds": "0.8",
        "Sampler.window": "3",
        "Prompts.text": "a large red circle stands still in the sky by day [0.4s: an empty city at night]",
    }
    changes = [word for item in settings.items() for word in ("--set", "=".join(item))]
    grids = ["--grid", "Preset.preset=balanced", "--grid", "Sampler.seed=1,2"]
    options = ["--out", str(tmp_path / "out"), *changes, *grids]
    assert main(["sweep", str(API / "tiny_timeline.json"), *options]) == 0
    report = report_of(tmp_path)
    report_page.check(report, "sweep")
    assert len(report["rows"]) == len(report["videos"]) == len(report["switches"]) == 2
    assert report["grid"] == {"Preset.preset": ["balanced"], "Sampler.seed": ["1", "2"]}
    for row, switches in zip(report["rows"], report["switches"]):
        assert row["model calls"] >= 2 and switches[0]["frame"] == 13
    assert (tmp_path / "out" / report["videos"][0]["path"]).is_file()
    for name in ("contact_sheet", "plot"):
        Image.open(tmp_path / "out" / report[name]).verify()


def result(file: str, measures: dict[str, float], **values: str) -> Result:
    unit = Unit(values, {}, "0" * 12)
    return Result(run=Run(unit, Path("x"), {}), file=file, measures=measures, thumbnails={})


def test_the_table_shows_what_is_known_of_any_result() -> None:
    axes = [Axis("S", "steps", ("1", "2"))]
    found = [
        result("a.mp4", {"STF": 0.456, "model calls": 8}, **{"S.steps": "1"}),
        replace(result("b.mp4", {"TL90": 3}, **{"S.steps": "2"}), failing=["flat"], remark="a|b"),
    ]
    lines = pictures.table(found, axes).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in (lines[0], *lines[2:])]
    assert cells == [
        ["S.steps", "STF", "TL90", "model calls", "remarks"],
        ["1", "0.46", "-", "8", ""],
        ["2", "-", "3.0", "-", "a\\|b; guard flat fails"],
    ]


@pytest.mark.parametrize("values", [("1", "2.5"), ("balanced", "strong")])
def test_the_plot_has_a_panel_for_each_measure_and_a_line_for_each_other_value(
    values: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: drawn.append(figure))
    axes = [Axis("S", "a", values), Axis("S", "b", ("x", "y")), Axis("S", "seed", ("1", "2"))]
    found = [
        result("f", {"STF": float(seed), "seconds": 1.0}, **{"S.a": a, "S.b": b, "S.seed": seed})
        for a, b, seed in product(*(axis.values for axis in axes))
    ]
    assert pictures.save_plot(tmp_path / "p.png", found, axes)
    (figure,) = drawn
    assert len(figure.axes) == 2 and figure.axes[0].get_title().startswith("STF")
    mean, points = figure.axes[0].lines[:2]
    assert list(mean.get_ydata()) == [1.5, 1.5] and sorted(points.get_ydata()) == [1, 1, 2, 2]
    places = [1, 2.5] if values[0] == "1" else [0, 1]
    assert list(mean.get_xdata()) == places and len(figure.axes[0].lines) == 4
    assert not pictures.save_plot(tmp_path / "p.png", [result("f", {}, **{"S.a": "1"})], axes[:1])


def test_traces_are_shown_once_where_a_server_makes_the_runs(tmp_path: Path) -> None:
    workflow = parse_api(json.loads((API / "tiny_timeline.json").read_text(encoding="utf-8")))
    with using(Folders(tmp_path, tmp_path)):
        specs = specs_of(local_nodes(), {node.class_type for node in workflow.values()})
    shown = with_shown_traces(workflow, specs)
    assert shown["trace_9"].inputs == {"source": Link("9", 1)} and "trace_9" not in workflow
    assert with_shown_traces(shown, specs).keys() == shown.keys()


SERVED = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "2": {"class_type": "Work", "inputs": {"image": ["1", 0], "steps": 4}},
    "3": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "clip"}},
}


def test_servers_share_the_units_and_one_that_goes_away_loses_one(
    fake_comfy: ModuleType, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    pytest.importorskip("websockets", reason="server runs need the package websockets")
    monkeypatch.setattr(places, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(spread_module, "POLL_SECONDS", 0.05)
    (tmp_path / "flow.json").write_text(json.dumps(SERVED))
    media.write_video(tmp_path / "made.mp4", torch.rand(40, 16, 32, 3), 30)
    video = (tmp_path / "made.mp4").read_bytes()
    with fake_comfy.serving(video) as steady, fake_comfy.serving(video) as failing:
        failing.away = 10**6
        servers = ["--server", steady.url, "--server", failing.url]
        assert sweep(tmp_path, "--grid", "2.steps=1,2,3,4", *servers) == 0
        assert "goes to another place" in caplog.text
        assert len(steady.queued) == 4 and len(failing.queued) == 1
        steps = sorted(entry["prompt"]["2"]["inputs"]["steps"] for entry in steady.queued)
        assert steps == [1, 2, 3, 4]
        report = report_of(tmp_path)
        assert report["servers"] == [steady.url, failing.url] and len(report["videos"]) == 4
        assert {row["remark"] for row in report["rows"]} == {"no trace came with it"}
        assert sweep(tmp_path, "--grid", "2.steps=4,3,2,1", *servers) == 0 and len(steady.queued) == 4
