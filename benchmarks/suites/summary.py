"""Rows, differences, table and contact sheet of a suite: what the episodes amount to, plain against treated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...metrics.scoring.survival import restricted_mean
from .. import statistics
from ..transition.episodes import SWITCHES
from ..transition.pictures import (
    BACKGROUND,
    GAP,
    LABEL_WIDTH,
    SWITCH,
    TEXT,
    markdown,
    number,
    percent,
    signed_difference,
    with_interval,
)
from ..transition.summary import POOLED
from .episodes import SuiteEpisode
from .results import EpisodeResult

MEASURES = ("success", "lasting", "stf", "df", "frames", "remaining", "jump", "evaluations", "seconds")
DIFFERENCES = ("success", "lasting", "stf", "df", "frames", "remaining", "jump")
CELL, NUMBERS = 96, 16  # px: height of a frame in the sheet, and of the numbers above it
SHOWN = 10  # frames of a video in the sheet
TITLE = 40  # px

Pair = tuple[EpisodeResult, EpisodeResult]
Groups = Sequence[Sequence[float]]  # values by start image


def pairs_of(results: Sequence[EpisodeResult], plain: str, treated: str) -> list[Pair]:
    """The same episode with the same seed, plain and treated, where the old scene was seen before both switches."""
    found = {(result.episode, result.seed, result.arm): result for result in results}
    pairs = [
        (result, found[result.episode, result.seed, treated])
        for result in results
        if result.arm == plain and (result.episode, result.seed, treated) in found
    ]
    return [pair for pair in pairs if all(result.valid for result in pair)]


def rows(pairs: Sequence[Pair], cases: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each arm and case, and for each arm pooled over the cases with a change.

    Only `pairs` count, which are the same videos for both arms. Intervals take the videos of one start image together.
    """
    return [
        _row(place, case, _of_case(pairs, cases, case)) for place in range(2) for case in (POOLED, *cases)
    ]


def differences(pairs: Sequence[Pair], cases: Sequence[str]) -> list[dict[str, Any]]:
    """Treated minus plain, video by video, with an interval: one entry for each measure and case."""
    return [
        entry
        for case in (POOLED, *cases)
        for name in DIFFERENCES
        if (entry := _difference(name, case, _of_case(pairs, cases, case))) is not None
    ]


