"""Frames in, visual tokens out."""

from encoders.errors import EncoderError, UnsupportedModelError
from encoders.family import Family, Recommended, Turn
from encoders.frame import Frame
from encoders.visual_tokens import TextTokens, VisualTokens

__all__ = [
    "EncoderError",
    "Family",
    "Frame",
    "Recommended",
    "TextTokens",
    "Turn",
    "UnsupportedModelError",
    "VisualTokens",
]
