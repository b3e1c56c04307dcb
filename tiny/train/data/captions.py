"""One caption for all sections of a clip: what musubi-tuner teaches where a clip has a single caption."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batches import Batches
from .choices import Choices
from .places import PlaceTable

CAPTIONS = ("section", "clip")


class OneCaptionBatches(Batches):
    """Batches whose texts say the scene that a clip changes to, whichever of its sections an example shows."""

    def _caption_sections(self, choices: Choices, table: PlaceTable) -> NDArray[Any]:
        own = super()._caption_sections(choices, table)
        specs = [self.store.specs[clip] for clip in choices.clip]
        changed = [spec.event != "none" for spec in specs]
        return np.where(changed, [spec.switch for spec in specs], own)
