"""QuestionPrefill: runs a question's tokens through the decoder, over the blocks it retrieves."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encoders import TextTokens
from memory import MemoryPolicy, MemoryReader
from memory.policy_hooks import NOTHING, Context
from vstream.engine.answer_context import AnswerContext
from vstream.engine.decoder import Decoder, PlainStep
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import lay_out
from vstream.engine.prefill import LayerKV, pass_of
from vstream.engine.retrieval import MemoryView, Past, mean_query
from vstream.engine.word_attention import WordAttention

BlocksByLayer = Sequence[Sequence[int]]
"""Retrieved block ids of every layer, without the recent window."""
_ReadAgain = tuple[Context, LayerKV]
"""Visual tokens that are encoded for one question, and their keys and values."""


class QuestionStep:
    """A question's pass: each layer retrieves, lays out its context and attends; in order, once."""

    def __init__(
        self,
        context: AnswerContext,
        policy: MemoryPolicy,
        past: Past,
        is_question: Bool[Tensor, " tokens"],
        retrieved: BlocksByLayer | None,
    ) -> None:
        """`retrieved` fixes the block ids of every layer; None lets every layer choose."""
        self.context = context
        self.is_question = is_question
        self._policy = policy
        self._past = past
        self._fixed = retrieved
        self.queries: list[Float[Tensor, " key_width"]] = []
        self.retrieved: list[list[int]] = []

    def lay(
        self, layer: int, query: Float[Tensor, " key_width"], sought: Tensor | None = None
    ) -> None:
        """Lay out what `layer` attends to, retrieved by `sought` or else by the mean `query`."""
        began = time.perf_counter()
        if self._fixed is not None:
            ids = list(self._fixed[layer])
        else:
            by = query if sought is None else sought
            ids = list(self._policy.select(layer, by, self._past))
        self.queries.append(query)
        self.retrieved.append(ids)
        self.context.lay(layer, ids, self._past.recent_ids)
        self._past.retrievals.append((began, time.perf_counter()))

    def begin_again(self) -> None:
        """Start over, as if no layer had been laid out."""
        self.queries, self.retrieved = [], []
        self.context.clear()

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        query = mean_query(queries, self.is_question, len(keys))
        self.lay(layer, query, self.context.sought(queries))
        return self.context.attend(layer, queries, keys, values, scale)


@dataclass(frozen=True, eq=False)
class PrefilledQuestion:
    """A prefilled question. Decoding the answer continues in `context`."""

    context: AnswerContext
    words: WordAttention
    logits: Float[Tensor, "last_tokens vocabulary"]
    retrieved: BlocksByLayer
    queries: Sequence[Float[Tensor, " key_width"]]
    """Each layer's mean query over the question's own tokens, before RoPE, summed by group."""
    retrievals: Sequence[tuple[float, float]]
    """From when to when each layer of each pass chose blocks and laid them out, in order, in
    `time.perf_counter` seconds.
    """


class QuestionPrefill:
    """Runs questions over one memory, in one pass or two, as the policy wants."""

    def __init__(
        self,
        decoder: Decoder,
        memory: MemoryReader,
        open_context: Callable[[int], AnswerContext],
        policy: MemoryPolicy,
        max_answer_tokens: int,
        cited_layers: Sequence[int] = (),
    ) -> None:
        """`open_context` makes an empty context with room for that many tokens of text. In the
        `cited_layers` it records what the words of an answer attend to.
        """
        self._decoder = decoder
        self._memory = memory
        self._open_context = open_context
        self._policy = policy
        self._max_answer_tokens = max_answer_tokens
        self._cited_layers = cited_layers

    def run(
        self, tokens: TextTokens, view: MemoryView, retrieved: BlocksByLayer | None = None
    ) -> PrefilledQuestion:
        """Run `work` by itself, with the logits of all tokens."""
        everything = len(tokens.embeddings)
        return alone(self._decoder, self.work(tokens, view, retrieved, num_logits=everything))

    def work(
        self,
        tokens: TextTokens,
        view: MemoryView,
        retrieved: BlocksByLayer | None = None,
        max_answer_tokens: int | None = None,
        num_logits: int = 1,
        again: Context = NOTHING,
    ) -> Work[PrefilledQuestion]:
        """Prefill `tokens`; `retrieved` fixes the blocks instead of letting the question choose.
        The visual tokens of `again` are encoded for this question and stand before all blocks.

        The context has room for `max_answer_tokens`, or for as many as the settings say; logits are
        those of the last `num_logits` tokens. Raises QuestionError if the context cannot hold the
        question.
        """
        past = Past(self._memory, view)
        kv = (yield from self._read_again(again)) if again.tokens else []
        read: _ReadAgain = again, kv
        if retrieved is None:
            retrieved = yield from self._first_pass(tokens, past, read)
        room = max_answer_tokens or self._max_answer_tokens
        return (yield from self._pass(tokens, past, read, retrieved, room, num_logits))

    def _read_again(self, again: Context) -> Work[LayerKV]:
        """Return the keys and values; each block sees the prefix and the blocks before it."""
        device, tokens = self._decoder.device, again.tokens
        prefix = self._open_context(0).prefix
        positions, _ = lay_out(prefix[0][0].shape[1], tokens, self._decoder.num_axes)
        step = PlainStep(self._decoder, positions.to(device), prefix)
        yield pass_of(tokens, step, device)
        return step.captured

    def _first_pass(
        self, tokens: TextTokens, past: Past, read: _ReadAgain
    ) -> Work[BlocksByLayer | None]:
        """Return the blocks that a first pass chooses; None if every layer chooses for itself."""
        layers = self._decoder.num_layers
        first_pass = self._policy.first_pass()
        if first_pass == "question":
            own = tokens.is_question
            bare = TextTokens(tokens.embeddings[own], own[own])
            return (yield from self._pass(bare, past, read, None)).retrieved
        if first_pass == "context":
            queries = (yield from self._pass(tokens, past, read, [[]] * layers)).queries
            return [self._policy.select_for_all(torch.stack(list(queries)), past)] * layers
        return None

    def _pass(
        self,
        tokens: TextTokens,
        past: Past,
        read: _ReadAgain,
        retrieved: BlocksByLayer | None,
        room: int = 0,
        num_logits: int = 1,
    ) -> Work[PrefilledQuestion]:
        context = self._open_context(len(tokens.embeddings) + room)
        context.begin_with(*read)
        context.words = words = WordAttention(self._decoder, self._cited_layers)
        step = QuestionStep(context, self._policy, past, tokens.is_question, retrieved)
        logits = yield Pass(tokens.embeddings, step, num_logits=num_logits)
        words.see(context)
        spent = past.retrievals
        return PrefilledQuestion(context, words, logits, step.retrieved, step.queries, spent)
