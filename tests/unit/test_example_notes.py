"""The notes of the example workflows can be read in every renderer of ComfyUI's editor."""

from __future__ import annotations

import colorsys
import json
from pathlib import Path
from typing import Any

import pytest

PACK = Path(__file__).parents[2]
FILES = sorted([*(PACK / "example_workflows").glob("*.json"), *(PACK / "subgraphs").glob("*.json")])
# The grey in which Nodes 2.0 draws links and tables, in its dark and its light theme (editor 1.58.1).
GREY, GREY_IN_LIGHT = (138, 138, 138), (73, 74, 80)
LEAST = 4  # contrast; WCAG asks for 4.5 of small and 3 of large text


def notes(path: Path) -> list[Any]:
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    return [pytest.param(node, id=path.stem) for node in nodes if node["type"] in ("MarkdownNote", "Note")]


NOTES = [note for path in FILES for note in notes(path)]


def luminance(colour: tuple[float, ...]) -> float:
    """Relative luminance as WCAG 2 defines it, of red, green and blue from 0 to 255."""
    shares = [value / 255 for value in colour]
    linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def lightened(colour: tuple[float, ...]) -> tuple[float, ...]:
    """What the light theme makes of a node's colour: half of the whole range lighter."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    return tuple(255 * value for value in colorsys.hls_to_rgb(hue, min(1, lightness + 0.5), saturation))


@pytest.mark.parametrize("node", NOTES)
def test_links_and_tables_stand_out_from_the_note(node: dict[str, Any]) -> None:
    body = tuple(17 * int(digit, 16) for digit in node["bgcolor"].removeprefix("#"))
    assert contrast(GREY, body) >= LEAST and contrast(GREY_IN_LIGHT, lightened(body)) >= LEAST


@pytest.mark.parametrize("node", NOTES)
def test_nothing_is_written_as_code(node: dict[str, Any]) -> None:
    """Nodes 2.0 draws code in a blue that hardly stands out from a note."""
    assert "`" not in node["widgets_values"][0]
