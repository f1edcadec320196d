"""MeasuredQuestions: a family in, questions that are all of one length, as are their answers, out.

What a token costs must not hang on what a model says. So its answers are of the best tokens and do
not end before the stated number of them, whatever it says; drawn ones are measured beside them.
"""

from copy import copy
from dataclasses import replace
from itertools import cycle

from encoders import Family
from vstream import Question, VideoLLM
from vstream.decoding.token_choice import GREEDY, Decoding

QUESTION_TOKENS = 32
"""With those of the template; longer than most questions."""
ANSWER_TOKENS = 32
_WORDS = ("what", "is", "the", "red", "cup", "on", "table")
_OTHERS = ("red", "dog", "video", "frame")


def unending(model: VideoLLM) -> VideoLLM:
    """The same model, of which no token ends an answer."""
    family = copy(model.family)
    family.stop_ids = frozenset()
    return replace(model, family=family)


class MeasuredQuestions:
    """To be asked of an `unending` model of this family."""

    def __init__(self, family: Family) -> None:
        self._texts = [_text(family, other) for other in _OTHERS]

    def __call__(self, number: int, is_drawn: bool = False) -> Question:
        """Neighbours are in other words. `is_drawn` answers are drawn at temperature 1."""
        decoding = Decoding(temperature=1.0, seed=number) if is_drawn else GREEDY
        text = self._texts[number % len(self._texts)]
        return Question(text, decoding=replace(decoding, max_tokens=ANSWER_TOKENS))


def _text(family: Family, other: str) -> str:
    """So many words that the question has QUESTION_TOKENS."""
    words = cycle(other if word == "red" else word for word in _WORDS)
    text = next(words)
    while len(family.question(text).embeddings) < QUESTION_TOKENS:
        text = f"{text} {next(words)}"
    length = len(family.question(text).embeddings)
    assert length == QUESTION_TOKENS, f"{text!r} has {length} tokens, wanted {QUESTION_TOKENS}"
    return text
