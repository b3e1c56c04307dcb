"""Whatever stands in a workflow, suite, timeline or picture, its reader gives its own error in a few hundred characters.

A short run is part of the tests. The long one: FRAMEPACK_FUZZ=20000 python -m pytest tests/unit/test_fuzz_readers.py
"""

from __future__ import annotations

import copy
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from framepack_transitions.benchmarks.suites.episodes import read_suite
from framepack_transitions.benchmarks.suites.files import SHIPPED
from framepack_transitions.benchmarks.suites.long.episodes import read_long_suite
from framepack_transitions.headless.commands.timelines import read_timeline
from framepack_transitions.headless.files.folders import Folders
from framepack_transitions.headless.files.media import VideoInfo
from framepack_transitions.headless.files.pictures import load_image
from framepack_transitions.headless.running.runs import EXAMPLES, PACK, LocalRunner
from framepack_transitions.headless.workflows.errors import WorkflowError
from framepack_transitions.samplers.timeline.syntaxes.spans import PromptSyntaxError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

EXAMPLES_RUN = int(os.environ.get("FRAMEPACK_FUZZ", "40"))
LONGEST = 700
quick = settings(
    max_examples=EXAMPLES_RUN,
    deadline=None,
    derandomize="FRAMEPACK_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([10**400, "x" * 5000, -1, 0]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value in JSON data."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, part in inner for way in places(part, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn, data: Any) -> Any:
    """JSON data of which up to three values are others or gone."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from(places(data)))
        if not way:
            return draw(JSON)
        parent = data
        for key in way[:-1]:
            parent = parent[key]
        if draw(st.booleans()):
            parent[way[-1]] = draw(JSON)
        else:
            del parent[way[-1]]
    return data


def check(error: Exception) -> None:
    problems = error.problems if isinstance(error, WorkflowError) else str(error).splitlines()
    assert problems and all(len(problem) <= LONGEST for problem in problems) and len(problems) <= 60, problems
    assert "Traceback" not in str(error)


def example(name: str) -> Any:
    return json.loads((PACK / EXAMPLES / name).read_text(encoding="utf-8"))


WORKFLOWS = [example("tiny_timeline.json"), example("api/tiny_timeline.json"), example("tiny_ab.json")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(quick, max_examples=max(EXAMPLES_RUN // 4, 1))
@given(data=st.sampled_from(WORKFLOWS).flatmap(damaged))
def test_workflows(folder: Path, data: Any) -> None:
    path = folder / "workflow.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    try:
        LocalRunner().load(path, Folders(PACK / EXAMPLES / "input", folder))
    except WorkflowError as error:
        check(error)


def suite(name: str) -> Any:
    """A suite that ships, cut down to two episodes."""
    data = json.loads(SHIPPED[name].read_text(encoding="utf-8"))
    return {**data, "episodes": data["episodes"][:2]}


@quick
@given(data=damaged(suite("transition")) | damaged(suite("long")))
def test_suites(folder: Path, data: Any) -> None:
    path = folder / "suite.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    for read in (read_suite, read_long_suite):
        try:
            read(str(path))
        except ValueError as error:
            check(error)


TRACE = {
    "schema": "framepack-transitions/trace/1",
    "settings": {"window": 9},
    "latent_frames": 19,
    "sections": [
        {
            "index": 0,
            "frames": [1, 37],
            "prompt": "day",
            "state": "",
            "change": 0.0,
            "since_switch": None,
            "shot": 0,
        },
        {
            "index": 1,
            "frames": [37, 73],
            "prompt": "night",
            "state": "dark",
            "change": 0.8,
            "since_switch": 0,
            "shot": 0,
        },
    ],
}
TIMELINES = [
    [{"start": 0, "prompt": "day"}, {"start": 2, "prompt": "night", "state": "dark", "interval": [1, 3]}],
    TRACE,
    {"traces": [{"node": "4", "trace": TRACE}], "videos": [{"path": "a.mp4"}]},
]


@quick
@given(data=st.sampled_from(TIMELINES).flatmap(damaged))
def test_timeline_files(folder: Path, data: Any) -> None:
    path = folder / "timeline.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    try:
        read_timeline(str(path))
    except (ValueError, PromptSyntaxError) as error:
        check(error)


MARKS = st.sampled_from(
    [
        "[",
        "]",
        "[3s: ",
        "3.5s",
        "|",
        ":",
        "=>",
        "/",
        "12f",
        "(",
        ")",
        "{",
        "}",
        "\n",
        "1-2:",
        ";",
        "%",
        "秒",
        "cut",
    ]
)


@quick
@given(text=st.lists(st.one_of(MARKS, st.text(max_size=6)), min_size=1, max_size=30).map("".join))
def test_timeline_texts(text: str) -> None:
    try:
        read_timeline(text).cues_for(VideoInfo(73, 30.0, 64, 64), 9)
    except (ValueError, PromptSyntaxError, FileNotFoundError) as error:
        check(error)


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.effect_noise((24, 16), 80 + number).convert("RGB") for number in range(3)]
    options = {"save_all": True, "append_images": frames[1:]} if kind in ("GIF", "WEBP", "TIFF") else {}
    frames[0].save(file, kind, **options)
    return file.getvalue()


PICTURES = [picture(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A file of which some bytes are others, or the end is gone."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(0, 6))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.integers(0, len(changed)))]) if draw(st.booleans()) else bytes(changed)


@quick
@given(data=st.sampled_from(PICTURES).flatmap(damaged_bytes))
def test_pictures(folder: Path, data: bytes) -> None:
    path = folder / "picture.png"
    path.write_bytes(data)
    try:
        images, masks = load_image(path)
    except ValueError as error:
        check(error)
    else:
        assert images.ndim == 4 and len(images) == len(masks)


@quick
@given(
    prefix=st.one_of(
        st.text(max_size=12),
        st.lists(st.sampled_from(["..", ".", "/", "\\", "a", ".b", " ", "\0", "x" * 300])).map("".join),
    )
)
def test_file_names(folder: Path, prefix: str) -> None:
    place = Folders(folder / "in", folder / "out")
    try:
        with place.new_file(prefix, ".png") as file:
            file.unfinished.write_bytes(b"x")
    except ValueError as error:
        check(error)
    else:
        assert file.path.is_relative_to(place.output.resolve()) and not file.path.name.startswith(".")
        file.path.unlink()
    try:
        place.input_file(prefix)
    except ValueError as error:
        check(error)
