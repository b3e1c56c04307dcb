"""Context purge: parts of the packed past are taken out, emptied or coarsened at a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...context.history import Context
from ...context.plan import Section
from ...context.tokens import (
    DIFFERING,
    WITH_MOTION,
    concept_tokens,
    mask_weights,
    token_counts,
)
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
from .repacking import COARSE, with_coarser_frames, with_gap
from .zeroing import with_zeroed_tokens

KEEP, REMOVE, ZERO, ZERO_KV = "keep", "remove", "zero", "zero_kv"
PURGES = (REMOVE, ZERO, ZERO_KV)
# What may be done to a segment; a coarser tier takes its frames whole.
ACTIONS = {
    "start": (KEEP, *PURGES, *COARSE),
    "last": (KEEP, *PURGES, *COARSE),
    "2x": (KEEP, *PURGES, "4x"),
    "4x": (KEEP, *PURGES),
    "image": (KEEP, *PURGES),
}
SELECTIONS = (
    "all",
    "mask",
    "random",
    "most_attended",
    "least_attended",
    "random_in_mask",
    "concept",
    WITH_MOTION,
    DIFFERING,
)
UNDER_MASK = ("mask", WITH_MOTION)  # whole, with whatever the mask covers


@dataclass(frozen=True, kw_only=True)
class ContextPurge(Technique):
    """Flushes parts of the packed past, inside a window of progress.

    Each segment has an action:

    - keep: as it is.
    - remove: its tokens are not packed, as if they had never been; their rows are not computed either.
    - zero: its latents become 0, which is what history holds before there is any; its tokens are still attended to.
    - zero_kv: keys and values of its tokens become 0 in every block; a zero key still takes e^0 of every softmax. Of a
      random share of the tokens under a mask this is the founding form.
    - 2x, 4x: its frames go through the coarser tier's kernel, a learned low-pass, at their own indices.

    remove, zero and zero_kv take the tokens that `select` says: all; those under the mask (half covered or more); these with what moves along with them; a random
    share of 1 - keep_ratio, seeded by seed + section, of all or of those under the mask; or that share of those which the window attended to most or least,
    measured in the section's first evaluation, which therefore still sees everything; or those that show the concept (see
    concepts.concept_weights), which is looked for in one evaluation before it; or those where the section's prompt and the one before
    the switch are drawn differently (see concepts.difference_weights), found in two evaluations; of a batch, in any of its videos.
    keep_ratio and `gap` scale with the switch's change, actions on all do not: they act from a change of `threshold` on. Where the two
    prompts say the same, a purge of what differs does nothing at all.

    `gap` moves the history (last, 2x, 4x) that many latent frames away from the window; where it lies before the window, as
    in F1, the start frame moves away with it. The window stays where it is, for the text to find it where it did.

    start, last, history_2x, history_4x, image: each segment's action.
    select: which tokens are taken.
    keep_ratio: the share of tokens that stays, where a share is taken.
    seed: the seed of a random choice.
    gap: the distance that is added between history and window, in latent frames.
    threshold: the change of a switch from which on it acts.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    mask: the key of the attached mask, for select "mask", "mask_with_motion" and "random_in_mask".
    concept: the key of the attached CONDITIONING that names what is taken, for select "concept".
    keep: the key of that which names what the concept is told from, beside the section's prompt.
    """

    start: str = KEEP
    last: str = "2x"
    history_2x: str = REMOVE
    history_4x: str = REMOVE
    image: str = KEEP
    select: str = "all"
    keep_ratio: float = 0.5
    seed: int = 0
    gap: int = 0
    threshold: float = 0.3
    t_start: float = 1.0
    t_end: float = 0.0
    mask: AttachmentKey = attachment()
    concept: AttachmentKey = attachment()
    keep: AttachmentKey = attachment()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, action in self._actions().items():
            if action not in ACTIONS[name]:
                raise ValueError(f"{name} is {action!r}; choose one of {', '.join(ACTIONS[name])}.")
        if self.select not in SELECTIONS:
            raise ValueError(f"select is {self.select!r}; choose one of {', '.join(SELECTIONS)}.")
        check_range("keep_ratio", self.keep_ratio, 0, 1)
        check_range("gap", self.gap, 0, 100)
        check_range("threshold", self.threshold, 0, 1)
        check_window(self.t_start, self.t_end)

    def context(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        return self._purged(section, context, attachments) if self._for_whole_sections else context

    def context_at(
        self, section: Section, step: Step, context: Context, attachments: Mapping[str, Any]
    ) -> Context:
        if self._for_whole_sections or not in_window(step, self.t_start, self.t_end):
            return context
        return self._purged(section, context, attachments)

    def claims(self, section: Section, step: Step) -> frozenset[str]:
        acts = self._amount(section) > 0 and in_window(step, self.t_start, self.t_end)
        return frozenset(self._touched(section)) if acts else frozenset()

    def concepts(self, section: Section) -> tuple[Concept | Difference, ...]:
        acts = self._sought is not None and bool(self._purging()) and self._amount(section) > 0
        return (self._sought,) if self._sought and acts else ()

    def texts(self) -> tuple[AttachmentKey, ...]:
        return self._concept.keys if self.select == "concept" else ()

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        amount = self._amount(section)
        changes = bool(self._touched(section)) or round(self.gap * amount) > 0
        return {"amount": amount if changes and in_window(step, self.t_start, self.t_end) else 0.0}

    def reads_attention_shares(self, section: Section) -> bool:
        return self._by_attention and bool(self._purging()) and self._share(section) < 1

    @property
    def _for_whole_sections(self) -> bool:
        return (self.t_start, self.t_end) == (1, 0) and not self._by_attention and self._sought is None

    @property
    def _concept(self) -> Concept:
        return Concept(self.concept, self.keep)

    @property
    def _sought(self) -> Concept | Difference | None:
        """What is looked for in the past before anything is taken."""
        if self.select == DIFFERING:
            return Difference()
        return self._concept if self.select == "concept" else None

    @property
    def _by_attention(self) -> bool:
        return self.select.endswith("_attended")

    def _actions(self) -> dict[str, str]:
        return {
            "start": self.start,
            "last": self.last,
            "2x": self.history_2x,
            "4x": self.history_4x,
            "image": self.image,
        }

    def _touched(self, section: Section) -> set[str]:
        """The segments that do not stay as they are."""
        takes_some = (
            self.select in ("all", *UNDER_MASK) or self._sought is not None or self._share(section) < 1
        )
        coarser = {name for name, action in self._actions().items() if action in COARSE}
        return coarser | (self._purging().keys() if takes_some else set())

    def _purging(self) -> dict[str, str]:
        """The segments of which tokens are taken, and how."""
        return {name: action for name, action in self._actions().items() if action in PURGES}

    def _amount(self, section: Section) -> float:
        amount = self.amount(section)
        if self.select == DIFFERING and not section.text_changed:
            return 0.0
        return amount if amount >= self.threshold else 0.0

    def _share(self, section: Section) -> float:
        """The share of tokens that stay, where a share is asked for."""
        return 1 - self._amount(section) * (1 - self.keep_ratio)

    def _purged(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """The context without what is purged; the same object where nothing is."""
        amount = self._amount(section)
        waiting = context.attention_shares is None and self.reads_attention_shares(section)
        waiting |= any(concept.name not in context.concepts for concept in self.concepts(section))
        if amount == 0 or waiting:
            return context
        purged = self._take(section, context, attachments)
        purged = with_coarser_frames(
            purged, {name: to for name, to in self._actions().items() if to in COARSE}
        )
        gap = round(self.gap * amount)
        return replace(purged, indices=with_gap(purged.indices, gap)) if gap else purged

    def _take(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """Remove, zero or mute the selected tokens."""
        for name, kept in self._kept(section, context, attachments).items():
            action = self._purging()[name]
            if action == REMOVE:
                context = replace(context, tokens={**context.tokens, name: _indices(kept)})
            elif action == ZERO_KV:
                context = replace(context, kv_mask={**context.kv_mask, name: kept.float()})
            else:
                context = with_zeroed_tokens(context, name, kept)
        return context

    def _kept(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> dict[str, Tensor]:
        """Which tokens of each segment stay, bool [B or 1, L], for segments that lose some; as many in every row."""
        kept = {}
        generator = torch.Generator().manual_seed((self.seed + section.index) % 2**63)
        for name, count in token_counts(context).items():
            order = torch.randperm(count, generator=generator)
            if name not in self._purging():
                continue
            chosen = self._chosen(section, context, attachments, name=name, order=order)
            if not bool(chosen.all()):
                kept[name] = chosen.to(_device(context))
        return kept

    def _chosen(
        self, section: Section, context: Context, attachments: Mapping[str, Any], *, name: str, order: Tensor
    ) -> Tensor:
        """Which tokens of a segment stay, bool [B or 1, L]."""
        count = len(order)
        if self.select == "all":
            return torch.zeros(1, count, dtype=torch.bool)
        if self._sought is not None:
            return concept_tokens(context, self._sought.name)[name].amax(dim=0, keepdim=True) < 0.5
        if self.select not in UNDER_MASK and self._share(section) == 1:
            return torch.ones(1, count, dtype=torch.bool)
        if self.select in (*UNDER_MASK, "random_in_mask"):
            along = self.select == WITH_MOTION
            stays = mask_weights(context, attachments[self.mask], with_motion=along)[name] < 0.5
            if along:
                stays = stays.all(0, keepdim=True)
            return (
                stays if self.select in UNDER_MASK else stays | _spared(~stays, order, self._share(section))
            )
        if context.attention_shares is not None and self.reads_attention_shares(section):
            # Techniques behind this one may have packed more at the tier's end when it was measured.
            shares = context.attention_shares[name][:, :count]
            if shares.shape[1] != count:
                raise ValueError(
                    f"the {name} part of the past had {shares.shape[1]} tokens in the first step and has {count} now; "
                    "let the context purge that selects by attention come first in the chain of techniques."
                )
            order = shares.argsort(dim=1, descending=self.select == "least_attended")
        order = order if order.ndim == 2 else order[None]
        stays = order[:, : round(self._share(section) * count)]
        return torch.zeros(order.shape, dtype=torch.bool, device=order.device).scatter(1, stays, True)


def _spared(covered: Tensor, order: Tensor, share: float) -> Tensor:
    """Which of the covered tokens [1, L] stay: a share of them, those that come first in a random order [L]."""
    places = order[covered.cpu()[0, order]]
    spared = torch.zeros(1, len(order), dtype=torch.bool)
    spared[0, places[: round(share * len(places))]] = True
    return spared.to(covered.device)


def _device(context: Context) -> torch.device:
    tensors = (context.clean, context.clean_2x, context.clean_4x, context.image_embeds)
    return next(tensor.device for tensor in tensors if tensor is not None)


def _indices(kept: Tensor) -> Tensor:
    """Bool [B, L] with as many True in every row -> their places int64 [B, K], rising."""
    return kept.nonzero()[:, 1].reshape(kept.shape[0], int(kept[0].sum()))
