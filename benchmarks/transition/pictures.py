"""The table, the plot and the contact sheet of TransitionBench."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...metrics.scoring.survival import kaplan_meier
from .episodes import SWITCHES, Episode, as_generated, make_episode
from .running.recording import STRIPS, strip_frames
from .running.results import Result
from .running.sampling import BenchSettings
from .summary import POOLED, latencies

TABLE, PLOT, SHEET = "table.md", "plot.png", "contact_sheet.png"
LABEL_WIDTH, TITLE_HEIGHT, GAP, COLUMNS = 132, 52, 10, 2
BACKGROUND, TEXT, SWITCH = (24, 24, 28), (230, 230, 230), (255, 170, 0)

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown tables: techniques over all switches, what they cost where nothing changes, and every case."""
    by_key = {(row["technique"], row["case"]): row for row in rows}
    arms, cases = (
        list(dict.fromkeys(row["technique"] for row in rows)),
        [c for c in dict.fromkeys(row["case"] for row in rows) if c != POOLED],
    )
    overview = [_cells(arm, by_key[arm, POOLED]) for arm in arms]
    unchanged = [case for case in ("control", "sham") if case in cases]
    costs = [_costs(arm, {case: by_key[arm, case] for case in unchanged}) for arm in arms]
    by_case = [_by_case(name, arms, cases, by_key) for name in ("success", "artefacts")]
    return "\n".join(
        markdown(lines) for lines in ([overview, costs, *by_case] if unchanged else [overview, *by_case])
    )


def _by_case(
    name: str, arms: Sequence[str], cases: Sequence[str], by_key: Mapping[tuple[str, str], Row]
) -> list[dict[str, str]]:
    """A share in every case, a line for each technique; each case with its number of episodes."""
    numbers = [f"{case} ({by_key[arms[0], case]['n']})" for case in cases]
    return [
        {name: arm, **{title: percent(by_key[arm, case][name]) for title, case in zip(numbers, cases)}}
        for arm in arms
    ]


def _cells(arm: str, row: Row) -> dict[str, str]:
    return {
        "technique": arm,
        "n": str(row["n"]),
        "success": with_interval(row, "success"),
        "gain over plain": with_interval(row, "gain"),
        **costs_beside_success(row),
        "lasting": percent(row["lasting"]),
        "TL frames": number(row["tl_frames"]),
        "reached": percent(row["reached"]),
        "remaining": percent(row["remaining"]),
        "size kept": percent(row["size"]),
        "jump px": number(row["continuity"]),
        "seconds": number(row["seconds"]),
    }


def costs_beside_success(row: Row) -> dict[str, str]:
    """What success costs, to stand beside it wherever it is told: artefacts, jump and model calls."""
    return {
        "artefacts": percent(row["artefacts"]),
        "artefacts over plain": with_interval(row, "artefacts_gain", signed_share),
        "jump over plain (n)": jump_over_plain(row),
        "evaluations": number(row["evaluations"]),
    }


def _costs(arm: str, rows: Mapping[str, Row]) -> dict[str, str]:
    """What is left of a scene that should stay."""
    cells = {"unchanged": arm}
    for case, row in rows.items():
        cells |= {
            f"{case} success ({row['n']})": with_interval(row, "success"),
            f"{case} gain": with_interval(row, "gain"),
            f"{case} loss not excluded": loss_not_excluded(row),
            f"{case} jump over plain (n)": jump_over_plain(row),
        }
    return cells


def jump_over_plain(row: Row) -> str:
    """By how many px more than under the plain sampler a subject jumps, and in how many episodes it is seen under both."""
    return f"{with_interval(row, 'jump_gain', signed)} ({row['jump_gain_n']})"


def with_interval(row: Row, name: str, form: Callable[[float | None], str] | None = None) -> str:
    """A mean and its interval as text, "[?]" where too few values differ for one, "-" where there is no mean."""
    form, ends = form or percent, row[f"{name}_ci"]
    if row[name] is None:
        return "-"
    return f"{form(row[name])} [{'?' if ends is None else ', '.join(map(form, ends))}]"


