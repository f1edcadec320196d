"""QuestionStep: a question's pass: each layer retrieves, lays its context, then attends."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from memory import MemoryPolicy
from vstream.engine.answer_context import AnswerContext
from vstream.engine.retrieval import MemoryView, Past, mean_query

BlocksByLayer = Sequence[Sequence[int]]
"""Retrieved block ids of every layer, the recent window left out."""


class QuestionStep:
    """Layers come in order, each once."""

    def __init__(
        self,
        context: AnswerContext,
        policy: MemoryPolicy,
        past: Past,
        view: MemoryView,
        is_question: Bool[Tensor, " tokens"],
        retrieved: BlocksByLayer | None,
    ) -> None:
        """`retrieved`: fixed block ids for every layer; None lets every layer choose."""
        self.context = context
        self.is_question = is_question
        self._policy = policy
        self._past = past
        self._view = view
        self._fixed = retrieved
        self.queries: list[Float[Tensor, " key_width"]] = []
        self.retrieved: list[list[int]] = []

    def lay(self, layer: int, query: Float[Tensor, " key_width"]) -> None:
        """Put in place what the question's words, `query` in the mean, attend to in `layer`."""
        ids = (
            self._fixed[layer]
            if self._fixed is not None
            else self._policy.select(layer, query, self._past)
        )
        self.queries.append(query)
        self.retrieved.append(list(ids))
        self.context.lay(layer, ids, self._view.recent_ids)

    def begin_again(self) -> None:
        """As if no layer had come."""
        self.queries, self.retrieved = [], []
        self.context.clear()

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.lay(layer, mean_query(queries, self.is_question, len(keys)))
        return self.context.attend(layer, queries, keys, values, scale)
