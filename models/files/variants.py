"""Which of FramePack's two models a file holds, as far as its name and metadata say.

Both have the same architecture, so the weights do not tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LAYOUT_KEY = "framepack_layout"  # of a MODEL's attachments
F1 = re.compile(r"(?<![a-z0-9])f1(?![a-z0-9])|framepackf1(?![a-z0-9])", re.IGNORECASE)
ORIGINAL = re.compile(r"framepack[-_ ]*i2v", re.IGNORECASE)
TITLES = ("modelspec.title", "modelspec.architecture", "title", "name")


def trained_layout(name: str, metadata: Mapping[str, str]) -> str | None:
    """The sampler's layout that a model was trained for, f1 or original; None where nothing says it.

    name: the file's name below the folder of models; it wins over the metadata.
    metadata: the text in the file's header.
    """
    for text in (name, *(metadata.get(title, "") for title in TITLES)):
        if F1.search(text):
            return "f1"
        if ORIGINAL.search(text):
            return "original"
    return None


def layout_notice(layout: str, trained: str | None) -> str | None:
    """A sentence where the layout of a run is not the one that its model was trained for, else None."""
    if trained is None or trained == layout:
        return None
    kinds = {"f1": "an F1 model, which generates forward", "original": "no F1 model and generates backwards"}
    return (
        f"layout is {layout}, but by its name or its loader this is {kinds[trained]}; set layout to {trained}, or load the "
        "other one."
    )
