"""The study of step caches: episodes that no setting was chosen on, and what they amount to for each arm."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from ...metrics.scoring.survival import restricted_mean
from ...samplers.techniques.presets import PRESETS
from .. import statistics
from ..transition.episodes import make_episode
from ..transition.pictures import markdown, number, with_interval
from ..transition.running.results import ResultFile, key_of, world_digest
from ..transition.running.sampling import BenchSettings, EpisodeSampler
from .arms import UNCACHED, CacheArm
from .measuring import CachedEpisode, measure_batch

# Thresholds were chosen on the seeds from 0 on; these are others.
FIRST_SEED = 1100
CASES = ("disappear", "colour", "background", "cut")
CHUNK = 8  # episodes sampled as one batch
SETTINGS = BenchSettings()
VERSION = 1  # of what is measured and how: results of another version are not mixed with these

Pairs = Sequence[tuple[CachedEpisode, CachedEpisode]]


def run(
    sampler: EpisodeSampler,
    model: Any,
    arms: Sequence[CacheArm],
    *,
    seeds: int,
    kept: ResultFile[CachedEpisode],
    on_episodes: Callable[[int], None],
) -> list[CachedEpisode]:
    """Episodes of `seeds` seeds of every case under every arm, the first of which is the uncached one.

    What `kept` holds is not measured again. `on_episodes` is told how many more are there.
    """
    named = partial(_key, sampler.fingerprint(), model)
    found: list[CachedEpisode] = []
    for first in range(0, seeds, CHUNK):
        numbers = range(FIRST_SEED + first, FIRST_SEED + min(first + CHUNK, seeds))
        for case in CASES:
            keys = {arm: [named(arm=arm, case=case, seed=n, batch=numbers) for n in numbers] for arm in arms}
            missing = [arm for arm in arms if not all(key in kept.results for key in keys[arm])]
            on_episodes(len(numbers) * (len(arms) - len(missing)))
            for arm, measured in _measured(sampler, model, case=case, numbers=numbers, arms=missing):
                kept.add([replace(episode, key=key) for episode, key in zip(measured, keys[arm])])
                on_episodes(len(measured))
            found += [kept.results[key] for arm in arms for key in keys[arm]]
    return found


def _measured(
    sampler: EpisodeSampler, model: Any, *, case: str, numbers: range, arms: Sequence[CacheArm]
) -> Iterator[tuple[CacheArm, list[CachedEpisode]]]:
    """A batch of episodes under some arms; the uncached one is sampled too, as all are compared with its video."""
    if arms:
        compared = (UNCACHED, *(arm for arm in arms if arm != UNCACHED))
        episodes = [make_episode(case, number) for number in numbers]
        results = zip(compared, measure_batch(sampler, model, episodes, compared))
        yield from (result for result in results if result[0] in arms)


def _key(fingerprint: str, model: Any, *, arm: CacheArm, case: str, seed: int, batch: range) -> str:
    """What an episode under an arm is found by: everything that it depends on. A host's MODEL is another one than ours."""
    treated = repr((arm, PRESETS["balanced"], type(model).__name__))
    return key_of([VERSION, world_digest(), fingerprint, treated, case, seed, list(batch)])


def rows(episodes: Sequence[CachedEpisode]) -> list[dict[str, Any]]:
    """One row for each arm, over the episodes that were right before the switch with and without its cache."""
    by_arm: dict[str, dict[tuple[str, int], CachedEpisode]] = {}
    for episode in episodes:
        by_arm.setdefault(episode.arm, {})[episode.case, episode.seed] = episode
    uncached = by_arm[UNCACHED.name]
    return [_row(name, _pairs(own, uncached)) for name, own in by_arm.items()]


def _pairs(
    own: Mapping[tuple[str, int], CachedEpisode], uncached: Mapping[tuple[str, int], CachedEpisode]
) -> Pairs:
    return [(own[key], uncached[key]) for key in own if own[key].valid and uncached[key].valid]


def _row(name: str, pairs: Pairs) -> dict[str, Any]:
    own = [pair[0] for pair in pairs]
    section = SETTINGS.section_frames
    calls = [_means(episodes) for episodes in zip(*((a.calls, b.calls) for a, b in pairs))]
    untreated = [sum(counts) - counts[SETTINGS.before] for counts in calls]
    waits = [_wait(episode) for episode in own]
    return {
        "arm": name,
        "n": len(pairs),
        "calls": calls[0],
        "fewer": untreated[1] / untreated[0],
        "fewer_in_all": sum(calls[1]) / sum(calls[0]),
        "success": fmean(episode.success for episode in own),
        "tl_frames": restricted_mean(waits, [episode.latency is not None for episode in own], section),
        "artefacts": fmean(episode.artefacts for episode in own),
        **_paired("gain", statistics.gain_interval, pairs, lambda episode: float(episode.success)),
        **_paired("tl_gain", statistics.mean_interval, pairs, _wait),
        **_paired("artefact_gain", statistics.mean_interval, pairs, lambda episode: episode.artefacts),
        "psnr_before": fmean(episode.psnr_before for episode in own),
        "psnr_before_least": min(episode.psnr_before for episode in own),
        "psnr_after": fmean(episode.psnr_after for episode in own),
    }


def _means(counts: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each section's calls."""
    return [fmean(section) for section in zip(*counts)]


def _wait(episode: CachedEpisode) -> float:
    """Frames until the new scene is there; the wait ends with the section."""
    return SETTINGS.section_frames if episode.latency is None else episode.latency


def _paired(
    name: str,
    interval: Callable[[Sequence[float]], statistics.Interval | None],
    pairs: Pairs,
    value: Callable[[CachedEpisode], float],
) -> dict[str, Any]:
    """How much more of a value there is than without the cache, with its interval; that is not compared with itself."""
    gains = [value(own) - value(other) for own, other in pairs if own is not other]
    found = interval(gains) if gains else None
    return {name: fmean(gains) if gains else None, f"{name}_ci": None if found is None else list(found)}


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    return markdown(
        [
            {
                "cache": row["arm"],
                "n": str(row["n"]),
                "calls by section": ", ".join(f"{calls:.1f}" for calls in row["calls"]),
                "fewer, untreated (all)": f"{row['fewer']:.2f}x ({row['fewer_in_all']:.2f}x)",
                "success": f"{row['success']:.3f}",
                "success, difference": with_interval(row, "gain"),
                "TL90 frames": number(row["tl_frames"]),
                "TL90, difference": with_interval(row, "tl_gain"),
                "artefacts": f"{row['artefacts']:.3f}",
                "artefacts, difference": with_interval(row, "artefact_gain"),
                "PSNR before (least), after": f"{row['psnr_before']:.1f} ({row['psnr_before_least']:.1f}), {row['psnr_after']:.1f}",
            }
            for row in found
        ]
    )


def load_episodes(path: Path) -> Iterator[CachedEpisode]:
    """The episodes of a compressed file, such as a study leaves."""
    yield from map(CachedEpisode.from_line, gzip.decompress(path.read_bytes()).decode().splitlines())
