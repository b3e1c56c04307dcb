"""What a run does step by step, as one picture: noise, guidance, evaluations, attention to the past and techniques."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...metrics.reporting.style import (
    COLOURS,
    DASHES,
    DPI,
    FAINT,
    INK,
    LETTER,
    SHADE,
    SMALL,
    WIDTH,
    new_figure,
    picture_of,
    plot_style,
)
from ...metrics.reporting.text import one_line
from ...samplers.observer import TITLES
from .concept_plot import concept_word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
Read = Callable[[Record, int], Mapping[str, float]]

LEFT, RIGHT, TOP, BOTTOM = 46, 190, 46, 38  # px: around all panels
PANEL, TITLE = 84, 26  # px: a panel, and its title
NAMES = {technique.__name__: title for technique, title in TITLES.items()}  # by what traces call them


@dataclass(frozen=True)
class _Block:
    """Sections in a row whose curves are the same, drawn once.

    first: the first of them.
    last: the last of them.
    numbers: those of the first and of the last, counted from 1 as the sampler shows them.
    begin: where the steps of the first one begin on the axis.
    """

    first: Record
    last: Record
    numbers: tuple[int, int]
    begin: int

    @property
    def steps(self) -> int:
        return len(self.first["sigmas"]) - 1

    @property
    def end(self) -> int:
        return self.begin + self.steps


@dataclass(frozen=True)
class _Panel:
    """Curves with one axis.

    title: what stands above.
    curves: values [steps of all blocks] by name.
    """

    title: str
    curves: Mapping[str, NDArray[Any]]


def plot_trace(trace: Mapping[str, Any], width: int = WIDTH) -> NDArray[np.uint8]:
    """Draw a trace, or a preview of one, as a picture uint8 [H,width,3].

    Sections stand in the order of generation; several in a row with the same curves are drawn once. A panel without
    a curve is left out. Raises ValueError for a trace without sections.
    """
    if not trace.get("sections"):
        raise ValueError("the trace has no sections to draw; give one of FramePack Sampler.")
    blocks = _blocks(trace["sections"])
    panels = [panel for panel in _panels(trace, blocks) if panel.curves]
    with plot_style():
        return _drawn(blocks, panels, width)


def _blocks(sections: Sequence[Record]) -> list[_Block]:
    blocks: list[_Block] = []
    for number, section in enumerate(sections, start=1):
        if blocks and not _switches(section) and _curves_of(section) == _curves_of(blocks[-1].first):
            blocks[-1] = replace(blocks[-1], last=section, numbers=(blocks[-1].numbers[0], number))
        else:
            blocks.append(_Block(section, section, (number, number), blocks[-1].end if blocks else 0))
    return blocks


def _curves_of(section: Record) -> list[Any]:
    """All that is drawn of a section."""
    names = ("sigmas", "t", "guidance", "attention", "predictions", "techniques", "cache")
    return [section.get(name) for name in names]


def _switches(section: Record) -> bool:
    return section["since_switch"] == 0 or bool(section.get("cut", False))


# Curves


def _panels(trace: Record, blocks: Sequence[_Block]) -> Iterable[_Panel]:
    yield _Panel("Noise level sigma, and progress t, by which windows are placed", _curves(blocks, _noise))
    yield _Panel("Guidance", _curves(blocks, _guidance))
    yield _Panel("Evaluations of the model", _curves(blocks, _evaluations))
    attention = _curves(blocks, _attention, missing=1.0)
    yield _Panel("Attention: factor on parts of the past, cap on its share, scale of all keys", attention)
    yield from _techniques(trace, blocks)


def _techniques(trace: Record, blocks: Sequence[_Block]) -> Iterable[_Panel]:
    """Panels of the curves that techniques record; those that record nothing but their amount share the last one."""
    amounts: dict[str, NDArray[Any]] = {}
    for number, technique in enumerate(trace["techniques"]):
        curves = _curves(blocks, partial(_described, number=number))
        name = NAMES.get(technique["name"], technique["name"])
        if not any(np.any(curve) for curve in curves.values()):
            continue
        if list(curves) == ["amount"]:
            amounts[f"{name} ({number + 1})" if name in amounts else name] = curves["amount"]
        else:
            yield _Panel(name, curves)
    yield _Panel("How much other techniques act", amounts)


def _curves(blocks: Sequence[_Block], read: Read, missing: float = 0.0) -> dict[str, NDArray[Any]]:
    """What `read` gives for every step, by name."""
    values = [read(block.first, step) for block in blocks for step in range(block.steps)]
    names = dict.fromkeys(name for value in values for name in value)
    return {name: np.array([value.get(name, missing) for value in values]) for name in names}


def _noise(section: Record, step: int) -> dict[str, float]:
    return {"sigma": section["sigmas"][step], "t": section["t"][step]}


def _guidance(section: Record, step: int) -> dict[str, float]:
    scales = section["guidance"][step]
    shown = {"distilled": scales["distilled"], "real (cfg)": scales["cfg"]}
    return {**shown, "rescale": scales["rescale"]} if scales["rescale"] else shown


def _evaluations(section: Record, step: int) -> dict[str, float]:
    reused = step in section.get("cache", {}).get("reused_steps", ())
    return {"in a step": 0 if reused else len(section["predictions"][step])}


def _attention(section: Record, step: int) -> dict[str, float]:
    policy = section["attention"][step]
    if policy is None:
        return {}
    shown = {name: exp(bias) for name, bias in policy["bias"].items()}
    shown.update(dict.fromkeys(policy["dropped"], 0.0))
    if policy["cap"] is not None:
        shown["cap"] = policy["cap"]
    if policy["key_scale"] is not None:
        shown["keys"] = policy["key_scale"]
    for rule in policy.get("by_token", ()):
        if rule["kind"] != "cap":
            shown[f"tokens by {concept_word(rule['by'])}"] = (
                0.0 if rule["bias"] is None else exp(rule["bias"])
            )
    return shown


def _described(section: Record, step: int, *, number: int) -> dict[str, float]:
    """What a technique recorded of a step."""
    values: Mapping[str, Sequence[float | None]] = section["techniques"][number]
    return {name: value for name, curve in values.items() if (value := curve[step]) is not None}


# Picture


def _drawn(blocks: Sequence[_Block], panels: Sequence[_Panel], width: int) -> NDArray[np.uint8]:
    height = TOP + len(panels) * (PANEL + TITLE) + BOTTOM
    figure = new_figure(width, height)
    inner = width - LEFT - RIGHT
    for number, block in enumerate(blocks):
        prompts = [later.begin for later in blocks[number:] if later.first["prompt"] != block.first["prompt"]]
        same = number > 0 and blocks[number - 1].first["prompt"] == block.first["prompt"]
        place = inner / blocks[-1].end
        room = 0 if same else place * (min(prompts, default=blocks[-1].end + RIGHT / place) - block.begin)
        _label(figure, block, left=(LEFT + place * block.begin) / width, width=place * block.steps, room=room)
    for number, panel in enumerate(panels, 1):
        bottom = height - TOP - number * (PANEL + TITLE)
        axes = figure.add_axes((LEFT / width, bottom / height, inner / width, PANEL / height))
        _draw(axes, panel, blocks)
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("steps of each section", labelpad=2)
    return picture_of(figure)


def _label(figure: Figure, block: _Block, *, left: float, width: float, room: float) -> None:
    """Write the numbers and frames of sections, within `width` px, and their prompt, within `room` px."""
    first, last = block.first, block.last
    low, high = block.numbers
    number = f"{low}" if low == high else f"{low} to {high}"
    frames = [*first["frames"], *last["frames"]]
    lines: tuple[tuple[str, float, dict[str, Any]], ...] = (
        (f"section {number}", width, {"color": INK, "weight": "bold"}),
        (f"frames {min(frames)}-{max(frames) - 1}", width, {"color": FAINT}),
        (first["prompt"], room if first["prompt"].isascii() else room / 2, {"color": INK}),
    )
    for place, (line, space, look) in enumerate(lines):
        letters = int(space / LETTER) - 1
        if letters > 2:
            y = 1 - (14 + 15 * place) / (figure.get_figheight() * DPI)
            figure.text(left, y, one_line(line, letters), va="center_baseline", **look)


def _draw(axes: Axes, panel: _Panel, blocks: Sequence[_Block]) -> None:
    """Draw curves as steps, and the borders of sections, dotted where the prompt switches."""
    axes.set_title(panel.title, loc="left", fontsize=SMALL, pad=4, color=INK)
    for number, (name, curve) in enumerate(_merged(panel.curves).items()):
        axes.step(
            np.arange(len(curve) + 1),
            [*curve, curve[-1]],
            where="post",
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.6,
            label="\n".join(one_line(line, 22) for line in name.split("\n")),
        )
    for block in blocks[1:]:
        look: dict[str, Any] = (
            {"color": INK, "linestyle": ":"} if _switches(block.first) else {"color": FAINT}
        )
        axes.axvline(block.begin, linewidth=1.2, zorder=-1, **look)
    top = max(axes.get_ylim()[1], 1.0)
    axes.set(xlim=(0, blocks[-1].end), ylim=(min(axes.get_ylim()[0], -0.06 * top), 1.06 * top))
    axes.locator_params(axis="y", nbins=4)
    marks = [
        (block.begin + step, step) for block in blocks for step in range(0, block.steps, _spacing(blocks))
    ]
    axes.set_xticks([place for place, _ in marks], [str(step) for _, step in marks])
    axes.tick_params(labelbottom=False, length=2, colors=INK)
    axes.grid(axis="y", color=SHADE, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, handlelength=1.8)


def _merged(curves: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Curves that are equal as one, under all their names."""
    names: dict[tuple[float, ...], list[str]] = {}
    for name, curve in curves.items():
        names.setdefault(tuple(curve.tolist()), []).append(name)
    joined = {same[0]: ", ".join(same) for same in names.values()}
    return {
        line if len(line) <= 20 else line.replace(", ", "\n"): curves[first] for first, line in joined.items()
    }


def _spacing(blocks: Sequence[_Block]) -> int:
    """Steps from one mark of the axis to the next, so that at most about 30 are written."""
    return next(
        step for step in (1, 5, 10, 25, 50, 100, 250, 1000) if blocks[-1].end <= 30 * step or step == 1000
    )
