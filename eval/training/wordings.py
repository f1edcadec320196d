"""Draws questions without a stream, what they ask about, and some that no frame answers.

What a question asks does not depend on a stream. So it can be learnt without one, from far more
wordings than could be asked about streams in the same time.

The honest answer to a question that no frame answers is always the same. Half of these are sensible
but about what cannot be seen (`unanswerable.json`), half are random words, so that the model learns
to say so when it is at a loss.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval.stream_world import KINDS, noisy, word_question
from eval.stream_world.vocabulary import SIGN, shape_names
from eval.training.frames import OnDevice, known_names

UNANSWERABLE = "unanswerable"
ANSWER = "i cannot tell"
ASKED_KINDS = (*KINDS, UNANSWERABLE)
UNANSWERABLE_SHARE = 0.1
JUMBLED_SHARE = 0.5
NOISE_SHARE = 0.35
"""Share of questions with typing slips."""
OF_SHAPES = ("color", "color_first", "color_last")
OF_SIGN = ("sign", "sign_past")
LATEST_S = 7 * 3600


@dataclass(frozen=True, eq=False)
class Meaning(OnDevice):
    """What questions ask: their kind, and which of the known names they are about (1, else 0)."""

    kind: Int[Tensor, " questions"]
    names: Float[Tensor, "questions names"]

    @classmethod
    def of(cls, asked: Sequence[tuple[str, Sequence[str]]]) -> "Meaning":
        """Build from kinds and names, ignoring names that no head knows."""
        index_of = {name: index for index, name in enumerate(known_names())}
        names = torch.zeros(len(asked), len(index_of))
        for row, (_, about) in enumerate(asked):
            for name in about:
                if name in index_of:
                    names[row, index_of[name]] = 1
        return cls(torch.tensor([ASKED_KINDS.index(kind) for kind, _ in asked]), names)


def draw_wording(rng: Random, names: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """Return text, kind and names of a question about any of `names`."""
    kind = rng.choice(tuple(KINDS))
    pool = shape_names() if kind in OF_SHAPES else (SIGN,) if kind in OF_SIGN else names
    name, other = rng.choice(pool), rng.choice(names)
    time_s = rng.randrange(LATEST_S)
    text = word_question(kind, rng, "spoken", name=name, other=other, time_s=time_s)
    about = tuple(n for n in dict.fromkeys((name, other)) if re.search(rf"\b{n}\b", text))
    if rng.random() < UNANSWERABLE_SHARE:
        return unanswerable(rng, names, text.split()), UNANSWERABLE, ()
    if rng.random() < NOISE_SHARE:
        text = noisy(text, about, rng)
    return text, kind, about


def unanswerable(rng: Random, names: Sequence[str], words: Sequence[str]) -> str:
    """Return a template filled with `names`, or random `words` (of proper questions) combined."""
    name, other = rng.sample(list(names), 2)
    if rng.random() >= JUMBLED_SHARE:
        return rng.choice(_templates()).format(n=name, m=other)
    jumbled = rng.choices(words, k=rng.randint(3, 8))
    if rng.random() < 0.5:
        jumbled.insert(rng.randrange(len(jumbled)), name)
    return " ".join(jumbled) + rng.choice(("", "?", "."))


@cache
def _templates() -> tuple[str, ...]:
    text = files("eval.training").joinpath("unanswerable.json").read_text(encoding="utf-8")
    return tuple(json.loads(text))
