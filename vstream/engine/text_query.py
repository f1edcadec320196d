"""text_queries: computes each layer's mean query over a text's own words, and reads no block.

The queries are those of a question's first pass over [prefix | question] alone (see
`vstream.engine.retrieval`), so they depend on the model and the text, not on a stream.
"""

from jaxtyping import Float
from torch import Tensor

from encoders import TextTokens
from vstream.engine.decoder import Decoder, PlainStep
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import text_positions
from vstream.engine.prefill import LayerKV
from vstream.engine.retrieval import mean_query
from vstream.errors import QuestionError


def text_queries(
    decoder: Decoder, prefix: LayerKV, tokens: TextTokens
) -> list[Float[Tensor, " key_width"]]:
    return alone(decoder, text_query_work(decoder, prefix, tokens))


def text_query_work(
    decoder: Decoder, prefix: LayerKV, tokens: TextTokens
) -> Work[list[Float[Tensor, " key_width"]]]:
    """Return one query per layer. Raises QuestionError for a text that the decoder cannot hold."""
    step = TextStep(decoder, prefix, tokens)
    yield Pass(tokens.embeddings, step)
    return step.queries


class TextStep(PlainStep):
    """A pass over text behind the prefix alone; keeps each layer's mean query."""

    def __init__(self, decoder: Decoder, prefix: LayerKV, tokens: TextTokens) -> None:
        """Raises QuestionError if the decoder cannot hold the text."""
        count = prefix[0][0].shape[1] + len(tokens.embeddings)
        if count > decoder.max_positions:
            raise QuestionError(
                f"the text is too long: it needs {count} positions, the model has "
                f"{decoder.max_positions}"
            )
        positions = text_positions(0, count, decoder.num_axes, decoder.device)
        super().__init__(decoder, positions, prefix)
        self._is_question = tokens.is_question
        self.queries: list[Tensor] = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.queries.append(mean_query(queries, self._is_question, len(keys)))
        return super().attend(layer, queries, keys, values, scale)
