"""Frames in, visual tokens out."""

from encoders.chat_prompt import Turn
from encoders.errors import EncoderError, UnsupportedModelError
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.frame_sampler import FrameSampler
from encoders.recommended import Recommended
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
    "thumbnail",
    "with_time_words",
]
