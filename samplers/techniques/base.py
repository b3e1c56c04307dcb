"""What a technique is: its hooks, and the values that these take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, NewType

from torch import Tensor

from ...models.attention.policy import AttentionPolicy
from ..context.history import Context
from ..context.plan import Section
from ..context.tokens import DIFFERING
from ..guidance import Guidance

if TYPE_CHECKING:
    from .preparation import Preparation

APPLY_TO = ("transition", "later_prompts", "all")
# How far off its place a t may lie that was computed from a sigma in float32.
EDGE = 1e-4


# The name under which an object is attached to a MODEL; empty for none.
AttachmentKey = NewType("AttachmentKey", str)


def attachment() -> AttachmentKey:
    """A technique's field that holds the key of an attached object, none by default."""
    key: AttachmentKey = field(default=AttachmentKey(""), metadata={"attachment": True})
    return key


@dataclass(frozen=True)
class Step:
    """One evaluation of the model: its noise level sigma, and t, the same as unshifted progress from 1 to 0."""

    sigma: float
    t: float


@dataclass(frozen=True, eq=False)
class Schedule:
    """Noise levels of a section.

    sigmas: float32 [steps + 1], falling to 0.
    shift: the shift s that turns progress t into sigma = s t / (1 + (s - 1) t), and back.
    is_replaced: whether a technique has chosen them, which only one can.
    """

    sigmas: Tensor
    shift: float
    is_replaced: bool = False

    @property
    def steps(self) -> int:
        """How many steps it has, one fewer than noise levels."""
        return len(self.sigmas) - 1


PASTS = ("full", "anchor", "none")


@dataclass(frozen=True)
class Prediction:
    """A prediction of x0 that a step needs.

    text: under which text: positive, negative, previous (the prompt before the switch), or the key of an attached
        CONDITIONING.
    past: from how much of the packed past: full, anchor (the start frame over empty history, as a first section sees
        it) or none (text to video).
    """

    text: str = "positive"
    past: str = "full"

    def __post_init__(self) -> None:
        if self.past not in PASTS:
            raise ValueError(f"past is {self.past!r}; choose one of {', '.join(PASTS)}.")

    @property
    def name(self) -> str:
        """For the trace."""
        return self.text if self.past == "full" else f"{self.text}/{self.past}"


POSITIVE, NEGATIVE, PREVIOUS = Prediction(), Prediction("negative"), Prediction("previous")


@dataclass(frozen=True)
class Concept:
    """Something in the packed past that a text names.

    text: the key of the attached CONDITIONING that names it.
    keep: the key of that which names what it is to be told from, beside the section's own prompt; empty for that alone.
    """

    text: AttachmentKey
    keep: AttachmentKey = AttachmentKey("")

    @property
    def keys(self) -> tuple[AttachmentKey, ...]:
        """The texts that it takes beside the section's own."""
        return (self.text, self.keep) if self.keep else (self.text,)

    @property
    def name(self) -> str:
        """What it is called where it was looked for: its texts behind one another."""
        return "+".join((*self.keys, POSITIVE.text))

    @property
    def evaluations(self) -> int:
        """How many evaluations of the model it takes to look for it."""
        return 1


@dataclass(frozen=True)
class Difference:
    """What the section's prompt and the one before the latest switch are drawn differently in; see concepts.difference_weights."""

    @property
    def keys(self) -> tuple[AttachmentKey, ...]:
        """The attached texts that it takes: none."""
        return ()

    @property
    def name(self) -> str:
        """What it is called where it was looked for."""
        return DIFFERING

    @property
    def evaluations(self) -> int:
        """How many evaluations of the model it takes: one under each prompt."""
        return 2


