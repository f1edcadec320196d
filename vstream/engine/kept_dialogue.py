"""kept_dialogue: cuts the dialogue of a question down to the tokens that the memory policy keeps.

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
from memory.policy_hooks import Dialogue
from vstream.engine.decoder import Decoder
from vstream.engine.passes import Pass, Work
from vstream.engine.prefill import LayerKV
from vstream.engine.text_query import TextStep

_AT_ONCE = 64
"""Logits are wide: compute those of this many tokens at a time."""


def kept_dialogue(
    decoder: Decoder,
    prefix: LayerKV,
    policy: MemoryPolicy,
    read: Callable[[Sequence[Turn]], TextTokens],
    dialogue: Sequence[Turn],
) -> Work[TextTokens]:
    """Return the question's tokens; `read` makes them for a dialogue. Raises QuestionError."""
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
    surprise, repeat = surprises(decoder.logits, hidden, tokens.ids)
    stays[said] = policy.kept_dialogue(Dialogue(turns[said], surprise[said], repeat[said]))
    stays = stays.to(tokens.embeddings.device)
    return TextTokens(tokens.embeddings[stays], tokens.is_question[stays], tokens.ids[stays])


def _middle(without: TextTokens, whole: TextTokens) -> tuple[int, int]:
    assert without.ids is not None
    assert whole.ids is not None
    one, other = without.ids.tolist(), whole.ids.tolist()
    start = _num_common(one, other)
    end = len(other) - min(_num_common(one[::-1], other[::-1]), len(one) - start)
    return start, end


def _num_common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def surprises(
    logits_of: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "tokens features"],
    ids: Int[Tensor, " tokens"],
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """For each token, return -log p(token | all before it) and -log p(token again | up to it). The
    first token, which nothing predicts, gets the surprise of the second.
    """
    following = torch.cat([ids[1:], ids[-1:]])
    found = []
    for some, *wanted in zip(
        *(one.split(_AT_ONCE) for one in (hidden, following, ids)), strict=True
    ):
        unlikely = -logits_of(some).float().log_softmax(dim=1)
        found.append(unlikely.gather(1, torch.stack(wanted, dim=1).clamp_min(0)))
    predicted, repeat = torch.cat(found).cpu().unbind(dim=1)
    return torch.cat([predicted[:1], predicted[:-1]]), repeat
