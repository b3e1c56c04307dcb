"""A dataset on disk: what its examples are, in one file that every command reads, and where its other files lie."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..samplers.context.plan import LAYOUTS, MAX_WINDOW
from .musubi.names import check_name
from .one_frame import ONE_FRAME, ONE_FRAME_LAYOUTS
from .shares import DEFAULT_SHARES, KINDS

FILE = "dataset.json"
VERSION = 1
ALL_LAYOUTS = (*LAYOUTS, *ONE_FRAME_LAYOUTS)
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Example:
    """One section with its caption, which training sees as one item.

    name: what its files are called, such as walk__s2.
    kind: one of KINDS, or ONE_FRAME.
    caption: the prompt of the section.
    clip: the take that it is a section of, such as walk; for one-frame training its picture.
    section: the number of the section in time, from 0.
    sections: how many sections the take has.
    source: the file that the take was made from; "" where it came from a workflow.
    copy_of: the example whose latents it has with errors added to what is remembered; "" for none.
    """

    name: str
    kind: str
    caption: str
    clip: str
    section: int = 0
    sections: int = 1
    source: str = ""
    copy_of: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_name(self.clip)
        if self.kind not in (*KINDS, ONE_FRAME):
            raise ValueError(
                f"the kind of {self.name} is {self.kind!r}; choose one of {', '.join((*KINDS, ONE_FRAME))}."
            )
        if not 0 <= self.section < self.sections:
            raise ValueError(f"{self.name} is section {self.section} of {self.sections}, counted from 0.")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The examples of a folder and what they have in common.

    layout: f1, original, or one of the layouts of one-frame training.
    window: latent frames of a section.
    resolution: width and height in pixels whose area the pictures are brought to.
    shares: which part of an epoch each kind gets.
    encoded: whether latents and captions were encoded here, so that musubi-tuner has nothing to cache.
    """

    layout: str
    window: int = 9
    resolution: tuple[int, int] = (640, 640)
    shares: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_SHARES))
    examples: tuple[Example, ...] = ()
    encoded: bool = False

    def __post_init__(self) -> None:
        if self.layout not in ALL_LAYOUTS:
            raise ValueError(f"layout is {self.layout!r}; choose one of {', '.join(ALL_LAYOUTS)}.")
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window is {self.window}; give 1 to {MAX_WINDOW} latent frames (usual: 9).")

    @property
    def one_frame(self) -> bool:
        """Whether its examples are single pictures."""
        return self.layout in ONE_FRAME_LAYOUTS

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its examples in their order."""
        return (ONE_FRAME,) if self.one_frame else KINDS

    def counts(self) -> dict[str, int]:
        """How many examples of each kind there are."""
        return dict(Counter(example.kind for example in self.examples))

    def of_kind(self, kind: str) -> list[Example]:
        """Its examples of one kind."""
        return [example for example in self.examples if example.kind == kind]

    def with_source(self, source: str, examples: Iterable[Example]) -> Dataset:
        """The dataset with these examples in place of those that it had of the same source."""
        kept = (example for example in self.examples if example.source != source)
        return replace(self, examples=(*kept, *examples))


def clip_folder(root: Path) -> Path:
    """Where the takes lie as videos."""
    return root / "clips"


def clip_cache(root: Path) -> Path:
    """Where the latents of whole takes are cached before `prune` gives them to the kinds."""
    return root / "cache" / "clips"


def kind_cache(root: Path, kind: str) -> Path:
    """Where the examples of a kind lie as training reads them."""
    return root / "cache" / kind


def save_dataset(dataset: Dataset, root: Path) -> None:
    """Writes the dataset's file whole or not at all. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": VERSION, **asdict(dataset)}, indent=1, ensure_ascii=False)
    unfinished = root / f"{FILE}.tmp"
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(root / FILE)


def load_dataset(root: Path) -> Dataset:
    """Reads the dataset of a folder. Raises ValueError for a folder that holds none, and a file that is damaged."""
    file = root / FILE
    if not file.is_file():
        raise ValueError(
            f"the folder {root} holds no {FILE}; give the folder that `dataset build` or FramePack Training Example has written."
        )
    if file.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file} has more than {MOST_BYTES:,} bytes; it is no dataset of this pack.")
    try:
        return _dataset_of(json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error}); build the dataset anew.") from error


def _dataset_of(data: dict[str, Any]) -> Dataset:
    if data["version"] != VERSION:
        raise ValueError(f"its version is {data['version']!r}, this pack reads {VERSION}")
    width, height = data["resolution"]
    return Dataset(
        layout=data["layout"],
        window=data["window"],
        resolution=(int(width), int(height)),
        shares={str(kind): float(share) for kind, share in data["shares"].items()},
        examples=tuple(Example(**example) for example in data["examples"]),
        encoded=bool(data.get("encoded", False)),
    )
