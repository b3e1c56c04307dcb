"""Videos whose scores are known, drawn in plain numpy: frames [T,H,W,3] float32 in 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def scene(size: tuple[int, int], seed: int) -> Array:
    """A smooth random texture [H,W,3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / max(size)
    picture = np.zeros((*size, 3))
    for _ in range(6):
        direction, phase, colour = rng.uniform(2, 14, 2), rng.uniform(0, 2 * np.pi), rng.normal(size=3)
        picture += np.sin(x * direction[0] + y * direction[1] + phase)[..., None] * colour
    picture = (picture - picture.min()) / np.ptp(picture)
    return (0.1 + 0.8 * picture).astype(np.float32)


def mixed(old: Array, new: Array, shares: Sequence[float]) -> Array:
    """Frames that show `new` by these shares and `old` by the rest."""
    share = np.asarray(shares, np.float32)[:, None, None, None]
    return (1 - share) * old + share * new


def shares(frames: int, switch: int, kind: str, amount: float = 0) -> Array:
    """How much of the new scene is seen in each frame [T]."""
    after = np.arange(frames) - switch
    if kind == "cut":
        return (after >= amount).astype(float)
    if kind == "frozen":
        return np.zeros(frames)
    if kind == "fade":  # k/N in the k-th frame, counted from 1
        return np.clip((after + 1) / amount, 0, 1)
    if kind == "ghost":
        return np.where(after >= 0, 1 - amount, 0)
    if kind == "flicker":  # the first 6 of every 12 are old
        return ((after >= 0) & (after % 12 >= 6)).astype(float)
    raise ValueError(kind)


def sprite_video(background: Array, frames: int, gone: int, *, side: int = 0, ghost: float = 0) -> Array:
    """A red square moves to the right until frame `gone`, where a share of `ghost` of it stays behind."""
    video = np.repeat(background[None], frames, axis=0).copy()
    height, width = background.shape[:2]
    side = side or min(height, width) // 3
    for index in range(frames):
        opacity = 1.0 if index < gone else ghost
        left = round((width - side) * (0.3 + 0.3 * min(index, gone - 1) / frames))
        window = video[index, height // 3 : height // 3 + side, left : left + side]
        window += opacity * (np.array([1.0, 0.2, 0.1], np.float32) - window)
    return video


def sprite_confidence(video: Array, background: Array) -> Array:
    """A detector that knows the background: 1 where a whole sprite is seen, [T]."""
    seen = (np.abs(video - background).max(-1) > 0.05).sum((1, 2))
    return np.minimum(seen / (0.8 * (min(background.shape[:2]) // 3) ** 2), 1.0)


class SceneReader:
    """An extractor with a text tower: pictures are 16x16 means, and a text is the picture that it names."""

    name = "scenes"
    logit_scale = 100.0
    resolution = None

    def __init__(self, pictures: dict[str, Array]) -> None:
        self.pictures = pictures

    def images(self, frames: Array) -> Array:
        """Means over 16x16 fields, minus middle grey."""
        frames = np.asarray(frames, np.float64)
        rows, columns = (np.array_split(np.arange(side), 16) for side in frames.shape[1:3])
        fields = [frames[:, r][:, :, c].mean((1, 2)) - 0.5 for r in rows for c in columns]
        return np.stack(fields, 1).reshape(len(frames), -1)

    def texts(self, texts: Sequence[str]) -> Array:
        """The features of the pictures that the texts name."""
        return np.concatenate([self.images(self.pictures[text][None]) for text in texts])
