"""Context blur: the packed past loses its details, its coarse shapes, or both, the more the farther away it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

import torch
from torch import Tensor

from ....models.attention.policy import AttentionPolicy
from ...context.filters import Packed, distances, frame_mean, gaussian, packed_mask, parts_of, with_parts
from ...context.history import Context
from ...context.plan import Section
from ..base import Step, Technique, check_range, check_window, in_window

MODES = ("low_pass", "band", "high_pass", "founding")


@dataclass(frozen=True, kw_only=True)
class ContextBlur(Technique):
    """Filters the packed past by Gaussians of width sigma(k) = sigma0 (1 + alpha k), k latent frames away from the window.

    With G the Gaussian and mean that of a frame and channel, so that brightness and colour stay:

    - low_pass: G(x), without details.
    - high_pass: mean + x - G(x), without coarse shapes.
    - band: mean + G(x) - H(x), with H `band` times as wide: neither.
    - founding: low_pass, and `decay` multiplies values by exp(-decay (k - 1)), which is exp(-rate (max_idx - idx)) of the
      founding documents. The model's norms undo most of that; so in the other modes `decay` lowers the attention of
      the window's rows to each part by decay times its mean k.

    In time only the history is smoothed, as one row of frames, and never across to the start frame. It is off where strength
    or all sigma0 are 0, and decay is 0.

    mode: one of the above.
    strength: how much of the filtered past is blended in, 0 to 1.
    start, last, history_2x, history_4x: sigma0 of each segment, in rows and columns of latents.
    time_last, time_2x, time_4x: sigma0 of each segment in time, in latent frames.
    alpha: by how much widths grow with each latent frame of distance.
    band: how many times as wide the second filter of mode band is.
    decay: the rate at which values (founding) or attention (other modes) fall with the distance.
    decay_start: whether decay acts on the start frame too.
    t_start, t_end: the window of progress t in which it acts, from 1 (noise) to 0 (clean).
    """

    mode: str = "low_pass"
    strength: float = 1.0
    start: float = 1.0
    last: float = 1.0
    history_2x: float = 1.0
    history_4x: float = 1.0
    time_last: float = 0.0
    time_2x: float = 0.0
    time_4x: float = 0.0
    alpha: float = 0.1
    band: float = 4.0
    decay: float = 0.0
    decay_start: bool = True
    t_start: float = 1.0
    t_end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; choose one of {', '.join(MODES)}.")
        check_range("strength", self.strength, 0, 1)
        for name in ("start", "last", "history_2x", "history_4x", "time_last", "time_2x", "time_4x"):
            check_range(name, getattr(self, name), 0, 64)
        check_range("alpha", self.alpha, 0, 10)
        check_range("band", self.band, 1, 100)
        check_range("decay", self.decay, 0, 10)
        check_window(self.t_start, self.t_end)

    def context(self, section: Section, context: Context, attachments: Mapping[str, Any]) -> Context:
        return self._filtered(section, context) if self._whole_section else context

    def context_at(
        self, section: Section, step: Step, context: Context, attachments: Mapping[str, Any]
    ) -> Context:
        if self._whole_section or not in_window(step, self.t_start, self.t_end):
            return context
        return self._filtered(section, context)

    def attention(self, section: Section, step: Step, policy: AttentionPolicy) -> AttentionPolicy:
        rate = self.decay * self.amount(section)
        if rate == 0 or self.mode == "founding" or not in_window(step, self.t_start, self.t_end):
            return policy
        indices = section.indices
        places = {"4x": indices.clean_4x, "2x": indices.clean_2x, "last": indices.clean[1:]}
        if self.decay_start:
            places["start"] = indices.clean[:1]
        return policy.biased(
            {
                name: -rate * sum(distances(frames, indices)) / len(frames)
                for name, frames in places.items()
                if frames
            }
        )

    def describe(self, section: Section, step: Step) -> dict[str, float]:
        amount = self.amount(section) if in_window(step, self.t_start, self.t_end) else 0.0
        acts = self.strength * amount
        widths = {f"sigma of {name}": sigma if acts else 0.0 for name, (sigma, _) in self._sigmas.items()}
        return {"blended in": acts, "decay": self.decay * amount, **widths}

    @property
    def _whole_section(self) -> bool:
        """Whether nothing depends on the step, so that once per section is enough."""
        return (self.t_start, self.t_end) == (1.0, 0.0)

    def _filtered(self, section: Section, context: Context) -> Context:
        """The context with its parts filtered; the same object where nothing is to be done."""
        amount, parts = self.amount(section), parts_of(context)
        if amount == 0:
            return context
        history = {name: part for name, part in parts.items() if name != "start"}
        frames: dict[str, Tensor] = {}
        for group in ({"start": parts["start"]} if "start" in parts else {}, history):
            frames |= self._blurred(group, context, self.strength * amount)
        if self.mode == "founding" and self.decay > 0:
            frames |= self._faded(parts, frames, context, self.decay * amount)
        return with_parts(context, frames) if frames else context

    def _blurred(self, parts: Mapping[str, Packed], context: Context, weight: float) -> dict[str, Tensor]:
        """Parts that are neighbours in time, filtered together; none where nothing is to be done."""
        spatial: list[float] = []
        temporal: list[float] = []
        places: list[int] = []
        for name, part in parts.items():
            growth = [1 + self.alpha * k for k in distances(part.indices, context.indices)]
            spatial += [self._sigmas[name][0] * factor for factor in growth]
            temporal += [self._sigmas[name][1] * factor for factor in growth]
            places += part.indices
        acts = [bool(widths[0] or widths[1]) for widths in zip(spatial, temporal)]
        if weight == 0 or not any(acts):
            return {}
        frames = torch.cat([part.frames for part in parts.values()], dim=2)
        weights = weight * torch.tensor(acts, dtype=frames.dtype, device=frames.device).view(-1, 1, 1)
        filtered = torch.lerp(frames, self._passed(frames, spatial, temporal, places), weights)
        lengths = [part.frames.shape[2] for part in parts.values()]
        return dict(zip(parts, torch.split(filtered, lengths, dim=2)))

    def _passed(
        self, frames: Tensor, spatial: list[float], temporal: list[float], places: list[int]
    ) -> Tensor:
        """What the mode lets pass of frames [B, C, T, H, W]."""
        mask = packed_mask(frames)
        low = gaussian(frames, spatial, temporal=temporal, places=places, mask=mask)
        if self.mode in ("low_pass", "founding"):
            return low
        kept = frames - low
        if self.mode == "band":
            wide, longer = ([sigma * self.band for sigma in sigmas] for sigmas in (spatial, temporal))
            kept = low - gaussian(frames, wide, temporal=longer, places=places, mask=mask)
        return torch.where(mask, frame_mean(frames, mask) + kept, frames)

    def _faded(
        self, parts: Mapping[str, Packed], frames: Mapping[str, Tensor], context: Context, rate: float
    ) -> dict[str, Tensor]:
        """Parts with their values decayed by distance, the frame that touches the window not at all."""
        faded = {}
        for name, part in parts.items():
            if name != "start" or self.decay_start:
                values = frames.get(name, part.frames)
                factors = [exp(-rate * (k - 1)) for k in distances(part.indices, context.indices)]
                faded[name] = values * values.new_tensor(factors).view(-1, 1, 1)
        return faded

    @property
    def _sigmas(self) -> dict[str, tuple[float, float]]:
        """sigma0 of each part in space and in time."""
        return {
            "start": (self.start, 0.0),
            "last": (self.last, self.time_last),
            "2x": (self.history_2x, self.time_2x),
            "4x": (self.history_4x, self.time_4x),
        }
