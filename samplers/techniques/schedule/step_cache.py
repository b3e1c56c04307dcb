"""Step cache: steps whose blocks are not run, because what they add has hardly changed since a step that ran them."""

from __future__ import annotations

from dataclasses import dataclass

from ...context.plan import Section
from ..base import Step, Technique, check_range

MODES = ("history", "magcache", "teacache", "first_block", "measure")
CORRECTIONS = ("steady", "recorded", "none")


@dataclass(frozen=True, kw_only=True)
class StepCache(Technique):
    """Adds what the transformer's blocks added in an earlier step, where a criterion says that this is close enough.

    A step is computed when its cost since the latest computed one exceeds `threshold`. The cost is, by mode:

    - history: the relative change, from step to step and summed, of the packed past as the first block attends to it, after
      modulation (HGC of ARCache, CVPR 2026). The past itself does not change in a section, so that this is what noise level
      and guidance change of it.
    - magcache: the error of magnitude that a table foretells (MagCache, arXiv 2506.09045): with gamma the ratio of the
      residuals' sizes in neighbouring steps, the sum of |1 - product of gamma|.
    - teacache: the same sum as history, over past and window, each change through TeaCache's polynomial (arXiv 2411.19108), as in
      lllyasviel/FramePack.
    - first_block: the relative change of what the first block adds, to the latest computed step (the criterion of FBCache).
    - measure: infinite; the ratios that magcache needs are written into the trace.

    Computed in any case: the first and the last step of a section, those at and after a jump of settings (see
    samplers/denoising/restarts.py), and all steps in the first sections after a switch, where the change happens. All
    predictions of a step are computed or reused together.

    mode: the criterion, one of MODES.
    threshold: how much may change, 0 is off. Their usual ranges: history 0.1 to 0.3, magcache and teacache 0.1 to 0.15,
        first_block 0.08 to 0.12.
    longest_run: how many steps in a row may be reused; 0 is no bound.
    first: the share of a section's steps, from the first on, that are computed in any case.
    correction: how what is reused goes on from the two latest computed steps (see caching/slopes.py), one of CORRECTIONS.
    magnitudes: mode magcache: the ratios gamma of every step after the first, with commas or spaces; empty for those that
        were published for FramePack F1 at 25 steps. A table of another number of steps is resampled.
    dense: in how many sections generated after a switch every step is computed.
    """

    apply_to: str = "all"
    mode: str = "history"
    threshold: float = 0.2
    longest_run: int = 3
    first: float = 0.1
    correction: str = "steady"
    magnitudes: str = ""
    dense: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("mode", self.mode, MODES)
        _check_choice("correction", self.correction, CORRECTIONS)
        check_range("threshold", self.threshold, 0, 10)
        check_range("longest_run", self.longest_run, 0, 1000)
        check_range("first", self.first, 0, 1)
        check_range("dense", self.dense, 0, 1000)
        parse_magnitudes(self.magnitudes)

    def amount(self, section: Section) -> float:
        """1 where steps may be reused, 0 in the first sections after a switch."""
        since = section.since_switch
        is_dense = since is not None and since < self.dense and section.change > 0
        return 0.0 if self.threshold == 0 or is_dense else 1.0

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        return {"amount": self.amount(section)}


def parse_magnitudes(text: str) -> tuple[float, ...]:
    """Ratios written as "1.26, 1.09, 1.02" (spaces and line breaks serve too). Raises ValueError for anything else."""
    words = text.replace(",", " ").split()
    try:
        ratios = tuple(float(word) for word in words)
    except ValueError:
        ratios = (0.0,)
    if not all(0.01 <= ratio <= 100 for ratio in ratios):
        raise ValueError(
            f"magnitudes is {text[:60]!r}; write a ratio from 0.01 to 100 for every step after the first, with commas, as "
            "`bench cache --calibrate` prints them, or leave it empty."
        )
    return ratios


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")
