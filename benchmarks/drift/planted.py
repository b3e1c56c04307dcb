"""A drift of a known size, so that a remedy against it can be measured in a model that hardly drifts by itself."""

from __future__ import annotations

from dataclasses import dataclass

from ...samplers.context.plan import Section
from ...samplers.techniques.base import Technique
from ...samplers.techniques.preparation import Preparation


@dataclass(frozen=True, kw_only=True)
class PlantedGain(Technique):
    """Multiplies every section by `gain`, once, in what later ones remember; what is shown stays.

    It is applied behind what the colour anchor has done to the section, as a further section's own error would be.
    """

    apply_to: str = "all"
    gain: float = 1.03

    def before_section(self, section: Section, preparation: Preparation) -> None:
        if section.index == 0:
            return
        latest = preparation.history.recent(preparation.history.latest.shape[2])
        preparation.history.replace_recent(self.gain * latest)
