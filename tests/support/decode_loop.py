"""Answers decoded as an engine decodes them: from a source of logits, or from a tiny decoder."""

from dataclasses import dataclass

import torch

from vstream.decoding.token_choice import TokenChoice
from vstream.engine import view_at
from vstream.engine.cuda.recording import run_anew


@dataclass
class Decoded:
    token_ids: tuple
    text: str
    pieces: list
    confidence: float
    truncated: bool


def decode(decoding, family, logits_after, limit=400):
    """`logits_after(token)` are the next logits; None asks for the first."""
    choice = TokenChoice(decoding, family)
    ids, pieces, shown, confidence, token, done = [], [], "", 1.0, None, False
    while not done and len(ids) < (decoding.max_tokens or limit):
        token, probability = choice.choose(logits_after(token))
        confidence = min(confidence, probability)
        done = choice.is_done(token)
        if token not in family.stop_ids:
            ids.append(token)
            text = choice.shown(ids)
            assert text.startswith(shown), "what was shown has changed"
            pieces.append(text[len(shown) :])
            shown = text
    whole = choice.text(ids)
    assert whole.startswith(shown)
    pieces.append(whole[len(shown) :])
    return Decoded(tuple(ids), whole, pieces, confidence, truncated=not done)


def noise(family, seed, scale=4.0, padding=0):
    """Random logits, the same for the same seed; `padding` rows beyond the vocabulary are best."""
    generator = torch.Generator().manual_seed(seed)

    def logits_after(token):
        logits = scale * torch.randn(family.vocabulary_size + padding, generator=generator)
        logits[family.vocabulary_size :] = 100.0
        return logits

    return logits_after


def decoder_logits(session, text, **options):
    """The logits of the session's own decoder after a question."""
    model = session.model
    view = view_at(session.memory, None, session.policy.recent_blocks())
    prefilled = session.questions.run(model.family.question(text, **options), view)

    def logits_after(token):
        if token is None:
            return prefilled.logits[-1]
        embedded = model.decoder.embed(torch.tensor([token]))
        return model.decoder.logits(model.decoder.forward(embedded, prefilled.context))[-1]

    return logits_after


def is_recorded(path):
    """Whether passes of a fast path are replayed: on a card, unless it could not record one."""
    return path._record is not run_anew and bool(path._recorded)
