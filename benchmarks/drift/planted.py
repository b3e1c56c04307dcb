"""A drift of a known size, so that a remedy against it can be measured in a model that hardly drifts by itself."""

from __future__ import annotations

from dataclasses import dataclass

from ...samplers.context.colour_anchor import anchor_colours
from ...samplers.context.plan import Section
from ...samplers.techniques.base import Technique
from ...samplers.techniques.preparation import Preparation


@dataclass(frozen=True, kw_only=True)
class PlantedGain(Technique):
    """Lets each section be remembered by `gain` more vivid than the one before it; what is shown stays.

    The n-th section, from 1 on, is multiplied by gain^n in what later ones remember, as if that error had gone on from each to the
    next.

    colour_anchor: the strength of the sampler's colour anchor, which here acts after the drift that it is to take out.
    """

    apply_to: str = "all"
    gain: float = 1.03
    colour_anchor: float = 0.0

    def before_section(self, section: Section, preparation: Preparation) -> None:
        if section.index == 0:
            return
        history = preparation.history
        latest = history.recent(history.latest.shape[2])
        history.replace_recent(self.gain**section.index * latest)
        anchor_colours(history, section, self.colour_anchor)
