"""FramePack Prompt Timeline: a node that reads all prompts and their times from one text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from ...samplers.context.plan import FPS, section_count
from ...samplers.timeline.change import measure_changes, text_feature
from ...samplers.timeline.landing import land, landing_report, landing_warnings
from ...samplers.timeline.recall import recall_remarks
from ...samplers.timeline.syntaxes.spans import PromptSpan
from ...samplers.timeline.syntaxes.table import AUTO, SYNTAX_CHOICES, parse, syntax_of
from ...samplers.timeline.timeline import LANDINGS, Timeline, TimelineEntry, VideoLength
from .. import widgets
from ..notices import announce, with_notices
from ..types import ROOT, TIMELINE

_EXAMPLE = "a man sits in a living room\n[3s: the man disappears => an empty living room]"
CHANGES = ("full", "measured")
# More sections than any video has, to check a text before the length of the video is known.
_MOST_SECTIONS = 5000


@widgets.advanced_widgets("change", "blend", "landing")
class FramePackPromptTimeline:
    DISPLAY_NAME = "FramePack Prompt Timeline"
    SEARCH_ALIASES = (
        "prompt schedule",
        "prompt scheduling",
        "prompt travel",
        "prompt change",
        "timestamped prompt",
        "timed prompt",
        "scene change",
        "transition",
        "multi prompt",
        "keyframe prompts",
    )
    DESCRIPTION = (
        "Reads several prompts and their times from one text, encodes them, and says which sections of "
        "the video each one really gets."
    )
    CATEGORY = f"{ROOT}/Timeline"
    FUNCTION = "build"
    RETURN_TYPES = (TIMELINE, "CONDITIONING", "STRING")
    RETURN_NAMES = ("timeline", "positive", "report")
    OUTPUT_TOOLTIPS = (
        "All prompts, for FramePack Sampler.",
        "The first prompt, for FramePack Sampler's positive.",
        "Which sections, frames and seconds each prompt really gets, and a warning for those that get none.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("CLIP", {"tooltip": "Encodes the prompts: DualCLIPLoader with type hunyuan_video."}),
                "text": (
                    "STRING",
                    {
                        "default": _EXAMPLE,
                        "multiline": True,
                        "tooltip": "The prompts and when they take over, such as: a man [3s: an empty room] [6s: night]. See the help page for the other notations.",
                    },
                ),
                "syntax": (
                    list(SYNTAX_CHOICES),
                    {
                        "default": AUTO,
                        "tooltip": "How the text is written: brackets and times (one a line) are seconds or frames, keyframes are JSON by frame, sections are numbers, script (JSON of a benchmark), bars and lines divide the video evenly. auto recognises it.",
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        **widgets.SECONDS,
                        "tooltip": "Length of the video, as in the sampler. The report, sections, script, bars and lines depend on it.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        **widgets.WINDOW,
                        "tooltip": "Latent frames per section, as in the sampler. The report, sections, script, bars and lines depend on it.",
                    },
                ),
            },
            "optional": {
                "change": (
                    list(CHANGES),
                    {
                        "default": "full",
                        "tooltip": "How strongly techniques act at a switch. full: always in full. measured: in proportion to how far apart the text encoder finds the two prompts, which takes a moment and is uncalibrated.",
                    },
                ),
                "blend": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": widgets.MAX_BLEND,
                        "tooltip": "Sections on which the text moves from the old prompt to the new one at every switch: more switch more softly and later, 0 switches at once. An entry's own ~2 wins.",
                    },
                ),
                "landing": (
                    list(LANDINGS),
                    {
                        "default": "border",
                        "tooltip": "Where prompts take over. border: at the nearest border between two sections, up to 0.6 s away. frame: on the latent frame that was asked for (0.13 s), where a shorter section ends. An entry's own word, border or frame, wins; sections, bars and lines always land on borders.",
                    },
                ),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, text: str | None = None, syntax: str | None = None) -> bool | str:
        """Refuse a wrong text before models are loaded; a connected input is None here and checked when it runs."""
        if text is None or syntax is None:
            return True
        try:
            parse(text, syntax, sections=_MOST_SECTIONS)
        except ValueError as error:
            return str(error)
        return True

    def build(
        self,
        clip: Any,
        text: str,
        syntax: str,
        seconds: float,
        window: int,
        change: str = "full",
        blend: int = 0,
        landing: str = "border",
    ) -> Any:
        if clip is None:
            raise ValueError(
                "clip is empty (some checkpoints hold no text encoder); connect DualCLIPLoader with "
                "type hunyuan_video."
            )
        count = section_count(seconds, window)
        spans = parse(text, syntax, sections=count, section_seconds=4 * window / FPS)
        spans = [spans[0], *(softened(span, blend) for span in spans[1:])]
        if not syntax_of(text, syntax).divides:
            spans = [replace(span, landing=span.landing or landing) for span in spans]
        landings = land(spans, count, window)
        encode = _encoder(clip)
        changes, remark = _changes(change, spans, encode)
        entries = [_entry(span, encode, c) for span, c in zip(spans, changes)]
        shown = [landing.span for landing in landings if landing.sections]
        recalled = recall_remarks(shown, lambda text: text_feature(encode(text)))
        report = "\n".join([landing_report(landings, count, window), *recalled, *remark])
        unused = frozenset(landing.span.start for landing in landings if not landing.sections)
        timeline = Timeline(tuple(entries), VideoLength(sections=count, window=window), unused)
        warnings = landing_warnings(landings, count, window)
        announce(warnings)
        return with_notices((timeline, entries[0].conditioning, report), warnings)


def softened(span: PromptSpan, blend: int) -> PromptSpan:
    """A span that blends over `blend` sections, unless it says itself how it takes over."""
    return span if span.blend or span.cut or span.sham else replace(span, blend=blend)


def _encoder(clip: Any) -> Callable[[str], Any]:
    """A function that encodes a text to a CONDITIONING, each distinct text once."""
    return cache(lambda text: clip.encode_from_tokens_scheduled(clip.tokenize(text)))


def _changes(
    mode: str, spans: list[PromptSpan], encode: Callable[[str], Any]
) -> tuple[list[float], list[str]]:
    """How much the scene changes where each span takes over (0 for the first one), and further lines of the report.

    Raises ValueError for an unknown mode.
    """
    if mode not in CHANGES:
        raise ValueError(f"change is {mode!r}; choose one of {', '.join(CHANGES)}.")
    if mode == "full" or len(spans) == 1:
        return [0.0, *[1.0] * (len(spans) - 1)], []
    changes, remark = measure_changes(spans, lambda text: text_feature(encode(text)))
    return changes, [remark]


def _entry(span: PromptSpan, encode: Callable[[str], Any], change: float) -> TimelineEntry:
    return TimelineEntry(
        start=span.start,
        prompt=span.text,
        conditioning=encode(span.text),
        change=change,
        state=span.state,
        cut=span.cut,
        recall=span.recall,
        keep=encode(span.keep) if span.keep else None,
        blend=span.blend,
        section_seed=span.section_seed,
        landing=span.landing or "border",
    )
