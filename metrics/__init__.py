"""How far, how fast and how cleanly a video follows its prompts."""

from .definitions.anchor_return import anchor_return
from .definitions.disappearance import disappearance_fidelity
from .definitions.drift import colour_drift, exposure_drift, sharpness_drift
from .definitions.dynamics import intentional_dynamics
from .definitions.ghosting import ghosting
from .definitions.identity import identity
from .definitions.inertia import semantic_inertia
from .definitions.latency import transition_latency
from .definitions.picture_fidelity import picture_fidelity
from .definitions.side_effects import side_effects
from .definitions.stf import stf
from .definitions.vbench.consistency import background_consistency
from .definitions.vbench.flickering import temporal_flickering
from .evaluate import evaluate_video, score
from .measuring.clip import Clip, Region, measure_clip
from .results import SCORES_SCHEMA, Guard, Metric, SwitchScores, VideoScores
from .scoring.survival import Latencies, aggregate_latencies, concordance
from .streaming import (
    AnchorReturn,
    BackgroundConsistency,
    ColourDrift,
    DisappearanceFidelity,
    ExposureDrift,
    Ghosting,
    Identity,
    IntentionalDynamics,
    SemanticInertia,
    SharpnessDrift,
    SideEffects,
    SwitchMetric,
    SwitchTextFidelity,
    TemporalFlickering,
    TransitionLatency,
    TransitionMetrics,
    TransitionOnset,
)
from .switches import Cue, Switch, Windows, switches_from_trace, switches_of, windows_of

__all__ = [
    "SCORES_SCHEMA",
    "AnchorReturn",
    "BackgroundConsistency",
    "Clip",
    "ColourDrift",
    "Cue",
    "DisappearanceFidelity",
    "ExposureDrift",
    "Ghosting",
    "Guard",
    "Identity",
    "IntentionalDynamics",
    "Latencies",
    "Metric",
    "Region",
    "SemanticInertia",
    "SharpnessDrift",
    "SideEffects",
    "Switch",
    "SwitchMetric",
    "SwitchScores",
    "SwitchTextFidelity",
    "TemporalFlickering",
    "TransitionLatency",
    "TransitionMetrics",
    "TransitionOnset",
    "VideoScores",
    "Windows",
    "aggregate_latencies",
    "anchor_return",
    "background_consistency",
    "colour_drift",
    "concordance",
    "disappearance_fidelity",
    "evaluate_video",
    "exposure_drift",
    "ghosting",
    "identity",
    "intentional_dynamics",
    "measure_clip",
    "picture_fidelity",
    "score",
    "semantic_inertia",
    "sharpness_drift",
    "side_effects",
    "stf",
    "switches_from_trace",
    "switches_of",
    "temporal_flickering",
    "transition_latency",
    "windows_of",
]
