"""Looks for concepts, and for what two prompts are drawn differently in, by evaluations that move nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ....models.attention.concept_probe import ConceptProbe
from ...conditioning import TextConditioning
from ...context.concepts import concept_weights, difference_weights
from ...techniques.base import POSITIVE, PREVIOUS, Concept, Difference
from .branch import Branch


def find(
    concept: Concept | Difference,
    asked: Branch,
    texts: Mapping[str, TextConditioning],
    evaluate: Callable[[Sequence[Branch]], list[Tensor]],
    *,
    most: float,
) -> dict[str, Tensor]:
    """How far a concept, or a difference, lies in each token of the past, [B, L] in [0, 1] by segment.

    `asked` is a branch that sees all of the past, under no gate; `texts` are those of the section. `most` is the
    largest share of the fine tokens that a concept may fill (see concept_weights).
    """
    if isinstance(concept, Difference):
        pair = [replace(asked, text=each.text, compared=True) for each in (POSITIVE, PREVIOUS)]
        new, old = evaluate(pair)
        return difference_weights(new, old, asked.context)
    probe = ConceptProbe(texts[concept.text].states.shape[1])
    evaluate([replace(asked, probe=probe)])
    return concept_weights(probe.first(), asked.context, most)
