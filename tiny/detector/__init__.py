"""An analytic detector for the embedded model's world: what is seen in each frame, and where.

A frame is compared with the empty scene that it resembles most. The difference is explained by subjects drawn over it: least
squares over all shapes, sizes, colours and whole-pixel positions at once, by Fourier transform. Nothing in it is learned.
"""

from .pair import PairDetection, detect_pair
from .reading import PRESENT_SCORE, Detection, agrees, jump, matches
from .single import detect

__all__ = [
    "PRESENT_SCORE",
    "Detection",
    "PairDetection",
    "agrees",
    "detect",
    "detect_pair",
    "jump",
    "matches",
]
