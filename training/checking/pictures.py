"""What the latents show against what the captions say happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median, median_low

from torch import Tensor

from ...samplers.context.indices import Direction
from ..dataset import Dataset
from ..musubi.latents import LatentCache
from ..shares import REAL
from .findings import Finding, Loaded, error, warning

# A step from one latent frame to the next that is so many times the usual one is a cut.
CUT = 6.0
LAG = 1  # latent frames by which a change may come later than its prompt
START_DIFFERS = 0.05  # root mean square of start frames of one clip, of latents that are about 1


@dataclass(frozen=True, kw_only=True)
class Movement:
    """How much a section changes, as root mean squares of latents.

    across: from the remembered frame next to it to its farther end.
    largest: the largest step from one of its frames to the next.
    usual: the median of these steps, the lower of two in the middle.
    lag: how many of its frames lie between the remembered frame and the largest step.
    """

    across: float
    largest: float
    usual: float
    lag: int


def movement_of(cache: LatentCache) -> Movement:
    """How much the section of a cache changes."""
    target, clean = cache.target, cache.context.clean
    steps = [_rms(target[:, :, at + 1] - target[:, :, at]) for at in range(target.shape[2] - 1)]
    forward = cache.context.indices.direction is Direction.FORWARD
    far = target[:, :, -1] if forward else target[:, :, 0]
    near = target[:, :, 0] if clean is None else clean[:, :, -1]
    largest = max(steps, default=0.0)
    place = 1 + steps.index(largest) if steps else 0
    return Movement(
        across=_rms(far - near),
        largest=largest,
        usual=median_low(steps) if steps else 0.0,
        lag=place if forward else target.shape[2] - place,
    )


def picture_findings(loaded: Sequence[Loaded], dataset: Dataset) -> Iterator[Finding]:
    """What is wrong with what the examples show; pictures of one-frame training are left alone."""
    if dataset.one_frame:
        return
    whole = [(item, item.latents) for item in loaded if item.latents is not None and not item.example.copy_of]
    moved = {item.example.name: movement_of(cache) for item, cache in whole}
    still = [moved[item.example.name].across for item, cache in whole if _is_unchanged(item, cache)]
    usual = median(one.usual for one in moved.values()) if moved else 0.0
    for item, _ in whole:
        name = item.example.name
        yield from _switch_seen(item, moved[name], median(still) if still else None)
        yield from _cut_inside(item, moved[name], usual)
    yield from _start_findings(whole)


def _is_unchanged(item: Loaded, cache: LatentCache) -> bool:
    """Whether a section shows how much changes where no prompt does; a first one backward remembers nothing to compare with."""
    clean = cache.context.clean
    return item.example.kind != REAL and clean is not None and bool(clean[:, :, -1].count_nonzero())


def _switch_seen(item: Loaded, moved: Movement, still: float | None) -> Iterator[Finding]:
    if item.example.kind == REAL and still is not None and moved.across <= still:
        yield warning(
            item.example.name,
            f"it is real, but its picture changes no more ({moved.across:.2f}) than sections without a change of the prompt do "
            f"({still:.2f}): this teaches that a new prompt changes nothing; look whether the time in its caption is right",
        )


def _cut_inside(item: Loaded, moved: Movement, usual: float) -> Iterator[Finding]:
    if not usual > 0 or moved.largest <= CUT * max(moved.usual, usual):
        return
    step = f"(a step of {moved.largest:.2f}, usual are {moved.usual:.2f})"
    if item.example.kind != REAL:
        yield warning(
            item.example.name,
            f"a cut lies inside of it {step}, which its caption does not name; give the cut a prompt with its time, or leave the "
            "clip out",
        )
    elif moved.lag > LAG:
        yield warning(
            item.example.name,
            f"its picture jumps {moved.lag} latent frames away from the change of the prompt {step}; correct the time in its "
            "caption",
        )


def _start_findings(whole: Sequence[tuple[Loaded, LatentCache]]) -> Iterator[Finding]:
    """Sections of a clip whose start frames differ: they were cached from different pictures."""
    starts: dict[str, Tensor] = {}
    for item, cache in whole:
        if cache.context.clean is None:
            continue
        start = cache.context.clean[:, :, 0]
        first = starts.setdefault(item.example.clip, start)
        if first.shape == start.shape and _rms(first - start) > START_DIFFERS:
            yield error(
                item.example.name,
                "its start frame is another one than that of the clip's first example; cache the clip anew",
            )


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