def signed_difference(entry: Row) -> str:
    """The `mean` of a difference of two arms with its sign, and its interval `ci`."""
    return with_interval(
        {"difference": entry["mean"], "difference_ci": entry["ci"]}, "difference", signed_share
    )


def loss_not_excluded(row: Row) -> str:
    """The largest loss of success against the plain sampler that the interval of the gain holds."""
    return "-" if row["gain_ci"] is None else f"up to {max(-row['gain_ci'][0], 0):.0%}"


def signed(value: float | None) -> str:
    """A value with its sign and one decimal, "-" for None."""
    return "-" if value is None else f"{value:+.1f}"


def signed_share(value: float | None) -> str:
    """A difference of shares with its sign and two decimals, "-" for None."""
    return "-" if value is None else f"{value:+.2f}"


def percent(value: float | None) -> str:
    """A share with two decimals, "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def number(value: float | None) -> str:
    """A value with one decimal, "-" for None."""
    return "-" if value is None else f"{value:.1f}"


def markdown(lines: Sequence[Mapping[str, str]]) -> str:
    """A table, padded so that it can be read as plain text too."""
    names = list(lines[0])
    widths = {name: max(len(name), *(len(line[name]) for line in lines)) for name in names}
    cells = [{name: name for name in names}, {name: "-" * widths[name] for name in names}, *lines]
    return "".join(
        "| " + " | ".join(cell[name].ljust(widths[name]) for name in names) + " |\n" for cell in cells
    )


def save_plot(
    path: Path, rows: Sequence[Row], *, results: Sequence[Result], section: int, title: str
) -> Path:
    """Draw success with its intervals, how latency runs, and what success costs in continuity; arms go by number."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tab20 = colormaps["tab20"]
    figure = Figure(figsize=(17, 7), layout="constrained")
    FigureCanvasAgg(figure)
    success, waiting, cost = figure.subplots(1, 3)
    pooled = [row for row in rows if row["case"] == POOLED]
    numbers = {row["technique"]: number for number, row in enumerate(pooled, 1)}
    colours = {arm: tab20((number - 1) % 20) for arm, number in numbers.items()}
    _plot_success(success, pooled, numbers, colours)
    _plot_latencies(waiting, results, section=section, numbers=numbers, colours=colours)
    shams = {row["technique"]: row["continuity"] for row in rows if row["case"] == "sham"}
    places = {
        row["technique"]: (shams[row["technique"]], row["success"])
        for row in pooled
        if row["success"] is not None and shams.get(row["technique"]) is not None
    }
    _plot_cost(cost, places, numbers, colours)
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    return path


