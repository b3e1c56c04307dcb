"""What musubi-tuner calls its caches. Source: kohya-ss/musubi-tuner, `dataset/image_video_dataset.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LATENTS, TEXTS = "_fp.safetensors", "_fp_te.safetensors"
# Training looks for the caches of a folder with its path as a pattern, in which these have a meaning.
PATTERN_MARKS = "*?["
MOST_NAME_BYTES = 120
_VIDEO = re.compile(r"(.+)_([0-9]+)-([0-9]+)-([0-9]+)_([0-9]+)x([0-9]+)_fp\.safetensors", re.DOTALL)
_IMAGE = re.compile(r"(.+)_([0-9]+)x([0-9]+)_fp\.safetensors", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class LatentName:
    """What the name of a latent cache says.

    item: the name that the latents and their text share.
    size: width and height of the pictures in pixels before they were resized.
    frames: length of the video; None for a picture.
    section: its section in time; None for a picture.
    """

    item: str
    size: tuple[int, int]
    frames: int | None = None
    section: int | None = None

    def file(self) -> str:
        """The name of the file."""
        width, height = self.size
        place = "" if self.frames is None else f"_00000-{self.frames:03d}-{self.section or 0:04d}"
        return f"{self.item}{place}_{width:04d}x{height:04d}{LATENTS}"


def read_name(file: Path) -> LatentName | None:
    """What the name of a latent cache says; None where musubi-tuner would not read it."""
    if match := _VIDEO.fullmatch(file.name):
        item, _, frames, section, width, height = match.groups()
        return LatentName(item=item, size=(int(width), int(height)), frames=int(frames), section=int(section))
    if match := _IMAGE.fullmatch(file.name):
        return LatentName(item=match[1], size=(int(match[2]), int(match[3])))
    return None


def latent_files(folder: Path) -> list[Path]:
    """The latent caches of a folder, sorted; none where it does not exist."""
    return sorted(file for file in folder.glob(f"*{LATENTS}") if file.is_file())


def text_file(folder: Path, item: str) -> Path:
    """Where the encoded caption of an item lies."""
    return folder / f"{item}{TEXTS}"


def check_name(name: str) -> None:
    """Raises ValueError for a name that files of a dataset cannot have."""
    if (
        not name
        or not name.isprintable()
        or len(name.encode()) > MOST_NAME_BYTES
        or set(name) & set('/\\:*?"<>|')
    ):
        raise ValueError(
            f"the name {name[:40]!r} cannot be used for files; give 1 to {MOST_NAME_BYTES} letters without / \\ : * ? and "
            "quotes."
        )
