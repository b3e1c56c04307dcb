"""One-frame training: a picture, the control pictures that it is made from, and where they lie on the time axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..samplers.context.one_frame import (
    OneFrameLayout,
    basic_layout,
    kisekaeichi_layout,
    multi_control_layout,
)

ONE_FRAME = "one_frame"  # the kind of the examples, and the plainest of the layouts
ONE_FRAME_LAYOUTS = {
    ONE_FRAME: basic_layout,
    "kisekaeichi": kisekaeichi_layout,
    "1f_mc": multi_control_layout,
}
CONTROLS = {ONE_FRAME: 1, "kisekaeichi": 2, "1f_mc": 2}


@dataclass(frozen=True)
class Pair:
    """A picture to be made and the pictures that it is made from, in the order of their indices."""

    target: Path
    controls: tuple[Path, ...]


def layout_named(name: str, window: int) -> OneFrameLayout:
    """Where the pictures of a one-frame layout lie; `name` is one of ONE_FRAME_LAYOUTS."""
    return ONE_FRAME_LAYOUTS[name](window)


def control_places(name: str, window: int) -> tuple[int, ...]:
    """The indices of a layout's control pictures."""
    return layout_named(name, window).indices(CONTROLS[name]).clean[: CONTROLS[name]]


def target_place(name: str, window: int) -> int:
    """The index of the picture that a layout generates."""
    return layout_named(name, window).indices(CONTROLS[name]).target[0]


def pair_up(targets: Sequence[Path], controls: Iterable[Path], count: int) -> list[Pair]:
    """Each picture with its `count` controls: NAME.png, or NAME_0.png, NAME_1.png and so on, for a picture NAME.png.

    Source: kohya-ss/musubi-tuner, `dataset/datasources.py`. Raises ValueError for a picture with another number of controls.
    """
    left = sorted(controls)
    pairs = []
    for target in sorted(targets, key=lambda path: (-len(path.stem), path.stem)):
        own = [path for path in left if _is_control_of(path.stem, target.stem)]
        left = [path for path in left if path not in own]
        if len(own) != count:
            raise ValueError(
                f"{target.name} has {len(own)} control pictures, this layout needs {count}; name them "
                + " and ".join(_control_names(target.stem, count))
                + "."
            )
        pairs.append(Pair(target, tuple(sorted(own, key=lambda path: _number_of(path.stem, target.stem)))))
    return sorted(pairs, key=lambda pair: pair.target.stem)


def _control_names(stem: str, count: int) -> list[str]:
    return [f"{stem}.png"] if count == 1 else [f"{stem}_{number}.png" for number in range(count)]


def _is_control_of(stem: str, target: str) -> bool:
    return stem == target or (stem.startswith(f"{target}_") and stem[len(target) + 1 :].isdigit())


def _number_of(stem: str, target: str) -> int:
    """The place of a control among those of a picture; one without a number comes first."""
    return -1 if stem == target else int(stem[len(target) + 1 :])
