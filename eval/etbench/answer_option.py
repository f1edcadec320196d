"""Answer option: the text of an answer to a multiple-choice question in, the option picked out.

rar, eca and rvq look for a letter in brackets, then for a letter at the front, and a letter counts
there only if it is the right one: any other answer picks the option that it is most like. In gvq
the letter at the front decides, right or wrong, and likeness only if there is none.
"""

import re
from dataclasses import dataclass

import numpy as np

from eval.etbench.mend import Mend, Mends
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.sample import Sample
from eval.etbench.sentence_likeness import SentenceLikeness

_PREFIX = "best option:"
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_ARTICLE = re.compile(r"a\s+\w", re.IGNORECASE)


@dataclass(frozen=True)
class PickedOption:
    """`option` is None if the answer is empty; `likeness` is None if a letter decided."""

    option: int | None
    has_letter: bool
    likeness: tuple[float, ...] | None = None


def num_letters(sample: Sample) -> int:
    """How many letters name options: four or five."""
    if len(sample.o) not in (4, 5):
        raise OfficialCrash("NotImplementedError", f"{len(sample.o)} options")
    return len(sample.o)


def pick_option(
    sample: Sample, answer: object, letters: int, likeness: SentenceLikeness, mends: Mends
) -> PickedOption:
    """As rar, eca and rvq are read, with the number of letters of the first sample's options."""
    text = _text(answer)
    bracketed = _BRACKETED.search(text)
    named = [] if bracketed is None else [_place(bracketed[1], letters)]
    rest = _without_prefix(text)
    front = _front_letter(rest, mends)
    if front is not None:
        named.append(_place(front, letters))
    is_final = Mend.WRONG_LETTER_FINAL in mends
    for place in named:
        if place is not None and (is_final or place == sample.p):
            return PickedOption(place, True)
    if not rest:
        return PickedOption(None, bool(named))
    return _most_like(sample, rest, bool(named), likeness)


def pick_grounded_option(
    sample: Sample, answer: object, likeness: SentenceLikeness, mends: Mends
) -> PickedOption:
    """As gvq is read, with the letters of the sample's own options."""
    letters = num_letters(sample)
    rest = _without_prefix(_text(answer))
    front = _front_letter(rest, mends)
    place = None if front is None else _place(front, letters)
    if place is not None:
        return PickedOption(place, True)
    if not rest:
        return PickedOption(None, False)
    return _most_like(sample, rest, front is not None, likeness)


def _text(answer: object) -> str:
    if not isinstance(answer, str):
        raise OfficialCrash("TypeError", f"the answer is {type(answer).__name__}, not text")
    return answer


def _without_prefix(text: str) -> str:
    if text.lower().startswith(_PREFIX):
        text = text[len(_PREFIX) :]
    return text.lstrip().lstrip("(").lstrip()


def _front_letter(text: str, mends: Mends) -> str | None:
    """The first character if it stands alone, whatever it is."""
    if Mend.ARTICLE_IS_NO_LETTER in mends and _ARTICLE.match(text):
        return None
    return text[0] if len(text) == 1 or text[1:2] in (".", ",", " ", ")") else None


def _place(letter: str, letters: int) -> int | None:
    place = "abcde".find(letter.lower())
    return place if 0 <= place < letters else None


def _most_like(
    sample: Sample, text: str, has_letter: bool, likeness: SentenceLikeness
) -> PickedOption:
    found = likeness.between([text], sample.option_texts)[0]
    return PickedOption(int(np.argmax(found)), has_letter, tuple(found.tolist()))
