"""QuestionPrefill: a question's tokens through the decoder, over the blocks it retrieves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import TextTokens
from memory import MemoryPolicy, MemoryReader
from memory.policy_hooks import Tokens
from vstream.engine.answer_context import AnswerContext
from vstream.engine.decoder import Decoder
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.prefill import LayerKV, WindowKV
from vstream.engine.question_step import BlocksByLayer, QuestionStep
from vstream.engine.retrieval import MemoryView, Past

_ReadAgain = tuple[Sequence[Tokens], LayerKV]
"""Visual tokens of a question's own, and what they are to the decoder."""


@dataclass(frozen=True, eq=False)
class PrefilledQuestion:
    """A question that has been read: decoding the answer goes on in `context`."""

    context: AnswerContext
    logits: Float[Tensor, "last_tokens vocabulary"]
    retrieved: BlocksByLayer
    queries: Sequence[Float[Tensor, " key_width"]]
    """Each layer's mean query over the question's own tokens, before RoPE, summed by group."""


class QuestionPrefill:
    """Runs questions over one memory, in one pass or two as the policy wants."""

    def __init__(
        self,
        decoder: Decoder,
        memory: MemoryReader,
        open_context: Callable[[int], AnswerContext],
        policy: MemoryPolicy,
        max_answer_tokens: int,
    ) -> None:
        """`open_context` makes an empty context with room for so many tokens of text."""
        self._decoder = decoder
        self._memory = memory
        self._open_context = open_context
        self._policy = policy
        self._max_answer_tokens = max_answer_tokens

    def run(
        self, tokens: TextTokens, view: MemoryView, retrieved: BlocksByLayer | None = None
    ) -> PrefilledQuestion:
        """`work`, run by itself, with the logits of all tokens."""
        everything = len(tokens.embeddings)
        return alone(self._decoder, self.work(tokens, view, retrieved, num_logits=everything))

    def work(
        self,
        tokens: TextTokens,
        view: MemoryView,
        retrieved: BlocksByLayer | None = None,
        max_answer_tokens: int | None = None,
        num_logits: int = 1,
        again: Sequence[Tokens] = (),
    ) -> Work[PrefilledQuestion]:
        """Prefill `tokens`; `retrieved` fixes the blocks instead of letting the question choose.
        Visual tokens in `again` are read before all blocks, of their own.

        The context has room for `max_answer_tokens`, or as many as the settings say; logits are
        those of the last `num_logits` tokens. Raises QuestionError for a question that the context
        cannot hold.
        """
        read: _ReadAgain = (again, (yield from self._read_again(again))) if again else ((), [])
        if retrieved is None:
            retrieved = yield from self._first_pass(tokens, view, read)
        room = max_answer_tokens or self._max_answer_tokens
        return (yield from self._pass(tokens, view, read, retrieved, room, num_logits))

    def _read_again(self, tokens: Sequence[Tokens]) -> Work[LayerKV]:
        """Their keys and values, each block seeing the prefix and those before it."""
        device = self._decoder.device
        step = WindowKV(self._decoder, self._open_context(0).prefix).step(tokens)
        deepstack = [one.deepstack.to(device) for one in tokens if one.deepstack is not None]
        yield Pass(
            torch.cat([one.embeddings.to(device) for one in tokens]),
            step,
            torch.cat([one.is_visual.to(device) for one in tokens]),
            torch.cat(deepstack, dim=1) if deepstack else None,
        )
        return step.captured

    def _first_pass(
        self, tokens: TextTokens, view: MemoryView, read: _ReadAgain
    ) -> Work[BlocksByLayer | None]:
        """The blocks that a first pass chooses; None where each layer chooses in the only pass."""
        layers = self._decoder.num_layers
        first_pass = self._policy.first_pass()
        if first_pass == "question":
            own = tokens.is_question
            bare = TextTokens(tokens.embeddings[own], own[own])
            return (yield from self._pass(bare, view, read, None)).retrieved
        if first_pass == "context":
            queries = (yield from self._pass(tokens, view, read, [[]] * layers)).queries
            past = Past(self._memory, view)
            return [self._policy.select_for_all(torch.stack(list(queries)), past)] * layers
        return None

    def _pass(
        self,
        tokens: TextTokens,
        view: MemoryView,
        read: _ReadAgain,
        retrieved: BlocksByLayer | None,
        room: int = 0,
        num_logits: int = 1,
    ) -> Work[PrefilledQuestion]:
        context = self._open_context(len(tokens.embeddings) + room)
        context.begin_with(*read)
        past = Past(self._memory, view)
        step = QuestionStep(context, self._policy, past, view, tokens.is_question, retrieved)
        logits = yield Pass(tokens.embeddings, step, num_logits=num_logits)
        return PrefilledQuestion(context, logits, step.retrieved, step.queries)
