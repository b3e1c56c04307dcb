"""Which sections each prompt of a text really gets.

FramePack generates whole sections, so a switch moves to the nearest border between two of them. Where a prompt is to land
on its own frame, a section ends there, and is shorter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..conditioning import Prompt
from ..context.plan import FPS, LAYOUTS, Section, plan_sections
from .assignment import assign_prompts, frame_borders
from .syntaxes.spans import PromptSpan
from .timeline import VideoLength

MOST_NAMED = 3  # unused prompts that are named one by one
LOOP = "original in a loop"  # beside the layouts, an order of generation of its own


@dataclass(frozen=True, kw_only=True)
class Landing:
    """The sections that a span gets.

    span: the prompt as it was written.
    sections: the numbers of its sections in time, from 0; empty where it gets none.
    frames: the range of its frames, half open; None where it gets none.
    generated: for every layout, and for LOOP where the video can be one, the numbers of its sections in the order of
        generation, from 0.
    """

    span: PromptSpan
    sections: tuple[int, ...]
    frames: tuple[int, int] | None
    generated: dict[str, tuple[int, ...]]


def land(spans: Sequence[PromptSpan], count: int, window: int) -> list[Landing]:
    """The landing of every span, on a video of `count` sections that begins with a start image.

    `window` is the number of latent frames in a section.
    """
    prompts = [_prompt(span) for span in spans]
    borders = frame_borders(prompts)
    plans = {layout: plan_sections(layout, count, window, borders=borders) for layout in LAYOUTS}
    if count > 1 and not any(span.cut for span in spans):  # a loop is one shot
        plans[LOOP] = plan_sections("original", count, window, loop=True, borders=borders)
    assigned = {
        order: sorted(assign_prompts(plan, prompts), key=lambda section: section.frames)
        for order, plan in plans.items()
    }
    return [_landing(span, prompt, assigned) for span, prompt in zip(spans, prompts)]


def _prompt(span: PromptSpan) -> Prompt:
    """A span as the prompt that the sampler gets of it, without its tensors."""
    return Prompt(
        start=span.start,
        text=span.text,
        cut=span.cut,
        recall=span.recall,
        blend=span.blend,
        landing=span.landing or "border",
    )


def _landing(span: PromptSpan, prompt: Prompt, assigned: dict[str, list[Section]]) -> Landing:
    in_time = assigned[LAYOUTS[0]]
    places = tuple(i for i, section in enumerate(in_time) if section.prompt is prompt)
    frames = (in_time[places[0]].frames[0], in_time[places[-1]].frames[1]) if places else None
    generated = {
        order: tuple(section.index for section in sections if section.prompt is prompt)
        for order, sections in assigned.items()
    }
    return Landing(span=span, sections=places, frames=frames, generated=generated)


def landing_report(landings: Sequence[Landing], count: int, window: int) -> str:
    """A report as text: a line about the video, one for every prompt, then the warnings.

    Sections are counted from 1 in it, as the sampler's progress and its section_seeds count them.
    """
    frames = _frame_count(count, window)
    sections = _sections([landing.span for landing in landings], count, window)
    head = f"{sections}, {frames} frames, {frames / FPS:.2f} s at {FPS:g} fps"
    return "\n".join([head, *map(_line, landings), *landing_warnings(landings, count, window)])


def _sections(spans: Sequence[PromptSpan], count: int, window: int) -> str:
    """How many sections there are and how long they are; each one's latent frames where they are not all alike."""
    plan = plan_sections(LAYOUTS[0], count, window, borders=frame_borders([_prompt(span) for span in spans]))
    lengths = [section.window for section in plan]
    if lengths == [window] * count:
        return f"{count} sections of {4 * window / FPS:g} s"
    return f"{len(lengths)} sections of {', '.join(map(str, lengths))} latent frames ({4 / FPS:.3f} s each)"


def landing_warnings(landings: Sequence[Landing], count: int, window: int) -> list[str]:
    """A sentence for every prompt that gets no section."""
    seconds = _frame_count(count, window) / FPS
    return [
        f"Warning: {_never_used(landing.span.text, landing.span.start, seconds)}"
        for landing in landings
        if not landing.sections
    ]


