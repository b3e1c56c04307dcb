"""The speed of one forward and of the sampler around it, as one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from .machine import machine
from .overhead import STEPS, section_time, video_seconds
from .sizes import SIZES
from .timing import Timing, interleaved
from .works import ATTENTION, FORWARD, IN_FP8, PEER, PRODUCTS, difference, works_of

Row = dict[str, Any]
# Steps of a section at which the seconds of whole videos are told.
VIDEO_STEPS = 25


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """What is timed and how. Raises ValueError for an unknown size or no rounds.

    device: where.
    size: a name in SIZES.
    rounds: how often everything is timed, in turn; the least time counts.
    peer: whether diffusers is timed too.
    compiled: whether compiled blocks are timed too.
    """

    device: torch.device
    size: str = "mid"
    rounds: int = 5
    peer: bool = True
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size is {self.size!r}; choose one of {', '.join(SIZES)}.")
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; give at least 1.")

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in: bfloat16 on a GPU, float32 on a CPU."""
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16


def run_speed(options: SpeedOptions, on_done: Callable[[int, int, str], None]) -> dict[str, Any]:
    """Everything that is measured, as plain data; raises PeerMissingError. `on_done(done, total, name)` tells how far it is."""
    with torch.inference_mode():
        works = works_of(
            SIZES[options.size],
            device=options.device,
            dtype=options.dtype,
            peer=options.peer,
            compiled=options.compiled,
        )
        total, done = len(works) * (options.rounds + 1), 0

        def count(name: str) -> None:
            nonlocal done
            done += 1
            on_done(done, total, name)

        timings = interleaved(works, options.rounds, options.device, count)
        differences = {IN_FP8: difference(works, IN_FP8)} if IN_FP8 in works else {}
        del works
        section = section_time(options.device, options.rounds)
    return {
        "machine": machine(options.device),
        "settings": {
            "size": options.size,
            "rounds": options.rounds,
            "dtype": str(options.dtype).removeprefix("torch."),
        },
        "rows": rows(timings, differences),
        "sampler": {
            "milliseconds_a_step_outside_the_model": 1000 * (section.whole - section.inside) / STEPS,
            "milliseconds_a_forward": 1000 * section.inside / STEPS,
            "overhead": section.overhead,
            "overhead_of_this_size": (section.whole - section.inside) / STEPS / timings[FORWARD].seconds,
        },
        "seconds_of_videos": {
            f"{options.size} at {VIDEO_STEPS} steps": video_seconds(timings[FORWARD].seconds, VIDEO_STEPS),
            f"embedded model at {STEPS} steps": video_seconds(section.whole / STEPS, STEPS),
        },
    }


def rows(timings: Mapping[str, Timing], differences: Mapping[str, float]) -> list[Row]:
    """A row for each piece of work: milliseconds, ratios to the floor, to diffusers and to the plain forward, and memory.

    Also the first call's seconds, in which what is compiled is compiled, and how far its prediction lies from the plain one.
    """
    floor = timings[PRODUCTS].seconds + timings[ATTENTION].seconds
    others = {"of_floor": floor, "of_plain": timings[FORWARD].seconds}
    if PEER in timings:
        others["of_diffusers"] = timings[PEER].seconds
    return [
        {
            "name": name,
            "milliseconds": 1000 * timing.seconds,
            **{key: timing.seconds / seconds for key, seconds in others.items()},
            **({} if timing.peak is None else {"peak_gib": timing.peak / 2**30}),
            "first_seconds": timing.first,
            **({"difference": differences[name]} if name in differences else {}),
        }
        for name, timing in timings.items()
    ]
