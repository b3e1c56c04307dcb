"""One pass over a video: features, detections, motion and what is kept of the frames."""

from .box_detectors import GroundingDinoDetector, Owlv2Detector
from .clip import Clip, Region, measure_clip
from .detectors import CallableDetector, Detections, Detector, ZeroShotDetector
from .measurements import Measurements
from .perceptual import Lpips, Perceptual

__all__ = [
    "CallableDetector",
    "Clip",
    "Detections",
    "Detector",
    "GroundingDinoDetector",
    "Lpips",
    "Measurements",
    "Owlv2Detector",
    "Perceptual",
    "Region",
    "ZeroShotDetector",
    "measure_clip",
]
