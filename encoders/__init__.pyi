from .chat_prompt import Turn
from .errors import EncoderError, UnsupportedModelError
from .families.family import EmbedsPictures, Family
from .frame import NO_PICTURE, Frame, TextToken
from .frame_sampler import FrameSampler
from .images import thumbnail
from .recommended import Recommended
from .spoken_time import with_time_words
from .tokens import TextTokens, VisualTokens

__all__ = [
    "NO_PICTURE",
    "EmbedsPictures",
    "EncoderError",
    "Family",
    "Frame",
    "FrameSampler",
    "Recommended",
    "TextToken",
    "TextTokens",
    "Turn",
    "UnsupportedModelError",
    "VisualTokens",
    "thumbnail",
    "with_time_words",
]