def _plot_success(
    axes: Any, pooled: Sequence[Row], numbers: Mapping[str, int], colours: Mapping[str, Any]
) -> None:
    shown = [row for row in reversed(pooled) if row["success"] is not None]
    for place, row in enumerate(shown):
        low, high = row["success_ci"]
        axes.barh(place, row["success"], color=colours[row["technique"]])
        axes.plot([low, high], [place, place], color="black", linewidth=2)
        axes.plot([row["lasting"]], [place], "|", color="white", markersize=16, markeredgewidth=3)
    names = [f"{row['technique']}  {numbers[row['technique']]}" for row in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set(title="success (black: 95 % interval, white: at the end)", xlim=(0, 1))


def _plot_latencies(
    axes: Any,
    results: Sequence[Result],
    *,
    section: int,
    numbers: Mapping[str, int],
    colours: Mapping[str, Any],
) -> None:
    """Curves of the arms, each with its number at the right end."""
    ends = {}
    for arm, colour in colours.items():
        own = [r for r in results if r.valid and r.arm == arm and r.case in SWITCHES]
        if own:
            times, survival = kaplan_meier(*latencies(own, section))
            ends[arm] = survival[-1] if len(survival) else 1.0
            axes.step([0, *times, section], [1, *survival, ends[arm]], where="post", color=colour)
    room, floor = 0.028, 0.0  # a number's height in the axes' units; numbers are pushed up past each other
    for arm in sorted(ends, key=ends.__getitem__):
        floor = max(ends[arm], floor)
        axes.annotate(
            str(numbers[arm]),
            (section, ends[arm]),
            (section * 1.05, floor),
            va="center",
            fontsize=9,
            color=colours[arm],
            arrowprops={"arrowstyle": "-", "color": colours[arm], "linewidth": 0.7},
        )
        floor += room
    axes.set(
        title="how long until the new scene is there",
        xlabel="frames after the switch",
        ylabel="share that waits",
        xlim=(-0.02 * section, 1.12 * section),
        ylim=(0, 1.02),
    )


def _plot_cost(
    axes: Any,
    places: Mapping[str, tuple[float, float]],
    numbers: Mapping[str, int],
    colours: Mapping[str, Any],
) -> None:
    """Arms at (jump, success); those that lie on each other share a label."""
    labels: dict[tuple[float, float], list[str]] = {}
    for arm, place in places.items():
        axes.scatter(*place, color=colours[arm])
        near = (p for p in labels if abs(p[0] - place[0]) < 0.7 and abs(p[1] - place[1]) < 0.02)
        labels.setdefault(next(near, place), []).append(str(numbers[arm]))
    for place, names in labels.items():
        axes.annotate(", ".join(names), place, (6, 5), textcoords="offset points", fontsize=9)
    axes.set(
        title="success against continuity",
        xlabel="jump at a switch that changes nothing, px",
        ylabel="success",
        ylim=(-0.02, 1.05),
    )
    axes.set_xlim(0, 1.15 * max((x for x, _ in places.values()), default=1.0))


def save_sheet(path: Path, results: Sequence[Result], folder: Path, settings: BenchSettings) -> Path | None:
    """Draw one episode of every case under every arm, from the strips that the run has left in `folder`.

    Nothing is drawn where there are none, as where all results came from a compressed file.
    """
    words = ["before", *(f"+{frame}" for frame in strip_frames(settings))]
    strips: dict[tuple[str, int], dict[str, Image.Image]] = {}
    for result in results:
        file = folder / STRIPS / f"{result.key}.png"
        if file.is_file():
            with Image.open(file) as strip:
                strips.setdefault((result.case, result.seed), {})[result.arm] = strip.convert("RGB")
    blocks = [
        _block(as_generated(make_episode(*which), settings.forward), by_arm, words)
        for which, by_arm in strips.items()
    ]
    if not blocks:
        return None
    width, height = (max(getattr(block, side) for block in blocks) + GAP for side in ("width", "height"))
    rows = -(-len(blocks) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(blocks)) * width + GAP, rows * height + GAP), BACKGROUND)
    for number, block in enumerate(blocks):
        sheet.paste(block, (GAP + number % COLUMNS * width, GAP + number // COLUMNS * height))
    sheet.save(path)
    return path


def _block(episode: Episode, by_arm: Mapping[str, Image.Image], words: Sequence[str]) -> Image.Image:
    """The strips of one episode, one below the other; a line marks the switch behind the first frame."""
    width, height = next(iter(by_arm.values())).size
    block = Image.new("RGB", (LABEL_WIDTH + width, TITLE_HEIGHT + len(by_arm) * height), BACKGROUND)
    draw, font = ImageDraw.Draw(block), ImageFont.load_default()
    draw.text((0, 2), f"{episode.case}: {episode.prompts[0]}", SWITCH, font)
    draw.text((0, 18), f"    then: {episode.prompts[1]}", SWITCH, font)
    for number, word in enumerate(words):
        draw.text((LABEL_WIDTH + 4 + number * height, 36), word, TEXT, font)
    for number, (arm, strip) in enumerate(by_arm.items()):
        top = TITLE_HEIGHT + number * height
        draw.text((0, top + height // 2 - 6), arm, TEXT, font)
        block.paste(strip, (LABEL_WIDTH, top))
    draw.line((LABEL_WIDTH + height, TITLE_HEIGHT, LABEL_WIDTH + height, block.height), SWITCH, 2)
    return block
