"""kept_dialogue: a question with its dialogue in, the same with those tokens that a policy keeps.

Source: SirLLM (https://arxiv.org/abs/2405.12528): a token's surprise, -log p(token | text before
it), says how much it is worth keeping. Differs: the dialogue is text that is read again with every
question, so no cache is kept; its tokens see the prefix and the dialogue, and no pictures.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encoders import TextTokens, Turn
from memory import MemoryPolicy
from vstream.engine.decoder import Decoder
from vstream.engine.passes import Pass, Work
from vstream.engine.prefill import LayerKV
from vstream.engine.text_query import TextStep

_AT_ONCE = 64
"""Logits are wide: so many tokens have theirs at a time."""


def kept_dialogue(
    decoder: Decoder,
    prefix: LayerKV,
    policy: MemoryPolicy,
    read: Callable[[Sequence[Turn]], TextTokens],
    dialogue: Sequence[Turn],
) -> Work[TextTokens]:
    """All that stands after the last block; `read` is the question with so much of its dialogue.

    Raises QuestionError for what is too long.
    """
    tokens = read(dialogue)
    if tokens.ids is None:
        return tokens
    turns = torch.full((len(tokens.ids),), -1)
    for number in reversed(range(len(dialogue))):
        start, end = _middle(read(()), read(dialogue[: number + 1]))
        turns[start:end] = number
    said = turns >= 0
    hidden = yield Pass(tokens.embeddings, TextStep(decoder, prefix, tokens))
    stays = ~said
    stays[said] = policy.kept_dialogue(_surprise(decoder, hidden, tokens.ids)[said], turns[said])
    stays = stays.to(tokens.embeddings.device)
    return TextTokens(tokens.embeddings[stays], tokens.is_question[stays], tokens.ids[stays])


def _middle(without: TextTokens, whole: TextTokens) -> tuple[int, int]:
    """Where the tokens stand that `whole` has in addition."""
    assert without.ids is not None
    assert whole.ids is not None
    one, other = without.ids.tolist(), whole.ids.tolist()
    start = _alike(one, other)
    end = len(other) - min(_alike(one[::-1], other[::-1]), len(one) - start)
    return start, end


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens they have in common from the beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _surprise(
    decoder: Decoder, hidden: Tensor, ids: Int[Tensor, " tokens"]
) -> Float[Tensor, " tokens"]:
    """Of each token; the first, which nothing foretells, has as much as the one after it."""
    found = [
        -decoder.logits(some).float().log_softmax(dim=1).gather(1, wanted[:, None].clamp_min(0))
        for some, wanted in zip(hidden[:-1].split(_AT_ONCE), ids[1:].split(_AT_ONCE), strict=True)
    ]
    surprise = torch.cat(found)[:, 0].cpu()
    return torch.cat([surprise[:1], surprise])
