"""The denoiser of one section, which both drivers call: it decides which predictions a step needs and combines them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ...models.attention.policy import AttentionPolicy
from ...models.attention.probe import Probe
from ...models.caching.step_cache import Signal
from ..conditioning import TextConditioning
from ..context.history import Context
from ..context.plan import Section
from ..context.tokens import weigh_tokens
from ..guidance import Guidance, combine_cfg, project_negative, rescale_guidance
from ..sigmas import unshift_sigma
from ..techniques.base import (
    NEGATIVE,
    POSITIVE,
    Concept,
    Difference,
    Prediction,
    Schedule,
    Step,
    Technique,
)
from ..techniques.chain import attention_at, concepts_at, context_at, guidance_at, predictions_at
from .caching.section import SectionCache
from .evaluating.branch import Branch, Evaluate
from .evaluating.finding import find
from .faults.finite import FiniteCheck
from .memory import StepMemory, first_shares, memory_record

CombineCFG = Callable[[Tensor, Tensor | None, float], Tensor]


class SectionDenoiser:
    """Predicts x0 for one section.

    section: the section.
    context: its packed past, as techniques left it for the whole section.
    texts: the conditionings that predictions name; empty where nothing is evaluated.
    guidance: the scales before techniques change them.
    shift: turns sigmas into progress t, by which techniques place their windows.
    techniques: what acts on its steps, in order.
    attachments: the objects that techniques read, by key.
    measure: whether every step's attention to the packed past is measured, for `memory`.
    attention_rows: how many query rows attend at a time; None for all.

    `evaluations` counts those of the model so far; `cache`, where it is set, reuses some of them; `finite` checks what they gave.
    """

    def __init__(
        self,
        *,
        section: Section,
        context: Context,
        guidance: Guidance,
        texts: Mapping[str, TextConditioning] | None = None,
        shift: float = 1.0,
        techniques: Sequence[Technique] = (),
        attachments: Mapping[str, Any] | None = None,
        measure: bool = False,
        attention_rows: int | None = None,
    ) -> None:
        self.section = section
        self.context = context
        self.texts = texts or {}
        self.evaluations = 0
        self.attention_rows = attention_rows
        self.finite = FiniteCheck()
        self.cache: SectionCache | None = None
        self.largest_concept = 1.0  # share of the start frame and the last one (see concept_weights)
        self._guidance = guidance
        self._shift = shift
        self._techniques = techniques
        self._attachments = attachments or {}
        self._measure = measure
        self._measured: list[StepMemory] = []

    @property
    def cfg(self) -> float:
        """The scale of real guidance before techniques change it."""
        return self._guidance.cfg

    def step(self, sigma: float) -> Step:
        """The step at a noise level."""
        return Step(sigma, unshift_sigma(sigma, self._shift))

    def guidance(self, step: Step) -> Guidance:
        """The sampler's scales as the techniques leave them."""
        return guidance_at(self._techniques, self.section, step, self._guidance)

    def attention(self, step: Step) -> AttentionPolicy | None:
        """How the techniques want a step to attend; None leaves the model's attention untouched."""
        return attention_at(self._techniques, self.section, step)

    def predictions(self, step: Step, guidance: Guidance) -> list[Prediction]:
        """Every prediction that a step needs, the guided text's first; none where nothing moves."""
        if guidance.zero_velocity:
            return []
        guided = [POSITIVE, NEGATIVE] if guidance.needs_negative else [POSITIVE]
        wanted = predictions_at(self._techniques, self.section, step)
        return list(dict.fromkeys([*guided, *wanted]))

    def planned_evaluations(self, schedule: Schedule) -> int:
        """How many evaluations of the model a schedule will take: those of its steps, and those that look for concepts."""
        steps = map(self.step, schedule.sigmas[:-1].tolist())
        predicted = {step: n for step in steps if (n := len(self.predictions(step, self.guidance(step))))}
        sought = {
            concept for step in predicted for concept in concepts_at(self._techniques, self.section, step)
        }
        return sum(predicted.values()) + sum(concept.evaluations for concept in sought)

    def context_at(self, step: Step) -> Context:
        """The packed past as the techniques want a step to see it; the section's own where nothing changes it."""
        return context_at(
            self._techniques, self.section, step, context=self.context, attachments=self._attachments
        )

    def describe(self, step: Step) -> list[dict[str, float]]:
        """The numbers that each technique records of a step, for the trace."""
        return [technique.describe(self.section, step) for technique in self._techniques]

    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        evaluate: Evaluate,
        combine: CombineCFG = combine_cfg,
        *,
        cfg: float | None = None,
    ) -> Tensor:
        """x0 for x [B, 16, T, H, W] at sigma [B].

        combine: lets the host apply its own guidance functions.
        cfg: the scale of real guidance in place of that of sampler and techniques; None for theirs.

        Raises NotFiniteError where the predictions of the call before are not finite.
        """
        step = self.step(float(sigma[0]))
        self.finite.read()
        guidance, attention = self.guidance(step), self.attention(step)
        if cfg is not None:
            guidance = replace(guidance, cfg=cfg)
        wanted = self.predictions(step, guidance)
        if not wanted:
            return x
        for concept in self._missing_concepts(step):
            self._find(concept, evaluate, (x, sigma))
        context, probe = self.context_at(step), self._probe()
        guided = 2 if guidance.needs_negative else 1
        attention = weigh_tokens(attention, context, self._attachments)
        branches = [
            Branch(
                text=prediction.text,
                context=context.without(prediction.past),
                distilled=guidance.distilled,
                attention=attention,
                attention_rows=self.attention_rows,
                past=prediction.past,
                guided=number < guided,
            )
            for number, prediction in enumerate(wanted)
        ]
        branches[0] = replace(branches[0], probe=probe)
        predictions = dict(zip(wanted, self._evaluate(evaluate, wanted, branches, (x, sigma))))
        self.finite.keep(step, predictions, x=x, context=context)
        self._read(probe, step)
        x0 = guide(predictions, x, sigma, guidance=guidance, combine=combine)
        for technique in self._techniques:
            x0 = technique.combine(self.section, step, x0, predictions)
        return x0

    def memory(self) -> dict[str, Any] | None:
        """Where the section's attention went, as plain data for the trace; None unless it was measured."""
        return memory_record(self._measured)

    @property
    def waits_for_attention(self) -> bool:
        """Whether a technique acts from the second evaluation on, by what the first one attended to."""
        return any(technique.reads_attention_shares(self.section) for technique in self._techniques)

    def acts_by_attention(self, step: Step) -> bool:
        """Whether such a technique acts in a step, once the first evaluation is behind it."""
        return any(
            t.reads_attention_shares(self.section) and t.claims(self.section, step) for t in self._techniques
        )

    def acts_by_concept(self, step: Step) -> bool:
        """Whether a technique takes parts of the past apart in a step by the concepts that were found in them."""
        return any(t.concepts(self.section) and t.claims(self.section, step) for t in self._techniques)

    def _missing_concepts(self, step: Step) -> list[Concept | Difference]:
        """What a step needs to have been looked for and was not yet."""
        wanted = concepts_at(self._techniques, self.section, step)
        return [concept for concept in wanted if concept.name not in self.context.concepts]

    def _find(self, concept: Concept | Difference, evaluate: Evaluate, at: tuple[Tensor, Tensor]) -> None:
        """Look for a concept in all tokens of the section's past, in evaluations `at` (x, sigma) of its own."""
        asked = Branch(
            text=concept.name,
            context=replace(self.context, tokens={}, kv_mask={}),
            distilled=self._guidance.distilled,
            attention_rows=self.attention_rows,
        )
        ask = lambda branches: evaluate(branches, *at)  # noqa: E731
        found = find(concept, asked, self.texts, ask, most=self.largest_concept)
        self.evaluations += concept.evaluations
        self.context = replace(self.context, concepts={**self.context.concepts, concept.name: found})

    def _evaluate(
        self,
        evaluate: Evaluate,
        wanted: Sequence[Prediction],
        branches: Sequence[Branch],
        at: tuple[Tensor, Tensor],
    ) -> list[Tensor]:
        """The predictions of a step `at` (x, sigma), those that the step cache reuses uncounted."""
        if self.cache is None:
            self.evaluations += len(branches)
            return evaluate(branches, *at)

        def ask(kind: str) -> Tensor:
            signal = Signal(kind)
            evaluate([replace(branches[0], probe=None, signal=signal)], *at)
            return signal.given()

        evaluation = self.cache.begin(float(at[1][0]), wanted, ask)
        predictions = evaluate([replace(branch, cache=evaluation.blocks) for branch in branches], *at)
        self.cache.end(evaluation)
        self.evaluations += len(branches) * evaluation.is_computed
        return predictions

    def _probe(self) -> Probe | None:
        """A probe for a step whose attention is measured: each one with `measure`, the first where a technique needs it."""
        wanted = self.context.attention_shares is None and self.waits_for_attention
        return Probe(tokens=wanted) if wanted or self._measure else None

    def _read(self, probe: Probe | None, step: Step) -> None:
        """Keep what was measured, without waiting for it."""
        if probe is None or (shares := first_shares(probe)) is None:
            return
        if self._measure:
            self._measured.append(StepMemory(step, shares))
        if probe.tokens:
            self.context = replace(self.context, attention_shares=shares.of_tokens)


def guide(
    predictions: Mapping[Prediction, Tensor],
    x: Tensor,
    sigma: Tensor,
    *,
    guidance: Guidance,
    combine: CombineCFG = combine_cfg,
) -> Tensor:
    """x0 [B, 16, T, H, W] from the predictions of the positive and, where the scale asks for it, the negative text."""
    positive = predictions[POSITIVE]
    if not guidance.needs_negative:
        return combine(positive, None, 1.0)
    negative = predictions[NEGATIVE]
    if guidance.zero_star:
        negative = project_negative(negative, positive, x)
    guided = combine(positive, negative, guidance.cfg)
    return rescale_guidance(guided, positive, x, sigma, amount=guidance.rescale)
