"""Where two prompts are drawn differently.

DiffEdit (Couairon et al. 2022, arXiv 2210.11427) finds in this way where an edit acts in a picture. Here the place that the window
shows otherwise under the new prompt than under the old one is looked up in the remembered frames.
"""

from __future__ import annotations

from torch import Tensor


def difference_cells(new: Tensor, old: Tensor) -> Tensor:
    """How differently two videos [B, 16, T, H, W] are drawn: root mean square over channels, the most over frames, [B, H, W]."""
    return (new.float() - old.float()).square().mean(dim=1).sqrt().amax(dim=1)
