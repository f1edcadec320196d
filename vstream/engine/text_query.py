"""text_queries: a text's tokens in, each layer's mean query over its own words out; reads no block.

The queries are those of a question's first pass over [prefix | question] alone (see
`vstream.engine.retrieval`), so they depend on the model and the text and on no stream.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encoders import TextTokens
from vstream.engine.decoder import Decoder
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import text_positions
from vstream.engine.prefill import LayerKV
from vstream.engine.retrieval import mean_query
from vstream.errors import QuestionError


def text_queries(
    decoder: Decoder, prefix: LayerKV, tokens: TextTokens
) -> list[Float[Tensor, " key_width"]]:
    """`text_query_work`, run by itself."""
    return alone(decoder, text_query_work(decoder, prefix, tokens))


def text_query_work(
    decoder: Decoder, prefix: LayerKV, tokens: TextTokens
) -> Work[list[Float[Tensor, " key_width"]]]:
    """One query a layer. Raises QuestionError for a text that the decoder cannot hold."""
    step = text_step(decoder, prefix, tokens)
    yield Pass(tokens.embeddings, step)
    return step.queries


def text_step(decoder: Decoder, prefix: LayerKV, tokens: TextTokens) -> "TextStep":
    """The step of a pass over text alone. Raises QuestionError if the decoder cannot hold it."""
    count = prefix[0][0].shape[1] + len(tokens.embeddings)
    if count > decoder.max_positions:
        raise QuestionError(
            f"the text is too long: it needs {count} positions, the model has "
            f"{decoder.max_positions}"
        )
    positions = text_positions(0, count, decoder.num_axes).to(decoder.device)
    return TextStep(decoder, prefix, positions, tokens.is_question)


class TextStep:
    """Attend to the prefix and, causally, to the text; keep each layer's mean query."""

    def __init__(
        self,
        decoder: Decoder,
        prefix: LayerKV,
        positions: Tensor,
        is_question: Bool[Tensor, " tokens"],
    ) -> None:
        self._decoder = decoder
        self._prefix = prefix
        self._positions = positions
        self._is_question = is_question
        self.queries: list[Tensor] = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        tokens = queries.shape[1]
        self.queries.append(mean_query(queries, self._is_question, len(keys)))
        prefix_keys, prefix_values = self._prefix[layer]
        keys = torch.cat([prefix_keys, keys], dim=1)
        rope = self._decoder.rope
        return self._decoder.attend_causally(
            rope.rotate(queries, self._positions[:, -tokens:]),
            rope.rotate(keys, self._positions),
            torch.cat([prefix_values, values], dim=1),
            scale,
        )
