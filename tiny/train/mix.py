"""What training examples are made of. Imports no torch: drawing processes start with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of the clips, of the examples that have a start image, and of the batches that have none.

    Clips: pairs have two subjects; back is the share of those with an event, where there is time, in which what was before it
    returns; passes is the share of those without one whose subject passes the picture's edge; window_5 have sections of 5.

    Examples: real: the scene changes at the window's first frame and the prompt says so; caption_noise: the prompt says
    so, but nothing changes (this makes the model trust its memory, as it does in real corpora); after: the memory shows
    the change behind it; the rest shows one scene. text_dropout: the prompt is empty.

    Batches: text_to_video.
    """

    pairs: float = 0.6
    back: float = 0.3
    passes: float = 0.2
    window_5: float = 0.25
    real: float = 0.10
    caption_noise: float = 0.18
    after: float = 0.12
    text_dropout: float = 0.10
    text_to_video: float = 0.55
    history_noise: float = 0.5
    history_noise_sigma: float = 0.15

    def __post_init__(self) -> None:
        if not 0 <= self.caption_noise <= 1 - self.real - self.after:
            raise ValueError(
                f"caption_noise is {self.caption_noise}; give a share from 0 to {1 - self.real - self.after:g}."
            )
