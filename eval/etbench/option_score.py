"""Option score: scores answers to multiple-choice questions by the options they pick.

rar, eca and rvq look for a letter in brackets, then for a leading letter, and a letter counts there
only if it is right: any other answer picks the option it is most similar to. In gvq the leading
letter decides, right or wrong, and similarity only if there is none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.etbench.sample import Answered, Figures, Sample
from eval.etbench.sentence_likeness import SentenceLikeness

_PREFIX = "best option:"
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_NUMS_OF_OPTIONS = (4, 5)
"""The official scorer raises for others."""


@dataclass(frozen=True)
class PickedOption:
    """`option` is None if the answer is empty; `likeness` is None if a letter decided."""

    option: int | None
    has_letter: bool
    likeness: tuple[float, ...] | None = None


def option_score(answered: Sequence[Answered], likeness: SentenceLikeness) -> Figures:
    """Use the first sample's letters for all; `Failed` answers show no letter, right or not."""
    first = next((len(s.o) for s, _ in answered if len(s.o) in _NUMS_OF_OPTIONS), 0)
    picked = [pick_option(sample, answer, first, likeness) for sample, answer in answered]
    right = sum(
        one is not None and one.option == sample.p
        for one, (sample, _) in zip(picked, answered, strict=True)
    )
    failed = sum(one is None or not one.has_letter for one in picked)
    return {"Total": len(answered), "Failed": failed, "Acc": right / len(answered)}


def pick_option(
    sample: Sample, answer: object, letters: int, likeness: SentenceLikeness
) -> PickedOption | None:
    """Read as for rar, eca and rvq; None where the official scorer raises."""
    if not isinstance(answer, str) or len(sample.o) not in _NUMS_OF_OPTIONS:
        return None
    bracketed = _BRACKETED.search(answer)
    rest = _without_prefix(answer)
    named = [letter for letter in (bracketed and bracketed[1], _front_letter(rest)) if letter]
    if any(_place(letter, letters) == sample.p for letter in named):
        return PickedOption(sample.p, True)
    return _most_like(sample, rest, bool(named), likeness)


def pick_grounded_option(
    sample: Sample, answer: object, likeness: SentenceLikeness
) -> PickedOption | None:
    """Read as for gvq, with the letters of the sample's own options."""
    if not isinstance(answer, str) or len(sample.o) not in _NUMS_OF_OPTIONS:
        return None
    rest = _without_prefix(answer)
    front = _front_letter(rest)
    place = None if front is None else _place(front, len(sample.o))
    if place is not None:
        return PickedOption(place, True)
    return _most_like(sample, rest, front is not None, likeness)


def _without_prefix(text: str) -> str:
    if text.lower().startswith(_PREFIX):
        text = text[len(_PREFIX) :]
    return text.lstrip().lstrip("(").lstrip()


def _front_letter(text: str) -> str | None:
    """Return the first character, whatever it is, if it stands alone."""
    return text[0] if len(text) == 1 or text[1:2] in (".", ",", " ", ")") else None


def _place(letter: str, letters: int) -> int | None:
    place = "abcde".find(letter.lower())
    return place if 0 <= place < letters else None


def _most_like(
    sample: Sample, text: str, has_letter: bool, likeness: SentenceLikeness
) -> PickedOption:
    if not text:
        return PickedOption(None, has_letter)
    found = likeness.between([text], sample.option_texts)[0]
    return PickedOption(int(np.argmax(found)), has_letter, tuple(found.tolist()))
