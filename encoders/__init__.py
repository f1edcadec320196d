"""Frames in, visual tokens out."""

from encoders.errors import EncoderError, UnsupportedModelError
from encoders.family import Family, Recommended, Turn
from encoders.frame import Frame
from encoders.frame_sampler import FrameSampler
from encoders.registry import make_family
from encoders.spoken_time import with_time_words
from encoders.thumbnail import thumbnail
from encoders.visual_tokens import TextTokens, VisualTokens

__all__ = [
    "EncoderError",
    "Family",
    "Frame",
    "FrameSampler",
    "Recommended",
    "TextTokens",
    "Turn",
    "UnsupportedModelError",
    "VisualTokens",
    "make_family",
    "thumbnail",
    "with_time_words",
]
