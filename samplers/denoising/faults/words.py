"""Faults in words: in which section, at which step, which sections are finished, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .finite import NotFiniteError
from .out_of_memory import is_out_of_memory

PIXELS = 8  # along each side of a latent pixel


@dataclass(frozen=True, eq=False, kw_only=True)
class Place:
    """Where a run is.

    number: of the section, from 1.
    count: of the run's sections.
    shape: of the section's latents, [B, 16, T, H, W].
    sigmas: the section's noise levels, [steps + 1].
    kept: whether the next run can take over all sections before it.
    """

    number: int
    count: int
    shape: tuple[int, ...]
    sigmas: Tensor
    kept: bool

    @property
    def section(self) -> str:
        """The section in words."""
        return f"section {self.number} of {self.count}"

    def step(self, sigma: float) -> str:
        """A step in words, from its noise level; solvers may evaluate between two of the schedule."""
        number = int((self.sigmas[:-1] >= sigma * (1 - 1e-4)).sum())
        return f"step {max(number, 1)} of {len(self.sigmas) - 1} (sigma {sigma:.3g})"

    @property
    def finished(self) -> str:
        """A sentence about the sections before, with a space in front; "" in the first one."""
        before = self.number - 1
        if not before:
            return ""
        sections = "Section 1 is" if before == 1 else f"Sections 1 to {before} are"
        return f" {sections} finished{' and kept: the next run goes on from there' if self.kept else ''}."


@contextmanager
def faults_told_with(place: Place) -> Iterator[None]:
    """Raise faults of the block with their place.

    ValueError for values that are not finite, torch.cuda.OutOfMemoryError, which ComfyUI knows, for memory that ran out.
    """
    try:
        yield
    except NotFiniteError as error:
        at = "" if error.step is None else f", {place.step(error.step.sigma)}"
        raise ValueError(
            f"{place.section}{at}: {error.what} holds NaN or infinite values; {error.cause}.{place.finished}"
        ) from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise torch.cuda.OutOfMemoryError(_does_not_fit(place)) from error


def _does_not_fit(place: Place) -> str:
    batch, _, window, height, width = place.shape
    several = f" fewer videos at a time (now {batch})," if batch > 1 else ""
    return (
        f"{place.section} does not fit in memory, not even with smaller attention chunks; take{several} a smaller "
        f"picture (now {width * PIXELS}x{height * PIXELS}), a shorter window (now {window}) or an fp8 model, or start "
        f"ComfyUI with --lowvram or a larger --reserve-vram.{place.finished}"
    )
