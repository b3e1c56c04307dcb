"""Metrics that take frames as they come, with the interface of torchmetrics: `update`, `compute`, `reset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .evaluate import concepts_of, evaluate_video, usual_extractor
from .measuring.clip import Clip
from .results import Metric, VideoScores
from .scoring.registry import BY_KEY
from .switches import Cue

if TYPE_CHECKING:
    from .measuring.measure import VideoMeasurer

MEASURED = ("flow", "perceptual")  # what a video is measured with, besides its extractor and detector


class TransitionMetrics:
    """All metrics of a video whose frames come in batches; frames are measured and let go.

    `update` takes the next frames, `compute` gives the scores of what has come so far and may be called at any time,
    `reset` begins a new video. torch is imported with the first frame.

    cues: the prompts and when they are asked for. fps: frames per second. extractor: computes features; None is
    PixelExtractor(). detector, vanishing, kept, flow, perceptual, reference, target, control and all other options are
    those of `evaluate_video`.
    """

    def __init__(
        self,
        cues: Sequence[Cue] = (),
        *,
        fps: float = 30.0,
        extractor: Any = None,
        detector: Any = None,
        vanishing: Any = (),
        kept: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.cues, self.fps = tuple(cues), fps
        self.extractor = usual_extractor() if extractor is None else extractor
        self.detector, self.vanishing, self.kept = detector, vanishing, tuple(kept)
        self.measured_with = {name: options.pop(name) for name in MEASURED if name in options}
        self.options = options
        self._video: VideoMeasurer | None = None

    def update(self, frames: Any) -> None:
        """Measure the next frames [N,H,W,3], or one frame [H,W,3], float in 0..1 or uint8.

        Raises ValueError for other shapes, values beyond 0..1 and frames of another size than those before.
        """
        self._video = self._measurer() if self._video is None else self._video
        self._video.update(frames[None] if np.ndim(frames) == 3 else frames)

    def compute(self) -> VideoScores:
        """The scores of the frames so far; raises ValueError before the first one."""
        return evaluate_video(
            Clip((self._video or self._measurer()).result()),
            self.cues,
            fps=self.fps,
            extractor=self.extractor,
            detector=self.detector,
            vanishing=self.vanishing,
            kept=self.kept,
            **self.options,
        )

    def reset(self) -> None:
        """Forget all frames: the next one begins a new video."""
        self._video = None

    def _measurer(self) -> VideoMeasurer:
        from .measuring.measure import VideoMeasurer

        concepts = concepts_of(self.vanishing, self.kept) if self.detector is not None else ()
        return VideoMeasurer(
            self.extractor,
            fps=self.fps,
            detector=self.detector,
            concepts=concepts,
            followed=self.kept if concepts else (),
            **self.measured_with,
        )


class SwitchMetric:
    """One metric of every switch of a video whose frames come in batches.

    `update` and `reset` are those of TransitionMetrics, and so are the arguments. `compute` gives the metric of each
    switch, in order. A class attribute `key` says which metric of the table it is.
    """

    key: ClassVar[str]

    def __init__(self, cues: Sequence[Cue], **options: Any) -> None:
        self.all = TransitionMetrics(cues, **options)

    @property
    def higher_is_better(self) -> bool:
        """Whether high values are good."""
        return BY_KEY[self.key].better == "high"

    def update(self, frames: Any) -> None:
        """Measure the next frames, as TransitionMetrics does."""
        self.all.update(frames)

    def compute(self) -> tuple[Metric, ...]:
        """The metric of each switch for the frames so far; raises ValueError before the first one."""
        return tuple(entry.metrics[self.key] for entry in self.all.compute().switches)

    def reset(self) -> None:
        """Forget all frames."""
        self.all.reset()


class SwitchTextFidelity(SwitchMetric):
    """STF: whether the new prompt is seen. The functional forms are `stf` and `picture_fidelity`."""

    key = "stf"


class TransitionOnset(SwitchMetric):
    """TL10: frames until the change begins. The functional form is `transition_latency` with theta 0.1."""

    key = "tl10"


class TransitionLatency(SwitchMetric):
    """TL90: frames until the change is complete. The functional form is `transition_latency`."""

    key = "tl90"


class Ghosting(SwitchMetric):
    """GAS: how much of the old scene still shows. The functional form is `ghosting`."""

    key = "gas"


class DisappearanceFidelity(SwitchMetric):
    """DF: whether what should disappear is gone. The functional form is `disappearance_fidelity`."""

    key = "df"


class AnchorReturn(SwitchMetric):
    """Whether the video falls back to the scene of its start. The functional form is `anchor_return`."""

    key = "anchor_return"


class SideEffects(SwitchMetric):
    """Whether the shadow or reflection of what has left is still there. The functional form is `side_effects`."""

    key = "side_effects"


class IntentionalDynamics(SwitchMetric):
    """DDI: whether it moves where the new prompt is seen. The functional form is `intentional_dynamics`."""

    key = "ddi"


class Identity(SwitchMetric):
    """Whether what should stay is still the same one. The functional form is `identity`."""

    key = "identity"


class ExposureDrift(SwitchMetric):
    """How far lightness wanders by itself. The functional form is `exposure_drift`."""

    key = "exposure_drift"


class ColourDrift(SwitchMetric):
    """How far colours wander by themselves. The functional form is `colour_drift`."""

    key = "colour_drift"


class SharpnessDrift(SwitchMetric):
    """How far sharpness wanders by itself. The functional form is `sharpness_drift`."""

    key = "sharpness_drift"


class TemporalFlickering(SwitchMetric):
    """VBench's temporal flickering after a switch. The functional form is `temporal_flickering`."""

    key = "temporal_flickering"


class BackgroundConsistency(SwitchMetric):
    """VBench's background consistency after a switch. The functional form is `background_consistency`."""

    key = "background_consistency"


class SemanticInertia(SwitchMetric):
    """How strongly attention prefers the packed past. The functional form is `semantic_inertia`."""

    key = "inertia"
