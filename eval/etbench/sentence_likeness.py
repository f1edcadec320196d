"""SentenceLikeness: inner products of all pairs of vectors from two lists of sentences."""

import random
import string
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float

from encoders.sentence_encoder import SentenceEncoder

NUM_RANDOM_STRINGS = 512
"""Enough that their mean vector moves a caption's similarity to it by only a few thousandths."""


class SentenceLikeness:
    def __init__(self, encoder: SentenceEncoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, Float[np.ndarray, 384]] = {}

    def between(
        self, sentences: Sequence[str], others: Sequence[str]
    ) -> Float[np.ndarray, "sentences others"]:
        """Compute in float32, like the official scorer."""
        products: Float[np.ndarray, "sentences others"]
        products = self._rows(sentences) @ self._rows(others).T
        return products

    def to_random_string(self, sentences: Sequence[str]) -> Float[np.ndarray, " sentences"]:
        """Return each sentence's mean product with random strings of 10 to 20 letters."""
        random_string = _mean_random_string(self._encoder)
        products: Float[np.ndarray, " sentences"] = self._rows(sentences) @ random_string
        return products

    def learn(self, sentences: Iterable[str]) -> None:
        """Encode unknown sentences in one go: batches are faster."""
        unknown = sorted({one for one in sentences if one not in self._vectors})
        if unknown:
            self._vectors.update(zip(unknown, self._encoder.encode(unknown), strict=True))

    def _rows(self, sentences: Sequence[str]) -> Float[np.ndarray, "sentences 384"]:
        self.learn(sentences)
        return np.stack([self._vectors[sentence] for sentence in sentences])


@cache
def _mean_random_string(encoder: SentenceEncoder) -> Float[np.ndarray, "384"]:
    """Computed once per process: it takes longer than the captions of a small run."""
    chance = random.Random(0)
    strings = [
        "".join(chance.choices(string.ascii_lowercase, k=chance.randint(10, 20)))
        for _ in range(NUM_RANDOM_STRINGS)
    ]
    mean: Float[np.ndarray, 384] = encoder.encode(strings).mean(axis=0)
    return mean
