"""What techniques are given in a benchmark that their nodes take from other nodes: models, pictures and texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor

from ....samplers.conditioning import TextConditioning
from ....samplers.techniques.base import Technique
from ....samplers.techniques.context.low_pass import LowPassGuidance
from ....samplers.techniques.guidance.contrastive import ContrastiveGuidance
from ....tiny.bundle import TinyBundle


def objects_for(
    technique: Technique, bundle: TinyBundle, images: Tensor, texts: Mapping[str, TextConditioning]
) -> dict[str, Any]:
    """What a technique reads of VAE, CLIP vision, start images [B,64,64,3] and texts, by the field that holds its key.

    The concept that contrastive guidance refuses is the text "old"; what others look for in the past, "words".
    """
    if isinstance(technique, LowPassGuidance):
        return technique.vision_pair(images, bundle.clip_vision)
    objects = {"vae": bundle.vae, "clip_vision": bundle.clip_vision, "concept": _concept(technique, texts)}
    return {each.name: objects[each.name] for each in fields(technique) if each.name in objects}


def _concept(technique: Technique, texts: Mapping[str, TextConditioning]) -> list[list[Any]] | None:
    """The text that a technique is to act on, as its node takes it; None where it acts on none."""
    if isinstance(technique, ContrastiveGuidance):
        text = texts.get("old") if technique.refusal else None
    else:
        text = texts.get("words")
    if text is None:
        return None
    return [[text.states, {"pooled_output": text.pooled, "attention_mask": text.mask}]]
