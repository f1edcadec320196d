"""Turns sentences into unit vectors to compare them by; remembers the vectors of recent ones."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from encoders.sentence_encoder import SentenceEncoder
from memory.locks import Rank, ranked_lock

_KNOWN = 256
_lock = ranked_lock(Rank.SENTENCES)  # a tokenizer is for one thread at a time


def sentence_vectors(sentences: Sequence[str]) -> Float[np.ndarray, "sentences features"]:
    """Return a vector for each, from any thread; recent ones cost nothing. Raises EncoderError."""
    return np.stack([_vector(one) for one in sentences])


@lru_cache(maxsize=_KNOWN)
def _vector(sentence: str) -> Float[np.ndarray, " features"]:
    with _lock:
        vector: Float[np.ndarray, " features"] = SentenceEncoder().encode([sentence])[0]
    return vector