def table(rows: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> str:
    """Three Markdown tables: the arms over all changes, their success case by case, and what treatment changed."""
    by_key = {(row["technique"], row["case"]): row for row in rows}
    cases = [row["case"] for row in rows if row["technique"] == "plain" and row["case"] != POOLED]
    overview = [_overview(by_key, arm, cases) for arm in ("plain", "treated")]
    by_case = [
        {
            "success": arm,
            **{f"{case} ({by_key[arm, case]['n']})": percent(by_key[arm, case]["success"]) for case in cases},
        }
        for arm in ("plain", "treated")
    ]
    changed = [
        {
            "treated - plain": entry["measure"],
            "case": entry["case"],
            "n": str(entry["n"]),
            "difference": signed_difference(entry),
        }
        for entry in differences
        if entry["case"] in (POOLED, "control", "sham")
    ]
    return "\n".join(markdown(lines) for lines in (overview, by_case, changed) if lines)


def save_sheet(path: Path, episodes: Sequence[SuiteEpisode], results: Sequence[EpisodeResult]) -> Path:
    """Draw one seed of every episode, plain above treated, with a line at the switch."""
    first = min((result.seed for result in results), default=0)
    blocks = []
    for episode in episodes:
        shown = [v for v in results if v.episode == episode.id and v.seed == first]
        if shown:
            blocks.append(_block(episode, shown))
    width, height = max(block.width for block in blocks), sum(block.height + GAP for block in blocks)
    sheet = Image.new("RGB", (width + 2 * GAP, height + GAP), BACKGROUND)
    top = GAP
    for block in blocks:
        sheet.paste(block, (GAP, top))
        top += block.height + GAP
    sheet.save(path)
    return path


def _of_case(pairs: Sequence[Pair], cases: Sequence[str], case: str) -> list[Pair]:
    """The pairs of a case, or of every case with a change."""
    names = [name for name in cases if name in SWITCHES] if case == POOLED else [case]
    return [pair for pair in pairs if pair[0].case in names]


def _row(place: int, case: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    mine = [pair[place] for pair in pairs]
    values = {name: _by_image((result, getattr(result, name)) for result in mine) for name in MEASURES}
    means = {name: statistics.grouped_mean(groups) for name, groups in values.items()}
    gains = _gains(pairs, "success") if place else []
    waits = [result for result in mine if result.reached is not None]
    return {
        "technique": ("plain", "treated")[place],
        "case": case,
        "n": len({result.episode for result in mine}),
        "images": len({result.image for result in mine}),
        "videos": len(mine),
        "success": means["success"],
        "success_ci": statistics.ends_of(statistics.grouped_share_interval, values["success"]),
        "gain": statistics.grouped_mean(gains),
        "gain_ci": statistics.ends_of(statistics.grouped_gain_interval, gains),
        "lasting": means["lasting"],
        "stf": means["stf"],
        "df": means["df"],
        "tl_frames": _wait(waits),
        "reached": fmean(bool(result.reached) for result in waits) if waits else None,
        "remaining": means["remaining"],
        "continuity": means["jump"],
        "evaluations": means["evaluations"],
        "seconds": means["seconds"],
    }


def _difference(name: str, case: str, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """The mean difference of a measure, None where no pair has it."""
    gains = _gains(pairs, name)
    by = (
        statistics.grouped_gain_interval
        if name in ("success", "lasting")
        else statistics.grouped_mean_interval
    )
    episodes = {new.episode for old, new in pairs if _gain(old, new, name) is not None}
    if not gains:
        return None
    return {
        "measure": name,
        "case": case,
        "n": len(episodes),
        "videos": sum(map(len, gains)),
        "mean": statistics.grouped_mean(gains),
        "ci": statistics.ends_of(by, gains),
    }


def _gains(pairs: Sequence[Pair], name: str) -> Groups:
    """Treated minus plain, video by video."""
    return _by_image((new, _gain(old, new, name)) for old, new in pairs)


def _gain(old: EpisodeResult, new: EpisodeResult, name: str) -> float | None:
    less, more = getattr(old, name), getattr(new, name)
    return None if less is None or more is None else float(more) - float(less)


def _by_image(values: Iterable[tuple[EpisodeResult, float | None]]) -> Groups:
    """The values of the videos of each start image; None is left out."""
    found: dict[str, list[float]] = {}
    for result, value in values:
        if value is not None:
            found.setdefault(result.image, []).append(float(value))
    return list(found.values())


def _wait(results: Sequence[EpisodeResult]) -> float | None:
    """Restricted mean of the wait, as far as all videos go on after their switch."""
    waits = [(result.frames, bool(result.reached)) for result in results if result.frames is not None]
    if not waits:
        return None
    frames, reached = zip(*waits, strict=True)
    return restricted_mean(frames, reached, max(frames))


def _overview(
    by_key: Mapping[tuple[str, str], Mapping[str, Any]], arm: str, cases: Sequence[str]
) -> dict[str, str]:
    row = by_key[arm, POOLED]
    others = [case for case in ("control", "sham") if case in cases]
    return {
        "arm": arm,
        "episodes": str(row["n"]),
        "videos": str(row["videos"]),
        "success": with_interval(row, "success"),
        "gain over plain": with_interval(row, "gain"),
        "jump": number(row["continuity"]),
        "evaluations": number(row["evaluations"]),
        "lasting": percent(row["lasting"]),
        "STF": percent(row["stf"]),
        "DF": percent(row["df"]),
        "TL frames": number(row["tl_frames"]),
        "reached": percent(row["reached"]),
        "remaining": percent(row["remaining"]),
        **{f"{case} success": with_interval(by_key[arm, case], "success") for case in others},
        **{f"{case} jump": number(by_key[arm, case]["continuity"]) for case in others},
        "seconds": number(row["seconds"]),
    }


def _block(episode: SuiteEpisode, results: Sequence[EpisodeResult]) -> Image.Image:
    strips = [_strip(result) for result in results]
    width = LABEL_WIDTH + max(strip.width for strip in strips)
    block = Image.new("RGB", (width, TITLE + sum(strip.height for strip in strips)), BACKGROUND)
    draw, font = ImageDraw.Draw(block), ImageFont.load_default()
    then = (
        episode.new.prompt
        if episode.new
        else "the same, entered anew"
        if episode.case == "sham"
        else "no switch"
    )
    draw.text((0, 2), f"{episode.case} {episode.id}: {episode.old.prompt}", SWITCH, font)
    draw.text((0, 20), f"    then: {then}", SWITCH, font)
    top = TITLE
    for result, strip in zip(results, strips):
        words = {None: "not counted", True: "success", False: "no success"}[result.success]
        draw.text((0, top + NUMBERS + CELL // 2 - 14), f"{result.arm}\n{words}", TEXT, font)
        block.paste(strip, (LABEL_WIDTH, top))
        top += strip.height
    return block


def _strip(result: EpisodeResult) -> Image.Image:
    """Frames in even distances, each under its number; a line before the first one after the switch."""
    known = sorted(result.thumbnails)
    picked = [known[round(i * (len(known) - 1) / max(SHOWN - 1, 1))] for i in range(min(SHOWN, len(known)))]
    pictures = [Image.fromarray(result.thumbnails[frame]) for frame in dict.fromkeys(picked)]
    wide = max(round(picture.width * CELL / picture.height) for picture in pictures)
    strip = Image.new("RGB", (len(pictures) * (wide + 2), NUMBERS + CELL + 2), BACKGROUND)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default()
    last = -1
    for place, (frame, picture) in enumerate(zip(dict.fromkeys(picked), pictures)):
        left = place * (wide + 2)
        switches = last < result.switch <= frame
        strip.paste(picture.resize((wide, CELL)), (left, NUMBERS))
        draw.text((left + 2, 2), str(frame), SWITCH if switches else TEXT, font)
        if switches:
            draw.line((left - 2, 0, left - 2, strip.height), SWITCH, 2)
        last = frame
    return strip
