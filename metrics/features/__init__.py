"""What a frame looks like, as a vector: extractors with one interface."""

from .base import Extractor, as_frames, reduced
from .openclip import OpenClipExtractor
from .pixel import PixelExtractor

__all__ = [
    "Extractor",
    "OpenClipExtractor",
    "PixelExtractor",
    "as_frames",
    "reduced",
]
