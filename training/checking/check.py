"""Looks at every example of a dataset and at the folder around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..dataset import Dataset, Example, kind_cache
from ..files import used_repeats
from ..musubi.config import TRAIN_TOML, path_text
from ..musubi.names import latent_files, read_name
from .captions import caption_findings
from .findings import Finding, error, load_example, warning
from .pictures import PictureCheck
from .tensors import tensor_findings


def check(dataset: Dataset, root: Path) -> list[Finding]:
    """All that is wrong with a dataset that is about to be trained on."""
    findings, encoded, pictures = list(folder_findings(dataset, root)), [], PictureCheck()
    for example in trained_examples(dataset):
        item, found = load_example(example, dataset, root)
        findings += [*found, *tensor_findings(item, dataset)]
        if not dataset.one_frame:
            pictures.look(item)
        encoded.append((example, item.caption))
    return [*findings, *caption_findings(encoded), *pictures.findings()]


def trained_examples(dataset: Dataset) -> list[Example]:
    """The examples of those kinds that get a share of an epoch."""
    if dataset.one_frame:
        return list(dataset.examples)
    kinds = used_repeats(dataset)
    return [example for example in dataset.examples if example.kind in kinds]


def folder_findings(dataset: Dataset, root: Path) -> Iterator[Finding]:
    """What is wrong with the configuration, and caches that training would take though the dataset does not have them."""
    config = root / TRAIN_TOML
    if not config.is_file():
        yield error(TRAIN_TOML, "it is missing; run `dataset prune` on the folder, which writes it")
    elif path_text(root) + "/" not in config.read_text(encoding="utf-8", errors="replace"):
        yield error(
            TRAIN_TOML,
            "it names another folder, since this one was moved; run `dataset prune`, which writes it anew",
        )
    if not dataset.examples:
        yield error(str(root), "there are no examples")
    for kind in dataset.kinds:
        names = {example.name for example in dataset.of_kind(kind)}
        for file in latent_files(kind_cache(root, kind)):
            name = read_name(file)
            if name is None or name.item not in names:
                yield error(
                    file.name,
                    "the dataset does not have it, but training takes it; run `dataset prune`, or remove it",
                )
    yield from _share_findings(dataset)


def _share_findings(dataset: Dataset) -> Iterator[Finding]:
    if dataset.one_frame or not dataset.examples:
        return
    counts = dataset.counts()
    for kind, share in dataset.shares.items():
        if share > 0 and not counts.get(kind):
            yield warning(kind, f"there are no such examples, though they should get {share:g} of an epoch")
