from .chat_prompt import Turn
from .errors import EncoderError, UnsupportedModelError
from .families.family import EmbedsPictures, Family
from .frame import Frame
from .frame_sampler import FrameSampler
from .images import thumbnail
from .recommended import Recommended
from .spoken_time import with_time_words
from .tokens import TextTokens, VisualTokens

__all__ = [
    "EmbedsPictures",
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
