"""How far, how fast and how cleanly a video follows its prompts."""

from .evaluate import score
from .results import SCORES_SCHEMA, Guard, Metric, SwitchScores, VideoScores
from .switches import Cue, Switch, Windows, switches_from_trace, switches_of, windows_of

__all__ = [
    "SCORES_SCHEMA",
    "Cue",
    "Guard",
    "Metric",
    "Switch",
    "SwitchScores",
    "VideoScores",
    "Windows",
    "score",
    "switches_from_trace",
    "switches_of",
    "windows_of",
]
