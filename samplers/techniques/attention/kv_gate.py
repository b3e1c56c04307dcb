"""Semantic KV gate: the packed past gets less attention while a change takes hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ....models.attention.blocks import Blocks, block_set
from ....models.attention.policy import AttentionPolicy, TokenRule
from ...context.plan import Section
from ...context.tokens import CHANGES, DIFFERING, WITH_MOTION, moving_with
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

MODES = ("bias", "cap", "drop", "founding")
TOKENS = ("all", "mask", WITH_MOTION, *CHANGES, "concept", DIFFERING)
# The segments that can be gated, and the fields that weigh them.
WEIGHTS = {"4x": "history_4x", "2x": "history_2x", "start": "start", "last": "last", "image": "image"}


@dataclass(frozen=True, kw_only=True)
class SemanticKVGate(Technique):
    """Weighs the past's keys down for the window's query rows, inside a window of progress.

    - bias: logits of a segment's keys minus gamma times the segment's weight, in proportion to the change; gamma 0 is off.
    - founding: the founding form softmax(QK/sqrt(d) - gamma M) with M the segments' weights: all of gamma where the change
      is above `threshold` (the founding documents use 0.3), nothing where it is not; gamma 0 is off.
    - cap: the past's share of attention is bounded, row by row and head by head; cap 1 is off.
    - drop: the past is not attended at all (gamma to infinity).

    Text and image rows go on reading the past and relay it, unless `gate_text_rows` is set; rows of the past itself are
    never gated, which would corrupt the anchors. Weights of 0 leave a segment alone. A change below `threshold` is
    ignored, and in mode founding one of `threshold` too.

    With `tokens` other than all, M belongs to each token: how far it lies under the attached mask, how much it moves over
    the remembered frames, or how still it stands (see tokens.changing_cells), or whether it shows the concept (see
    concepts.concept_weights), which is looked for anew in every section, in one evaluation, or whether it lies where the section's
    prompt and the one before the switch are drawn differently (see concepts.difference_weights), in two; where these say the same,
    nothing is gated. Then bias and founding add -gamma M, cap bounds the share that goes to the tokens' parts M, and drop leaves
    1 - M of what a token would get.

    mode: one of the above.
    gamma: what is taken from the logits, in modes bias and founding.
    cap: the largest share of attention that the past may get, in mode cap.
    start, last, history_2x, history_4x, image: each segment's weight; gamma is multiplied by it.
    gate_text_rows: whether the queries of text and image tokens are gated too.
    threshold: the change of a switch below which nothing is gated.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    blocks: the blocks in which it acts, such as "double:0-3; single:0-7"; empty for all.
    tokens: which tokens are gated: all, those under the mask, these with what moves along with them, those that move, those that
        stand still, those of the concept, or those where the two prompts differ.
    mask: the key of the attached mask, for tokens "mask" and "mask_with_motion".
    concept: the key of the attached CONDITIONING that names what is gated, for tokens "concept".
    keep: the key of that which names what the concept is told from, beside the section's prompt.
    """

    mode: str = "bias"
    gamma: float = 1.0
    cap: float = 0.1
    start: float = 1.0
    last: float = 1.0
    history_2x: float = 1.0
    history_4x: float = 1.0
    image: float = 0.0
    gate_text_rows: bool = False
    threshold: float = 0.0
    t_start: float = 1.0
    t_end: float = 0.54
    blocks: str = ""
    tokens: str = "all"
    mask: AttachmentKey = attachment()
    concept: AttachmentKey = attachment()
    keep: AttachmentKey = attachment()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; choose one of {', '.join(MODES)}.")
        if self.tokens not in TOKENS:
            raise ValueError(f"tokens is {self.tokens!r}; choose one of {', '.join(TOKENS)}.")
        check_range("gamma", self.gamma, 0, 100)
        check_range("cap", self.cap, 0, 1)
        check_range("threshold", self.threshold, 0, 1)
        for name in WEIGHTS.values():
            check_range(name, getattr(self, name), 0, 10)
        check_window(self.t_start, self.t_end)
        block_set(self.blocks)

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        amount = self._gated(section)
        if amount == 0 or self._is_off or not in_window(step, self.t_start, self.t_end):
            return policy
        segments = frozenset(name for name, weight in self._weights().items() if weight > 0)
        rows = frozenset({"noisy", "text", "image"} if self.gate_text_rows else {"noisy"})
        gated = placed(policy, rows, block_set(self.blocks))
        if self.tokens != "all":
            return self._by_token(gated, "drop" if self._drops else self._kind, segments, amount)
        if self._drops:
            return replace(gated, dropped=policy.dropped | segments)
        if self._kind == "bias":
            return gated.biased(self._biases(amount))
        return replace(gated, cap=self._cap(policy, amount), capped=segments)

    def concepts(self, section: Section) -> tuple[Concept | Difference, ...]:
        if self._gated(section) == 0 or self._is_off:
            return ()
        if self.tokens == DIFFERING:
            return (Difference(),)
        return (self._concept,) if self.tokens == "concept" else ()

    def texts(self) -> tuple[AttachmentKey, ...]:
        return self._concept.keys if self.tokens == "concept" else ()

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {}

    @property
    def _concept(self) -> Concept:
        return Concept(self.concept, self.keep)

    @property
    def _drops(self) -> bool:
        """Whether the past is not attended at all."""
        return self.mode == "drop" or (self.mode == "cap" and self.cap == 0)

    @property
    def _is_off(self) -> bool:
        """Whether its settings change nothing in any section."""
        if not any(self._weights().values()):
            return True
        return not self._drops and (self.cap == 1 if self.mode == "cap" else self.gamma == 0)

    @property
    def _kind(self) -> str:
        """What is done to keys: bias, cap or drop."""
        return "bias" if self.mode == "founding" else self.mode

    def _gated(self, section: Section) -> float:
        """The change as far as the gate reckons with it; everywhere it is 1, whatever the threshold."""
        amount = self.amount(section)
        if self.tokens == DIFFERING and not section.text_changed:
            return 0.0
        if self.apply_to == "all":
            return amount
        if self.mode == "founding":
            return 1.0 if amount > self.threshold else 0.0
        return 0.0 if amount < self.threshold else amount

    @property
    def source(self) -> str:
        """What the weights of single tokens are made of, see `token_weights`."""
        named = {"mask": self.mask, WITH_MOTION: moving_with(self.mask), "concept": self._concept.name}
        return named.get(self.tokens, self.tokens)

    def _by_token(
        self, policy: AttentionPolicy, kind: str, segments: frozenset[str], amount: float
    ) -> AttentionPolicy:
        """The policy with rules for single tokens; segments of equal weight share one."""
        source = self.source
        if kind != "bias":
            rules = [TokenRule(kind=kind, segments=segments, source=source)]
        else:
            biases = self._biases(amount)
            rules = [
                TokenRule(
                    kind=kind,
                    segments=frozenset(name for name in biases if biases[name] == bias),
                    source=source,
                    bias=torch.tensor(bias),
                )
                for bias in dict.fromkeys(biases.values())
            ]
        policy = replace(policy, by_token=(*policy.by_token, *rules))
        return replace(policy, cap=self._cap(policy, amount), capped=frozenset()) if kind == "cap" else policy

    def _cap(self, policy: AttentionPolicy, amount: float) -> torch.Tensor:
        """The cap, relaxed by a small change. Raises ValueError where another gate caps already."""
        if policy.cap is not None:
            raise ValueError("two KV gates of mode cap act on the same section; keep one of them.")
        return torch.tensor(self.cap**amount)

    def _weights(self) -> dict[str, float]:
        """How much each segment is gated."""
        return {segment: getattr(self, name) for segment, name in WEIGHTS.items()}

    def _biases(self, amount: float) -> dict[str, float]:
        """What the gate adds to each segment's logits."""
        return {name: -self.gamma * weight * amount for name, weight in self._weights().items() if weight > 0}


def placed(policy: AttentionPolicy, rows: frozenset[str], blocks: Blocks) -> AttentionPolicy:
    """The policy with a gate's rows and blocks, which all gates of a section share, and a blur's decay takes on."""
    if policy.has_gate and (rows, blocks) != (policy.rows, policy.blocks):
        raise ValueError(
            "two KV gates with different blocks or gate_text_rows act on the same section; give both the same."
        )
    return replace(policy, rows=rows, blocks=blocks, has_gate=True)
