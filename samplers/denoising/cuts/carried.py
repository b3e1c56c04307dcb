"""A subject that is carried over a cut: the new shot remembers what shows it in the shot before, and nothing else.

Where the subject lies is looked for in one evaluation of the model, by how much each remembered token attends to its words
(see context.concepts). The start frame and the last frame stay where it was found; their other parts are empty, as all of
the memory is after a usual cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...conditioning import TextConditioning, encoded_text, joined_texts
from ...context.anchors import image_embeds_of
from ...context.concepts import FINE
from ...context.history import Context, History
from ...context.indices import Direction
from ...context.plan import Section
from ...context.tokens import segment_latents, tokens_to_cells
from ...guidance import combine_cfg
from ...settings import SampleInputs, SampleSettings
from ...techniques.base import AttachmentKey, Concept
from ..denoiser import CombineCFG, SectionDenoiser
from ..drivers import SectionTask
from ..evaluating.branch import Evaluate
from ..run import Run, SectionInput
from ..schedules import section_guidance

SUBJECT = Concept(AttachmentKey("keep"))
# What seems to fill more of both frames brings the old place along: the stronger part of it is taken.
LARGEST_SHARE = 0.6


@dataclass(frozen=True, eq=False, kw_only=True)
class SubjectSearch:
    """What a new shot keeps of the one before it, and where that is looked for.

    words: what names it.
    text: these words, then the prompt of the new shot and that of the old one, which they compete with.
    context: what the new shot's first section would remember without the cut.
    """

    words: TextConditioning
    text: TextConditioning
    context: Context


def expect_carriers(sections: Sequence[Section]) -> None:
    """Raises ValueError where a section keeps something of a shot that is not made before it in this run."""
    for section in sections:
        if section.prompt.keep is None:
            continue
        if section.direction is Direction.BACKWARD:
            raise ValueError(
                f"the prompt at {section.prompt.start:g} s keeps something of the shot before it, but layout original "
                "generates from the end, so that this shot is not there yet; use layout f1 (with the F1 model), or give the "
                "new shot an image instead of keep."
            )
        if section is sections[0]:
            raise ValueError(
                f"the prompt at {section.prompt.start:g} s keeps something of a shot whose sections are not sampled in this "
                "run; sample the whole video."
            )


def subject_search(
    section: Section, before: Section, history: History, *, inputs: SampleInputs, settings: SampleSettings
) -> SubjectSearch | None:
    """What a section keeps of the shot that ends with the section before it; None but in the first section of a shot that does."""
    words = section.prompt.keep
    if words is None or not section.cut:
        return None
    return SubjectSearch(
        words=words,
        text=joined_texts(words, encoded_text(section.prompt), encoded_text(before.prompt)),
        context=history.context(section, image_embeds_of(before, inputs, settings, history)),
    )


def look_for_subject(run: Run, given: SectionInput, search: SubjectSearch) -> Mapping[str, Tensor]:
    """Where the subject was found: 1 or 0 for all tokens of the old shot's memory, [B, L] by segment."""
    texts = {SUBJECT.text: search.words, SUBJECT.name: search.text}
    sigma = run.schedules[given.section.index].sigmas[:1]

    def look(attention_rows: int | None) -> Mapping[str, Tensor]:
        denoiser = _SearchDenoiser(
            section=given.section,
            context=search.context.to(run.driver.device),
            texts=texts,
            guidance=section_guidance(given.section, run.settings.guidance),
            attention_rows=attention_rows,
        )
        denoiser.largest_concept = LARGEST_SHARE
        task = SectionTask(
            denoiser=denoiser,
            noise=given.noise,
            initial=given.initial,
            sigmas=torch.cat([sigma, torch.zeros_like(sigma)]),
            solver="euler",
            seed=given.seed,
            on_step=lambda step, x0: None,
            upstream_rounding=run.settings.upstream_rounding,
        )
        run.driver.run(task)
        return {name: part.cpu() for name, part in denoiser.context.concepts[SUBJECT.name].items()}

    return run.attention(look)


def carry_over(history: History, context: Context, found: Mapping[str, Tensor]) -> Tensor:
    """Cut to a new shot that remembers of an old one's `context` what was found in it (see look_for_subject).

    Returns for which videos something was found, bool [B or 1].
    """
    frames = {name: part for name, part in segment_latents(context).items() if name in FINE}
    cells = [
        tokens_to_cells(found[name], name, (part.shape[2], part.shape[3], part.shape[4]))
        for name, part in frames.items()
    ]
    shown = torch.cat(cells, dim=1)[:, None] > 0
    carried = torch.where(shown, torch.cat(list(frames.values()), dim=2), 0.0)
    history.cut(carried[:, :, :1])
    history.replace_recent(carried[:, :, 1:])
    return shown.flatten(1).any(dim=1)


class _SearchDenoiser(SectionDenoiser):
    """Looks for the subject at its first call, and leaves x where it is."""

    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        evaluate: Evaluate,
        combine: CombineCFG = combine_cfg,
        *,
        cfg: float | None = None,
    ) -> Tensor:
        if not self.context.concepts:
            self._find(SUBJECT, evaluate, (x, sigma))
        return x