@dataclass(frozen=True, kw_only=True)
class Technique:
    """A remedy for memory that resists a change. It does nothing until the sampler calls one of its hooks.

    Its fields are scalars and strings alone, because every node copies them. Tensors and other objects that it needs are
    attached to the MODEL (see `with_technique`): a field made by `attachment` holds the key, and the hooks that may read
    objects get all of them as `attachments`. Raises ValueError for values that it cannot use.

    apply_to: "transition" acts after a switch of the prompt, scaled by the switch's change; "later_prompts" in every section whose
        prompt leaves the start frame's scene, scaled by the change to it (see Section.departure); "all" in every section, in full.
    sections: on how many sections generated after a switch it acts.
    section_decay: how much of it each of these gets of what the one before it got, from 0 to 1.
    """

    apply_to: str = "transition"
    sections: int = 1
    section_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.apply_to not in APPLY_TO:
            raise ValueError(f"apply_to is {self.apply_to!r}; choose one of {', '.join(APPLY_TO)}.")
        if self.sections < 1:
            raise ValueError(f"sections is {self.sections}; give at least 1.")
        check_range("section_decay", self.section_decay, 0, 1)
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{name} is {value}; give a finite number.")

    @classmethod
    def attachment_names(cls) -> frozenset[str]:
        """The fields that hold keys of attached objects."""
        return frozenset(each.name for each in fields(cls) if "attachment" in each.metadata)

    def amount(self, section: Section) -> float:
        """How much of the technique a section gets, from 0 (none) to 1; after a switch change * section_decay^n after n others."""
        if self.apply_to == "all":
            return 1.0
        if self.apply_to == "later_prompts":
            return section.departure
        if section.since_switch is None or section.since_switch >= self.sections:
            return 0.0
        return section.change * self.section_decay**section.since_switch

    def schedule(self, section: Section, schedule: Schedule) -> Schedule:
        """Noise levels of a section, from those that the techniques before left; the first and last one must stay."""
        return schedule

    def before_section(self, section: Section, preparation: Preparation) -> None:
        """What is done before a section is sampled: `preparation` can denoise, and change what the section remembers."""

    def context(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        """The packed past of a section, from what the techniques before left; tensors are on the CPU."""
        return context

    def claims(self, section: Section, step: Step) -> frozenset[str]:
        """Parts of the packed past that it takes apart in a step, which no other technique may take too."""
        return frozenset()

    def context_at(
        self, section: Section, step: Step, context: Context, attachments: Mapping[str, Any]
    ) -> Context:
        """The packed past of one step, from that of the section; the same object when nothing changes."""
        return context

    def texts(self) -> tuple[AttachmentKey, ...]:
        """Keys of attached CONDITIONINGs that its predictions name."""
        return ()

    def concepts(self, section: Section) -> tuple[Concept | Difference, ...]:
        """What is looked for in the packed past, for Context.concepts; see chain.concepts_at for when."""
        return ()

    def predictions(self, section: Section, step: Step) -> tuple[Prediction, ...]:
        """Predictions that `combine` needs in this step; equal ones of several techniques are made once."""
        return ()

    def combine(
        self, section: Section, step: Step, x0: Tensor, predictions: Mapping[Prediction, Tensor]
    ) -> Tensor:
        """x0 [B, 16, T, H, W] of this step, from the guided one that the techniques before left and all predictions."""
        return x0

    def guidance(self, section: Section, step: Step, guidance: Guidance) -> Guidance:
        """Scales of this step, from those that the techniques before left."""
        return guidance

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        """How this step attends, from what the techniques before left."""
        return policy

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        """Numbers for the trace and its picture, by name. Those of one technique share an axis.

        Where a technique has nothing better to say it shows its `amount` inside its window (t_start, t_end). Nothing is
        computed from these; guidance, attention and predictions are shown without them.
        """
        return {"amount": self.amount(section) if self.is_inside(step) else 0.0}

    def is_inside(self, step: Step) -> bool:
        """Whether a step lies in its window (t_start, t_end); every one does where it has none."""
        return in_window(step, getattr(self, "t_start", 1.0), getattr(self, "t_end", 0.0))

    def reads_attention_shares(self, section: Section) -> bool:
        """Whether `context_at` reads Context.attention_shares, which the section's first evaluation then measures."""
        return False


def check_window(t_start: float, t_end: float) -> None:
    """Raises ValueError when a window of progress is not 1 >= t_start > t_end >= 0."""
    if not 1 >= t_start > t_end >= 0:
        raise ValueError(
            f"the window runs from t {t_start} to {t_end}; t counts down from 1 (noise) to 0 (clean), so give "
            "1 >= t_start > t_end >= 0."
        )


def in_window(step: Step, t_start: float, t_end: float) -> bool:
    """Whether a step's progress lies in (t_end, t_start], or in [0, t_start] for a t_end of 0.

    A step on t_start is inside and one on t_end is not, so that windows that touch share out the steps. t is recovered
    from a float32 sigma, so what lies within EDGE of an edge lies on it.
    """
    return (t_end == 0 or step.t > t_end + EDGE) and step.t <= t_start + EDGE


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError when a value is not in [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; give a value from {low:g} to {high:g}.")
