"""What the latents show against what the captions say happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, median_low

from torch import Tensor

from ...samplers.context.indices import Direction
from ..dataset import Example
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


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is kept of an example's pictures; `compares` says whether it shows how much changes where no prompt does."""

    name: str
    kind: str
    moved: Movement
    compares: bool


class PictureCheck:
    """Looks at examples one after another, so that the latents of a whole dataset need not be held."""

    def __init__(self) -> None:
        self._seen: list[Seen] = []
        self._starts: dict[str, Tensor] = {}
        self._other_starts: list[Finding] = []

    def look(self, loaded: Loaded) -> None:
        """Take an example in; copies with errors are left alone, and what has no latents, or of several sizes."""
        cache, example = loaded.latents, loaded.example
        if cache is None or example.copy_of or cache.context.clean is None or not _of_one_size(cache):
            return
        clean = cache.context.clean
        # A first section backward remembers nothing to compare with.
        compares = example.kind != REAL and bool(clean[:, :, -1].count_nonzero())
        self._seen.append(
            Seen(name=example.name, kind=example.kind, moved=movement_of(cache), compares=compares)
        )
        self._compare_start(example, clean[:, :, 0])

    def _compare_start(self, example: Example, start: Tensor) -> None:
        """Note an example whose start frame differs from its clip's: they were cached from different pictures."""
        first = self._starts.setdefault(example.clip, start.clone())
        if first.shape == start.shape and _rms(first - start) > START_DIFFERS:
            self._other_starts.append(
                error(
                    example.name,
                    "its start frame is another one than that of the clip's first example; cache the clip anew",
                )
            )

    def findings(self) -> Iterator[Finding]:
        """What is wrong with what the examples show."""
        still = [seen.moved.across for seen in self._seen if seen.compares]
        usual = median(seen.moved.usual for seen in self._seen) if self._seen else 0.0
        for seen in self._seen:
            yield from _switch_seen(seen, median(still) if still else None)
            yield from _cut_inside(seen, usual)
        yield from self._other_starts


def _of_one_size(cache: LatentCache) -> bool:
    clean = cache.context.clean
    return (
        clean is not None
        and clean.shape[1] == cache.target.shape[1]
        and clean.shape[3:] == cache.target.shape[3:]
    )


def _switch_seen(seen: Seen, still: float | None) -> Iterator[Finding]:
    if seen.kind == REAL and still is not None and seen.moved.across <= still:
        yield warning(
            seen.name,
            f"it is real, but its picture changes no more ({seen.moved.across:.2f}) than sections without a change of the prompt "
            f"do ({still:.2f}): this teaches that a new prompt changes nothing; look whether the time in its caption is right",
        )


def _cut_inside(seen: Seen, usual: float) -> Iterator[Finding]:
    moved = seen.moved
    if not usual > 0 or moved.largest <= CUT * max(moved.usual, usual):
        return
    step = f"(a step of {moved.largest:.2f}, usual are {moved.usual:.2f})"
    if seen.kind != REAL:
        yield warning(
            seen.name,
            f"a cut lies inside of it {step}, which its caption does not name; give the cut a prompt with its time, or leave the "
            "clip out",
        )
    elif moved.lag > LAG:
        yield warning(
            seen.name,
            f"its picture jumps {moved.lag} latent frames away from the change of the prompt {step}; correct the time in its "
            "caption",
        )


def _rms(tensor: Tensor) -> float:
    return float(tensor.square().mean().sqrt())
