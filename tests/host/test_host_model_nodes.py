"""Core nodes before FramePack Sampler, each wired and run: docs/HOSTS.md says what came out.

`WRITE_HOSTS=1` writes what this host does into the document instead of comparing with it.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.host

DOCUMENT = Path(__file__).parents[2] / "docs" / "HOSTS.md"
HOSTS = ("0.3.64", "0.33.0")
BEGIN, END = "<!-- core nodes -->\n", "<!-- end of core nodes -->\n"
HEADER = f"| Node | {' | '.join(HOSTS)} | What is said, or why |\n|---|{'---|' * len(HOSTS)}---|\n"
ABSENT = "\N{EN DASH}"


@pytest.fixture(scope="module")
def version(comfy: ModuleType) -> str:
    """The host's version; the tests are skipped on a host that the table has no column for."""
    version = importlib.import_module("comfyui_version").__version__
    if version not in HOSTS:
        pytest.skip(f"the table has no column for ComfyUI {version}")
    return version


@pytest.fixture(scope="module")
def found(tiny: Any, host_nodes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every node does in this host."""
    import folder_paths

    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("loras", "hypernetworks"):
            patch.setitem(folder_paths.folder_names_and_paths, kind, ([str(folder)], {".safetensors", ".pt"}))
        patch.setattr(folder_paths, "filename_list_cache", {})
        return host_nodes.outcomes(tiny, folder)


def read_table() -> dict[str, dict[str, str]]:
    """The rows of the table by node: what it does in each host, and the words behind."""
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    lines = rest.partition(END)[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {node.strip("`"): dict(zip((*HOSTS, "words"), cells, strict=True)) for node, *cells in rows}


def write_table(found: dict[str, Any], version: str) -> None:
    """Put what this host does into the table; the other host's column stays."""
    table = read_table()
    for node in sorted({*table, *found}, key=str.lower):
        row = table.setdefault(node, dict.fromkeys(HOSTS, ABSENT))
        row[version] = found[node].kind if node in found else ABSENT
        row["words"] = found[node].words if node in found else row["words"]
    rows = [
        f"| `{node}` | {' | '.join(table[node][column] for column in (*HOSTS, 'words'))} |\n"
        for node in sorted(table, key=str.lower)
        if set(table[node].values()) - {ABSENT, table[node]["words"]}
    ]
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    DOCUMENT.write_text(
        before + BEGIN + HEADER + "".join(rows) + END + rest.partition(END)[2], encoding="utf-8"
    )


@pytest.mark.timeout(900)
def test_the_table_of_core_nodes_is_what_they_do(found: dict[str, Any], version: str) -> None:
    if os.environ.get("WRITE_HOSTS"):
        write_table(found, version)
    documented = {
        node: (row[version], row["words"]) for node, row in read_table().items() if row[version] != ABSENT
    }
    assert {node: (outcome.kind, outcome.words) for node, outcome in found.items()} == documented


def test_every_refusal_says_what_to_do_and_every_idle_node_why(
    found: dict[str, Any], host_nodes: ModuleType
) -> None:
    for node, outcome in found.items():
        if outcome.kind == host_nodes.REFUSED:
            assert any(word in outcome.words for word in ("remove", "use the FramePack Sampler")), (
                node,
                outcome,
            )
        if outcome.kind in {host_nodes.SAME, host_nodes.NOT_TRIED}:
            assert outcome.words, node
