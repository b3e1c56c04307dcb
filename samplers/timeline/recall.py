"""Which earlier scene a prompt with `recall` returns to: that of the prompt whose text is most like its own.

The timeline knows which prompt drew which section, so texts are compared with texts; nothing is decoded or predicted for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..conditioning import Prompt, TextConditioning
from .change import Feature, text_feature
from .syntaxes.spans import PromptSpan


def recalled_prompts(prompts: Sequence[Prompt]) -> dict[Prompt, Prompt]:
    """The earlier prompt to which each of the `prompts` with `recall` returns; none where texts are not encoded.

    `prompts` are those that have sections, in time. The one before is never returned to: what it showed is still there.
    Raises ValueError for a prompt that has no earlier one to return to.
    """
    recalling = [number for number, prompt in enumerate(prompts) if prompt.recall]
    for prompt in (prompts[number] for number in recalling if number < 2):
        raise ValueError(
            f"the prompt at {prompt.start:g} s recalls an earlier scene, but there is none before the one that it follows; "
            "recall takes two prompts with sections of their own before it."
        )
    texts = [prompt.conditioning for prompt in prompts] if recalling else []
    features = [_feature(text) for text in texts if text is not None]
    if len(features) < len(texts):
        return {}
    return {prompts[number]: prompts[recalled_number(features[: number + 1])] for number in recalling}


def recall_remarks(spans: Sequence[PromptSpan], feature_of: Callable[[str], Feature]) -> list[str]:
    """A line for a report about each of the `spans` with `recall`; they are those that have sections, in time."""
    return [
        f"The prompt at {span.start:g} s goes back to the scene of the prompt at "
        f"{spans[recalled_number([feature_of(known.text) for known in spans[: number + 1]])].start:g} s."
        for number, span in enumerate(spans)
        if span.recall
    ]


def recalled_number(features: Sequence[Feature]) -> int:
    """Which of the texts before the last but one points most nearly the way of the last, the latest of equals."""
    *earlier, _, text = features
    alike = [sum(float(mine @ its) for mine, its in zip(text, other)) for other in earlier]
    return max(range(len(earlier)), key=lambda number: (alike[number], number))


def _feature(text: TextConditioning) -> Feature:
    """The feature of the first video's text; all videos of a batch return to the same scene."""
    return text_feature([[text.states, {"attention_mask": text.mask, "pooled_output": text.pooled}]])