def unused_prompts(
    sections: Sequence[Section],
    prompts: Sequence[Prompt],
    *,
    past_latent_frames: int = 0,
    said: Collection[float] = (),
) -> list[str]:
    """A sentence for every one of the `prompts` that none of a video's `sections` has, and one for all after three.

    Starts count from the end of the `past_latent_frames` that the video continues. Prompts whose starts are in `said` get
    no sentence: somebody else has said so.
    """
    used = {id(section.prompt) for section in sections}
    unnamed = [prompt for prompt in prompts if id(prompt) not in used and prompt.start not in said]
    begin = 4 * max(past_latent_frames - 1, 0)
    seconds = (max(section.frames[1] for section in sections) - begin) / FPS
    unused = [_never_used(prompt.text, prompt.start, seconds) for prompt in unnamed]
    more = len(unused) - MOST_NAMED
    return [*unused[:MOST_NAMED], *([f"{more} more prompts are never used."] if more > 0 else [])]


def length_difference(planned: VideoLength | None, length: VideoLength) -> str | None:
    """A sentence where a timeline was planned for another length than the video has, else None.

    `planned` is None where the timeline's node knows no length.
    """
    if planned is None or planned == length:
        return None
    return (
        f"the timeline was made for {planned.described()}, but the sampler makes {length.described()}: the timeline's "
        "report does not hold, and prompts that divide the video fall elsewhere; give both nodes the same seconds and "
        "window."
    )


def _never_used(text: str, start: float, seconds: float) -> str:
    """A sentence about a prompt that gets no section of a video of so many `seconds`."""
    late = f"it starts after the video's end at {seconds:.2f} s; start it earlier, or make the video longer."
    short = "it is too short for a section of its own; start it earlier, or the next one later."
    name = repr(_one_line(text)) if text.strip() else "the prompt without a name"
    return f"{name} ({start:g} s) is never used: {late if start >= seconds else short}"


def _line(landing: Landing) -> str:
    span = landing.span
    text = _one_line(f"{span.text} => {span.state}" if span.state else span.text)
    if landing.frames is None:
        return f"no section (asked for {span.start:g} s): {text}"
    first, end = landing.frames
    orders = ", ".join(f"{order} generates {_numbers(places)}" for order, places in landing.generated.items())
    noun = "section" if len(landing.sections) == 1 else "sections"
    return (
        f"{noun} {_numbers(landing.sections)} ({orders}), frames {first}-{end - 1}, "
        f"{first / FPS:.2f}-{end / FPS:.2f} s (asked for {span.start:g} s{_options(span)}): {text}"
    )


def _options(span: PromptSpan) -> str:
    """What the span says about how it takes over, each with a comma before it."""
    holds = {
        "cut": span.cut,
        "recall": span.recall,
        "sham": span.sham,
        "forced": span.forced and not span.sham,
    }
    flags = "".join(f", {name}" for name, is_set in holds.items() if is_set)
    kept = f', keep "{span.keep}"' if span.keep else ""
    landing = ", on its frame" if span.landing == "frame" and span.start > 0 else ""
    blended = f", blended over {span.blend}" if span.blend else ""
    seed = "" if span.section_seed is None else f", seed {span.section_seed}"
    return flags + kept + landing + blended + seed


def _frame_count(count: int, window: int) -> int:
    return plan_sections(LAYOUTS[0], count, window)[-1].frames[1]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _numbers(indices: Sequence[int]) -> str:
    """Indices as numbers from 1, those that rise or fall by one as ranges: "2-1 and 4-3"."""
    ranges: list[list[int]] = []
    for index in indices:
        run = ranges[-1] if ranges else []
        step = index - run[-1] if run else 0
        if abs(step) == 1 and (len(run) == 1 or step == run[-1] - run[-2]):
            run.append(index)
        else:
            ranges.append([index])
    return " and ".join(f"{run[0] + 1}" if len(run) == 1 else f"{run[0] + 1}-{run[-1] + 1}" for run in ranges)
