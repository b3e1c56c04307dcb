"""Dual memory: what the past shows of a concept, and the scene around it, are forgotten each by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log1p

import torch

from ....models.attention.policy import AttentionPolicy, TokenRule
from ...context.plan import Section
from ...context.tokens import DIFFERING
from ...events import AUTO, EVENTS
from ..base import (
    AttachmentKey,
    Concept,
    Difference,
    Step,
    Technique,
    attachment,
    check_range,
    check_window,
    in_window,
)
from .kv_gate import placed

CONTENT = ("concept", "mask", "moving", DIFFERING)
SEGMENTS = frozenset({"4x", "2x", "start", "last", "image"})
# How much of `content` and of `scene` an event forgets.
SHARES = {"gone": (1.0, 0.0), "new_look": (0.5, 0.0), "new_place": (0.0, 1.0), "cut": (1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class DualMemory(Technique):
    """Divides the packed past into content and scene and takes attention from each, inside a window of progress.

    M says how far a token belongs to the content: whether it shows the concept (see concepts.concept_weights), lies under the
    mask, moves over the remembered frames, or lies where the section's prompt and the one before the switch are drawn differently
    (see concepts.difference_weights); 1 - M is the scene. Where these two prompts say the same, nothing differs and nothing is
    forgotten. The window's rows pay to a token 1 - s of what they would, s = content for M = 1 and s = scene for M = 0, times the
    switch's change and what its event says:

    - gone: the content is forgotten and the scene kept, for something that leaves.
    - new_look: half of `content`, for something that stays where it is and looks otherwise.
    - new_place: the scene is forgotten and the content kept, for something that goes on elsewhere.
    - cut: both are forgotten.
    - auto: what the timeline's entry says (see Section.event).

    content: how much of the attention to the content is taken, from 0 (off) to 1 (all).
    scene: how much of that to the scene.
    event: one of the above.
    tokens: what the content is: concept, mask, moving or differing.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    concept: the key of the attached CONDITIONING that names the content, for tokens "concept".
    keep: the key of that which names what the concept is told from, beside the section's prompt.
    mask: the key of the attached mask, for tokens "mask".
    control: the key of a CONDITIONING that is looked for as well and only shown: a word that is not in the picture, for
        comparison.
    """

    content: float = 1.0
    scene: float = 0.6
    event: str = AUTO
    tokens: str = "concept"
    t_start: float = 1.0
    t_end: float = 0.54
    concept: AttachmentKey = attachment()
    keep: AttachmentKey = attachment()
    mask: AttachmentKey = attachment()
    control: AttachmentKey = attachment()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, options in (("event", EVENTS), ("tokens", CONTENT)):
            if getattr(self, name) not in options:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(options)}.")
        check_range("content", self.content, 0, 1)
        check_range("scene", self.scene, 0, 1)
        check_window(self.t_start, self.t_end)

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        rules = tuple(self._rules(section)) if in_window(step, self.t_start, self.t_end) else ()
        if not rules:
            return policy
        gated = placed(policy, frozenset({"noisy"}), None)
        return replace(gated, by_token=(*policy.by_token, *rules))

    def concepts(self, section: Section) -> tuple[Concept | Difference, ...]:
        if self.tokens not in ("concept", DIFFERING) or not any(self.shares(section)):
            return ()
        if self.tokens == DIFFERING:
            return (Difference(),)
        control = Concept(self.control, self.keep)
        return (self._concept, control) if self.control else (self._concept,)

    def texts(self) -> tuple[AttachmentKey, ...]:
        keys = (self.concept, self.keep, self.control) if self.tokens == "concept" else ()
        return tuple(key for key in keys if key)

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        content, scene = self.shares(section) if in_window(step, self.t_start, self.t_end) else (0.0, 0.0)
        return {"content": content, "scene": scene}

    def shares(self, section: Section) -> tuple[float, float]:
        """How much of the attention to content and to scene is taken in a section, from 0 to 1."""
        if self.tokens == DIFFERING and not section.text_changed:
            return 0.0, 0.0
        content, scene = SHARES[section.event if self.event == AUTO else self.event]
        amount = self.amount(section)
        return self.content * content * amount, self.scene * scene * amount

    @property
    def _concept(self) -> Concept:
        return Concept(self.concept, self.keep)

    def _rules(self, section: Section) -> Iterator[TokenRule]:
        """A rule for the content and one for the scene, as far as they are forgotten."""
        source = {"mask": self.mask, "concept": self._concept.name}.get(self.tokens, self.tokens)
        for inverted, share in enumerate(self.shares(section)):
            if share > 0:
                yield TokenRule(
                    kind="drop" if share == 1 else "bias",
                    segments=SEGMENTS,
                    source=source,
                    bias=None if share == 1 else torch.tensor(log1p(-share)),
                    inverted=bool(inverted),
                )
