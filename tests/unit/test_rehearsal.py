"""What cannot work together is refused before the first section is rendered."""

from __future__ import annotations

import pytest
from framepack_transitions.samplers.conditioning import Prompt
from framepack_transitions.samplers.context.plan import plan_sections
from framepack_transitions.samplers.denoising.rehearsal import rehearse
from framepack_transitions.samplers.guidance import Guidance
from framepack_transitions.samplers.sigmas import flow_sigmas
from framepack_transitions.samplers.techniques.attention.attention_scaling import AttentionScaling
from framepack_transitions.samplers.techniques.attention.kv_gate import SemanticKVGate
from framepack_transitions.samplers.techniques.attention.rope_jitter import RopeJitter
from framepack_transitions.samplers.techniques.base import Schedule
from framepack_transitions.samplers.techniques.context.blur import ContextBlur
from framepack_transitions.samplers.techniques.context.purge import ContextPurge
from framepack_transitions.samplers.techniques.guidance.adaptive_cfg import AdaptiveCFG
from framepack_transitions.samplers.timeline.assignment import assign_prompts

LATE = [Prompt(start=0.0, text="old", change=0.0), Prompt(start=2.4, text="new")]
NEVER = LATE[:1]


def rehearsed(*techniques, prompts=LATE, steps=10) -> None:
    sections = assign_prompts(plan_sections("f1", 3, 9), prompts)
    schedules = {section.index: Schedule(flow_sigmas(steps, 7.0), 7.0) for section in sections}
    rehearse(techniques, sections, schedules, Guidance())


@pytest.mark.parametrize(
    ("techniques", "words"),
    [
        ((SemanticKVGate(mode="cap"), SemanticKVGate(mode="cap", cap=0.3)), "cap"),
        ((AttentionScaling(), AttentionScaling()), "attention scalings"),
        ((RopeJitter(sigma=0.1), RopeJitter(sigma=0.2)), "jitter"),
        ((ContextPurge(), ContextPurge(history_2x="zero")), r"part of the past \(2x\) in section 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_conflicts_after_a_late_switch_are_found_at_once(techniques, words):
    with pytest.raises(ValueError, match=words):
        rehearsed(*techniques)
    rehearsed(*techniques, prompts=NEVER)
    rehearsed(*techniques[:-1])


def test_a_rest_of_all_steps_is_refused():
    rehearsed(AdaptiveCFG(zero_init=0.5))
    with pytest.raises(ValueError, match="zero_init leaves no step of section 3"):
        rehearsed(AdaptiveCFG(zero_init=0.5), steps=1)


def test_what_goes_together_is_not_refused():
    rehearsed(AdaptiveCFG(), SemanticKVGate(), SemanticKVGate(mode="cap"), ContextPurge(), ContextBlur())
    rehearsed(ContextPurge(t_end=0.5), ContextPurge(t_start=0.5))
