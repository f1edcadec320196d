"""AskedCheck: a question that tells whether something is so, as it is put to one model."""

from collections.abc import Callable

from encoders import Family, TextTokens
from encoders.check import Check
from vstream.engine.passes import Work
from vstream.engine.question_prefill import PrefilledQuestion
from vstream.yes_no import speaking_probability


class AskedCheck:
    """May be asked about any number of blocks."""

    def __init__(self, check: Check, family: Family) -> None:
        self._family, self._least = family, check.least
        self._high = family.recommended.find_threshold
        words = check.answer.split()
        self._steps = [
            (
                family.question(check.question, answer_start=" ".join(words[:said])),
                sorted(family.first_tokens(words[said : said + 1])),
            )
            for said in range(len(words) or 1)
        ]
        """What is asked, once for each word of the answer, and the tokens that the word begins
        with: none where it is a yes or no.
        """
        self.name = "\n".join([check.question, *words])
        """What it asks and wants to hear."""

    def work(self, read: Callable[[TextTokens], Work[PrefilledQuestion]]) -> Work[float]:
        """How probable it is that the model says it, on the scale of a yes. `read` puts a question
        about a block.
        """
        probability = 1.0
        for tokens, begins in self._steps:
            logits = (yield from read(tokens)).logits[-1]
            if not begins:
                return speaking_probability(logits, self._family)
            probability *= float(logits.float().softmax(dim=0)[begins].sum())
        if probability < self._least:
            return probability * self._high / self._least
        return 1 - (1 - probability) * (1 - self._high) / (1 - self._least)
