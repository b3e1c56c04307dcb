"""One rising list of spans from those that a notation gave in any order."""

from __future__ import annotations

from dataclasses import replace

from .spans import PlacedSpan, PromptSpan, PromptSyntaxError

_NEEDS_A_PROMPT_BEFORE = {
    "recall": "recall returns to an earlier prompt",
    "sham": "a sham switch repeats the prompt before it",
    "cut": "a cut ends the shot of the prompt before it",
    "blend": "~ blends with the prompt before it",
}


def join_spans(placed: list[PlacedSpan], text: str) -> list[PromptSpan]:
    """The spans in rising order, the first one from 0 s, without those that only repeat the prompt before them.

    Raises PromptSyntaxError for two spans that start together, and for options that contradict the span before.
    """
    first, *rest = sorted(placed, key=lambda item: item.span.start)
    _check_first(first, text)
    spans, latest = [replace(first.span, start=0.0)], first.span.start
    for position, span in rest:
        if span.recall and len(spans) < 2:
            raise PromptSyntaxError(
                text,
                position,
                "recall returns to a prompt before the one that it follows, and there is none yet; write cut for a new shot, or "
                "remove recall.",
            )
        if span.start == latest:
            raise PromptSyntaxError(
                text,
                position,
                f"two prompts start at {span.start:g} s; give each a "
                "start of its own (text outside the brackets starts at 0 s).",
            )
        latest = span.start
        if not _continues(span, spans[-1], text, position):
            spans.append(span)
    return spans


def _check_first(first: PlacedSpan, text: str) -> None:
    for option, needs in _NEEDS_A_PROMPT_BEFORE.items():
        if getattr(first.span, option):
            raise PromptSyntaxError(
                text, first.position, f"{needs}, but this one is the first; remove that option."
            )


def _continues(span: PromptSpan, running: PromptSpan, text: str, position: int) -> bool:
    """Whether a span is no switch, because it repeats the prompt before it."""
    same = span.text == running.text
    if span.sham and not same:
        raise PromptSyntaxError(
            text,
            position,
            "a sham switch must repeat the prompt before it word for "
            "word; copy that prompt, or remove `sham`.",
        )
    if not same or span.sham or span.forced or span.cut:
        return False
    if span.section_seed is not None:
        raise PromptSyntaxError(
            text,
            position,
            "this prompt repeats the one before, so that no section is its first; add ! to make it a switch, or give the "
            "seed to the sampler's section_seeds.",
        )
    if span.state not in ("", running.state):
        raise PromptSyntaxError(
            text,
            position,
            "this prompt repeats the one before but its state text "
            "differs; change the prompt, or remove the state text.",
        )
    return True
