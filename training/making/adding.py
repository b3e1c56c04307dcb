"""Adds a clip, or a picture, to a dataset with latents and captions that were encoded here: nothing is left to cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ...samplers.context.one_frame import one_frame_context
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ..caches import remove_caches
from ..dataset import FILE, Dataset, Example, kind_cache, load_dataset
from ..files import IMAGES, write_files, write_text_file
from ..musubi.config import jsonl_of
from ..musubi.latents import LatentCache, write_latents
from ..musubi.names import LatentName, check_name, text_file
from ..musubi.texts import TextCache, write_text
from ..one_frame import CONTROLS, ONE_FRAME, layout_named
from .building import check_root, examples_of, plan_clip
from .labelling import Take
from .sections import section_caches

# Gives the latents [1, 16, L, H, W] in the model's scale, and the tokens [1, N, D] of the first picture.
EncodeTake = Callable[[Take], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where examples go: the folder of the dataset, what it is for, and the size of the pictures in pixels."""

    root: Path
    layout: str
    window: int
    size: tuple[int, int]

    def dataset(self) -> Dataset:
        """The dataset of the folder, or a new one. Raises ValueError where the folder is for another layout or window."""
        check_root(self.root)
        fresh = Dataset(layout=self.layout, window=self.window, resolution=self.size, encoded=True)
        if not (self.root / FILE).is_file():
            return fresh
        found = load_dataset(self.root)
        if (found.layout, found.window) != (self.layout, self.window):
            raise ValueError(
                f"{self.root.name} holds examples of layout {found.layout} with window {found.window}, not of {self.layout} with "
                f"{self.window}; choose another folder."
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Added:
    """What has become of a clip: its examples, sentences about what is missing, and the whole dataset."""

    examples: tuple[Example, ...]
    remarks: tuple[str, ...]
    dataset: Dataset


def add_clip(
    place: Place,
    name: str,
    spans: Sequence[PromptSpan],
    frames: int,
    *,
    encode: EncodeTake,
    texts: Mapping[str, TextCache],
) -> Added:
    """Cuts a clip of `frames` frames at 30 a second into examples and writes all of their files.

    texts: the encoded captions by their text. Examples that the dataset has of a clip of this name are replaced.
    Raises ValueError for a name, a folder or a clip that cannot be used, and OSError.
    """
    dataset = place.dataset()
    plan = plan_clip(Path(name), spans, frames, place.layout, window=place.window, name=name)
    if not plan.takes:
        raise ValueError(plan.remarks[0])
    caches = {
        take_name: section_caches(*encode(take), place.layout, place.window)
        for take_name, take in plan.takes.items()
    }
    _remove(dataset, name, place.root)
    examples = []
    for take_name, take in plan.takes.items():
        for example in examples_of(take_name, take, name):
            latent_name = LatentName(
                item=example.name, size=place.size, frames=take.frames, section=example.section
            )
            _write(place.root, example, caches[take_name][example.section], latent_name)
            write_text(text_file(kind_cache(place.root, example.kind), example.name), texts[example.caption])
            examples.append(example)
    return _finished(place, dataset, name, examples=tuple(examples), remarks=plan.remarks)


def add_picture(
    place: Place,
    name: str,
    text: TextCache,
    *,
    target: Tensor,
    controls: Sequence[Tensor],
    image_embeds: Tensor,
) -> Added:
    """Adds a picture [1, 16, 1, H, W] that is made from control pictures, with the tokens of the first of them.

    Raises ValueError for a name, a folder or a number of controls that cannot be used, and OSError.
    """
    check_name(name)
    dataset, wanted = place.dataset(), CONTROLS[place.layout]
    if len(controls) != wanted:
        raise ValueError(
            f"{len(controls)} control pictures came, layout {place.layout} needs {wanted}; connect as many to controls."
        )
    context = one_frame_context(layout_named(place.layout, place.window), controls, image_embeds)
    example = Example(name=name, kind=ONE_FRAME, caption=text.caption, clip=name, source=name)
    _remove(dataset, name, place.root)
    latent_name = LatentName(item=name, size=place.size)
    _write(place.root, example, LatentCache(target=target, context=context), latent_name, omit_zeros=True)
    write_text(text_file(kind_cache(place.root, ONE_FRAME), name), text)
    return _finished(place, dataset, name, examples=(example,))


def _remove(dataset: Dataset, source: str, root: Path) -> None:
    for example in dataset.examples:
        if example.source == source:
            remove_caches(example, root)


def _write(
    root: Path, example: Example, cache: LatentCache, name: LatentName, *, omit_zeros: bool = False
) -> None:
    write_latents(kind_cache(root, example.kind) / name.file(), cache, name, omit_zeros=omit_zeros)


def _finished(
    place: Place,
    dataset: Dataset,
    source: str,
    *,
    examples: tuple[Example, ...],
    remarks: tuple[str, ...] = (),
) -> Added:
    whole = dataset.with_source(source, examples)
    if whole.one_frame:
        items = (
            {"image_path": f"{example.name}.png", "caption": example.caption} for example in whole.examples
        )
        write_text_file(place.root / IMAGES, jsonl_of(items))
    write_files(whole, place.root)
    return Added(examples=examples, remarks=remarks, dataset=whole)
