"""How far, how fast and how cleanly a video follows its prompts."""

from .definitions.disappearance import disappearance_fidelity
from .definitions.dynamics import intentional_dynamics
from .definitions.ghosting import ghosting
from .definitions.inertia import semantic_inertia
from .definitions.latency import transition_latency
from .definitions.side_effects import side_effects
from .definitions.stf import stf
from .evaluate import evaluate_video, score
from .measuring.clip import Clip, Region, measure_clip
from .results import SCORES_SCHEMA, Guard, Metric, SwitchScores, VideoScores
from .scoring.survival import Latencies, aggregate_latencies, concordance
from .switches import Cue, Switch, Windows, switches_from_trace, switches_of, windows_of

__all__ = [
    "SCORES_SCHEMA",
    "Clip",
    "Cue",
    "Guard",
    "Latencies",
    "Metric",
    "Region",
    "Switch",
    "SwitchScores",
    "VideoScores",
    "Windows",
    "aggregate_latencies",
    "concordance",
    "disappearance_fidelity",
    "evaluate_video",
    "ghosting",
    "intentional_dynamics",
    "measure_clip",
    "score",
    "semantic_inertia",
    "side_effects",
    "stf",
    "switches_from_trace",
    "switches_of",
    "transition_latency",
    "windows_of",
]
