"""The table of all metrics: scores, reports, plots, JSON keys and averages over switches follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..definitions.anchor_return import score_anchor_return
from ..definitions.disappearance import score_disappearance
from ..definitions.drift import score_colour_drift, score_exposure_drift, score_sharpness_drift
from ..definitions.dynamics import score_dynamics
from ..definitions.ghosting import score_ghosting
from ..definitions.identity import score_identity
from ..definitions.inertia import score_inertia
from ..definitions.latency import score_completion, score_latency
from ..definitions.side_effects import score_side_effects
from ..definitions.stf import score_stf
from ..definitions.vbench.consistency import score_background_consistency
from ..definitions.vbench.flickering import score_temporal_flickering
from ..results import Metric


@dataclass(frozen=True)
class Mark:
    """A mark in the plot at the moment that a latency tells.

    panel: key of the metric whose curve it stands on.
    level: height on that curve.
    symbol: matplotlib's name of the marker.
    """

    panel: str
    level: float
    symbol: str


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric: how it is computed and shown, and what its documentation has to say.

    key: its name in report.json.
    name: its name in tables.
    meaning: what it measures, in a few words.
    compute: gives the metric of a switch from the evidence and the metrics of `after`.
    after: keys of the metrics that it is computed from, in the order of arguments.
    better: which values are good.
    unit: "frames" for a wait, which may be censored; "" for a number without unit.
    window: the frames that it looks at after the switch.
    needs: what it cannot be computed without, besides the video and its switch.
    founding: the formula of its founding value.
    on_demand: whether it is left out of reports where nothing is known of it.
    curve: title of the panel that shows its curve; "" for none.
    mark: its mark in the plot, None for none.
    """

    key: str
    name: str
    meaning: str
    compute: Callable[..., Metric]
    after: tuple[str, ...] = ()
    better: Literal["high", "low"]
    unit: Literal["", "frames"] = ""
    window: str
    needs: str
    founding: str
    on_demand: bool = False
    curve: str = ""
    mark: Mark | None = None

    @property
    def label(self) -> str:
        """Name, meaning and direction."""
        return f"{self.name}, {self.meaning} ({self.better} is good)"

    @property
    def is_wait(self) -> bool:
        """Whether the value is a wait in frames, which may be censored."""
        return self.unit == "frames"


DRIFT = partial(
    MetricSpec,
    after=("tl90",),
    better="low",
    window="all frames from TL90 until the next switch, or settled frames",
    needs="nothing",
    founding="none",
)
METRICS = (
    MetricSpec(
        key="stf",
        name="STF",
        meaning="new prompt seen",
        compute=score_stf,
        better="high",
        window="settled frames",
        needs="features that read text, or pictures of the new scene",
        founding="cosine of the frame 5 frames after the switch to the new prompt",
        curve="Probability of the new prompt against the old",
    ),
    MetricSpec(
        key="tl10",
        name="TL10",
        meaning="change begins",
        compute=partial(score_latency, theta=0.1),
        after=("stf", "df"),
        better="low",
        unit="frames",
        window="all frames until the next switch",
        needs="STF, pictures of the new scene, or a detector and the name of what vanishes",
        founding="first frame after which frames change no more than usual, where the change came",
        mark=Mark("tl90", 0.1, ">"),
    ),
    MetricSpec(
        key="tl90",
        name="TL90",
        meaning="change complete",
        compute=partial(score_completion, theta=0.9),
        after=("stf", "df", "tl10"),
        better="low",
        unit="frames",
        window="all frames until the next switch",
        needs="STF, pictures of the new scene, or a detector and the name of what vanishes",
        founding="first frame after which frames change no more than usual, where the change came",
        curve="Progress from the old look to the new",
        mark=Mark("tl90", 0.9, "o"),
    ),
    MetricSpec(
        key="gas",
        name="GAS",
        meaning="old scene lingers",
        compute=score_ghosting,
        better="low",
        window="all frames until the next switch",
        needs="a reference",
        founding="mean over half seconds of the largest cosine to the most typical old frame",
        curve="Similarity to the old scene",
    ),
    MetricSpec(
        key="df",
        name="DF",
        meaning="object gone",
        compute=score_disappearance,
        better="high",
        window="settled frames",
        needs="a detector and the name of the object",
        founding="1 less the mean confidence after the switch",
        on_demand=True,
    ),
    MetricSpec(
        key="anchor_return",
        name="anchor-return",
        meaning="falls back to the start",
        compute=score_anchor_return,
        after=("tl90",),
        better="low",
        window="all frames from half a second after TL90 until the next switch",
        needs="a TL90 that is reached",
        founding="none",
        on_demand=True,
    ),
    MetricSpec(
        key="side_effects",
        name="side-effects",
        meaning="shadow stays",
        compute=score_side_effects,
        better="low",
        window="settled frames",
        needs="a detector with boxes, the name of the object, and a target or reference without it",
        founding="none",
        on_demand=True,
    ),
    MetricSpec(
        key="ddi",
        name="DDI",
        meaning="motion on prompt",
        compute=score_dynamics,
        after=("stf",),
        better="high",
        window="all frames until the next switch",
        needs="features that read text, or pictures of the new scene",
        founding="mean motion where p is at least 0.5, less lambda times the mean elsewhere",
    ),
    MetricSpec(
        key="identity",
        name="identity",
        meaning="the same one stays",
        compute=score_identity,
        better="high",
        window="settled frames",
        needs="a detector with boxes and the name of what stays",
        founding="none",
        on_demand=True,
        curve="Likeness of what stays to itself before",
    ),
    DRIFT(
        key="exposure_drift",
        name="exposure-drift",
        meaning="lightness wanders",
        compute=score_exposure_drift,
    ),
    DRIFT(
        key="colour_drift",
        name="colour-drift",
        meaning="colour wanders",
        compute=score_colour_drift,
    ),
    DRIFT(
        key="sharpness_drift",
        name="sharpness-drift",
        meaning="sharpness wanders",
        compute=score_sharpness_drift,
    ),
    MetricSpec(
        key="temporal_flickering",
        name="temporal-flickering",
        meaning="neighbours alike",
        compute=score_temporal_flickering,
        better="high",
        window="all frames until the next switch",
        needs="nothing",
        founding="none",
    ),
    MetricSpec(
        key="background_consistency",
        name="background-consistency",
        meaning="frames alike",
        compute=score_background_consistency,
        better="high",
        window="all frames until the next switch",
        needs="features clip with model ViT-B-32 and pretrained openai",
        founding="none",
        on_demand=True,
    ),
    MetricSpec(
        key="inertia",
        name="inertia",
        meaning="memory wins",
        compute=score_inertia,
        better="low",
        window="the first section made for the other prompt",
        needs="a trace that records attention",
        founding="the share of attention on the past",
        on_demand=True,
    ),
)
BY_KEY = {spec.key: spec for spec in METRICS}
