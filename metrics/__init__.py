"""How far, how fast and how cleanly a video follows its prompts."""

from .definitions.side_effects import side_effects
from .disappearance import disappearance_fidelity
from .dynamics import intentional_dynamics
from .evaluate import evaluate_video, score
from .ghosting import ghosting
from .inertia import semantic_inertia
from .latency import transition_latency
from .measuring.clip import Clip, Region, measure_clip
from .results import SCORES_SCHEMA, Guard, Metric, SwitchScores, VideoScores
from .scoring.survival import Latencies, aggregate_latencies, concordance
from .stf import stf
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
