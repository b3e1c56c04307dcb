"""What a frame looks like, as a vector: extractors with one interface. torch is imported when one is built or used."""

from .base import Extractor
from .openclip import OpenClipExtractor
from .pixel import PixelExtractor

__all__ = ["Extractor", "OpenClipExtractor", "PixelExtractor"]
