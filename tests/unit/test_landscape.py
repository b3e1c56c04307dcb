"""docs/LANDSCAPE.md: the nodes, inputs and values that it names exist, and the systems that the project began with are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import framepack_transitions
import pytest
from framepack_transitions import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

ROOT = Path(framepack_transitions.__file__).resolve().parent
PAGE = (ROOT / "docs/LANDSCAPE.md").read_text(encoding="utf-8")
COLUMNS = ["System", "What it does", "Here", "Measured, or why not", "Known from"]
KNOWN_FROM = {"code", "text", "summary", "abstract", "memory", "this pack's own"}
NODE = re.compile(r"\[([^]]+)\]\(\.\./web/docs/(\w+)\.md\)")
SYSTEMS = (
    "Rolling Forcing",
    "SVI",
    "TAV",
    "MotionRAG",
    "SkyReels-V3",
    "SAeUron",
    "ROSE",
    "MOSEv2",
    "LoL",
    "PyramidKV",
    "SnapKV",
    "Ada-KV",
    "MadaKV",
    "ChunkKV",
    "LongLive",
    "LongLive 2",
    "Infinity-RoPE",
    "SWIFT",
    "Prompt Relay",
    "MemFlow",
    "IAMFlow",
    "ARCache",
    "FVD",
    "VBench",
    "ALG",
    "AlignVid",
    "MagCache",
    "TeaCache",
)


class Row(NamedTuple):
    """A row of one of the page's tables."""

    system: str
    does: str
    here: str
    result: str
    known_from: str

    @property
    def nodes(self) -> dict[str, str]:
        """The nodes that the row links to: their ids, and what the link calls them."""
        return {node: name for name, node in NODE.findall(f"{self.here} {self.result}")}

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """The inputs that stand in backticks, each with the value that is given to it, or ""."""
        spans = re.findall(r"`([^`]+)`", f"{self.here} {self.result}")
        return [(name, value) for name, _, value in (span.partition(" = ") for span in spans)]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


ROWS = [
    Row(*_cells(line))
    for line in PAGE.splitlines()
    if line.startswith("| ") and _cells(line)[: len(COLUMNS)] != COLUMNS
]


def _spec(node: str, name: str) -> Any:
    inputs = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    return {**inputs.get("required", {}), **inputs.get("optional", {})}.get(name)


def _accepts(spec: Any, value: str) -> bool:
    """Whether an input takes a value as the page writes it; "" stands for any."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if not value:
        return True
    if isinstance(kind, list | tuple):
        return value in kind
    return options["min"] <= float(value) <= options["max"]


def test_all_tables_have_the_same_columns() -> None:
    heads = [line for line in PAGE.splitlines() if line.startswith("| System")]
    assert heads and all(_cells(head) == COLUMNS for head in heads)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.system)
def test_nodes_are_called_by_their_names(row: Row) -> None:
    for node, name in row.nodes.items():
        assert NODE_DISPLAY_NAME_MAPPINGS[node] == f"FramePack {name}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.system)
def test_inputs_and_values_that_a_row_names_exist_on_one_of_its_nodes(row: Row) -> None:
    for name, value in row.inputs:
        specs = [spec for node in row.nodes if (spec := _spec(node, name)) is not None]
        assert any(_accepts(spec, value) for spec in specs), f"{name} = {value} on {list(row.nodes)}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.system)
def test_each_row_says_what_is_here_and_from_what_it_is_known(row: Row) -> None:
    assert row.does and row.here and row.result
    assert set(row.known_from.split(", ")) <= KNOWN_FROM


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_systems_that_the_project_began_with_have_a_row(system: str) -> None:
    names = [re.sub(r" \([^)]*\)", "", name) for row in ROWS for name in row.system.split(", ")]
    assert system in names
