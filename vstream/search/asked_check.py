"""AskedCheck: a question that checks whether a statement is true, as put to one model."""

from typing import Protocol

import torch

from encoders import TextTokens
from encoders.check import Check
from vstream.engine.passes import Pass, Work
from vstream.engine.question_prefill import PrefilledQuestion
from vstream.models.video_llm import VideoLLM
from vstream.yes_no import speaking_probability

_MOST_SAID = 32
"""How many tokens of an answer are searched for a name."""


class Read(Protocol):
    """Asks about a block, with `room` for tokens of an answer."""

    def __call__(self, tokens: TextTokens, room: int) -> Work[PrefilledQuestion]: ...


class AskedCheck:
    """One check; it may be asked about any number of blocks."""

    def __init__(self, check: Check, model: VideoLLM) -> None:
        self._model, self._least = model, check.least
        self._high = model.family.recommended.find_threshold
        words = check.answer.split()
        self._steps = [
            (
                model.family.question(check.question, answer_start=" ".join(words[:said])),
                sorted(model.family.first_tokens(words[said : said + 1])),
            )
            for said in range(len(words) or 1)
        ]
        """By word of the answer: the question, and the tokens that begin it; none: yes or no."""
        self._named = sorted(model.family.first_tokens(check.name.split()[:1]))
        self.is_of_spans = bool(check.name)
        """Whether it is only asked about blocks that decide a span."""
        self.name = "\n".join([check.question, *words, *check.name.split()])

    def work(self, read: Read) -> Work[float]:
        """Return how probable it is that the model says it, on the scale of a yes."""
        if self.is_of_spans:
            return self._scaled((yield from self._naming(read)))
        probability = 1.0
        for tokens, begins in self._steps:
            logits = (yield from read(tokens, 1)).logits[-1]
            if not begins:
                return speaking_probability(logits, self._model.family)
            probability *= float(logits.float().softmax(dim=0)[begins].sum())
        return self._scaled(probability)

    def _naming(self, read: Read) -> Work[float]:
        """Decode the most probable tokens; return the name's highest probability at any of them.
        Ends once that is high enough.
        """
        family, decoder, most = self._model.family, self._model.decoder, 0.0
        prefilled = yield from read(self._steps[0][0], _MOST_SAID)
        logits = prefilled.logits
        for left in reversed(range(_MOST_SAID)):
            said = logits[-1].float().softmax(dim=0)
            most = max(most, float(said[self._named].sum()))
            token = int(said.argmax())
            if most >= self._least or token in family.stop_ids or not left:
                break
            embedded = decoder.embed(torch.tensor([token], device=decoder.device))
            logits = yield Pass(embedded, prefilled.context, num_logits=1)
        return most

    def _scaled(self, probability: float) -> float:
        if probability < self._least:
            return probability * self._high / self._least
        return 1 - (1 - probability) * (1 - self._high) / (1 - self._least)
