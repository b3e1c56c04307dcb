"""The interface of feature extractors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Extractors without a text tower have this one: it is where CLIP models end up, and stop, in training.
USUAL_LOGIT_SCALE = 100.0


class Extractor(Protocol):
    """Turns frames, and perhaps texts, into vectors of one space.

    name: what reports call it.
    logit_scale: the factor of cosines before a softmax.
    resolution: the short side in px above which larger frames change nothing; None where size always matters.

    Two things are optional. `fields`, an int: features are the colours of fields x fields parts of the picture, row by
    row. `truncated(texts)`: those of the texts whose end the model does not read.
    """

    @property
    def name(self) -> str: ...

    @property
    def logit_scale(self) -> float: ...

    @property
    def resolution(self) -> int | None: ...

    def images(self, frames: Any) -> NDArray[np.float32]:
        """Raw features [N,D] (neither normalised nor centred) of frames [N,H,W,3] in 0..1."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32] | None:
        """Features [M,D] of texts; None without a text tower."""
