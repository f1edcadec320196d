"""TokenChoice: picks the tokens of an answer as its Decoding asks, and turns them into text.

It takes the best token at temperature 0; otherwise it samples by temperature and nucleus (Holtzman
et al., "The Curious Case of Neural Text Degeneration", 2020). A grammar rules tokens out first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import Family
from vstream.decoding.grammar import MAX_SCHEMA_BYTES, Grammar, open_grammar
from vstream.device.asker import Asker
from vstream.errors import QuestionError

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""Ends a text whose last letter still lacks bytes."""
_MAX_TEMPERATURE = 2.0
_MAX_STOPS = 16
_MAX_STOP_LETTERS = 256
_SEEDS = range(-(2**63), 2**64)


@dataclass(frozen=True)
class Decoding:
    """How to decode one answer. Raises QuestionError naming the field that is out of bounds.

    With `schema`, a JSON schema as text, the answer is JSON that it allows; with `json_object`, any
    JSON object. `seed` makes sampling repeatable; with None every run differs.
    """

    max_tokens: int | None = None
    """None: the engine's setting."""
    temperature: float = 0.0
    top_p: float = 1.0
    """Sample from the most probable tokens that together have this probability."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
    schema: str | None = None
    json_object: bool = False

    @property
    def is_structured(self) -> bool:
        """Whether the answer is JSON, to which nothing may be added."""
        return self.schema is not None or self.json_object

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise QuestionError(f"max_tokens: wanted at least 1, got {self.max_tokens}")
        if not 0 <= self.temperature <= _MAX_TEMPERATURE:
            raise QuestionError(
                f"temperature: wanted 0 to {_MAX_TEMPERATURE:g}, got {self.temperature:g}"
            )
        if not 0 <= self.top_p <= 1:
            raise QuestionError(f"top_p: wanted 0 to 1, got {self.top_p:g}")
        if self.seed is not None and self.seed not in _SEEDS:
            raise QuestionError(f"seed: wanted an integer of 64 bits, got {self.seed}")
        if len(self.stop) > _MAX_STOPS:
            raise QuestionError(f"stop: wanted at most {_MAX_STOPS} strings, got {len(self.stop)}")
        for stop in self.stop:
            if not 1 <= len(stop) <= _MAX_STOP_LETTERS:
                raise QuestionError(
                    f"stop: wanted strings of 1 to {_MAX_STOP_LETTERS} letters, got one of "
                    f"{len(stop)}"
                )
        size = len((self.schema or "").encode("utf-8", "replace"))
        if size > MAX_SCHEMA_BYTES:
            raise QuestionError(
                f"schema: {size} bytes are too many: wanted at most {MAX_SCHEMA_BYTES}"
            )
        if self.schema is not None and self.json_object:
            raise QuestionError("schema, json_object: a schema says what the JSON is: give one")


GREEDY = Decoding()


class StopStrings:
    """Strings that end an answer and are not part of it."""

    def __init__(self, stops: Sequence[str]) -> None:
        """No string in `stops` may be empty."""
        self._stops = tuple(stops)

    def __bool__(self) -> bool:
        return bool(self._stops)

    def are_in(self, text: str) -> bool:
        return any(stop in text for stop in self._stops)

    def cut(self, text: str) -> str:
        """Return `text` up to the first stop string."""
        found = [text.find(stop) for stop in self._stops]
        return text[: min((at for at in found if at >= 0), default=len(text))]

    def settled(self, text: str) -> str:
        """Like `cut`, but also drop an ending that may become a stop string."""
        if self.are_in(text):
            return self.cut(text)
        longest = max(map(len, self._stops), default=1)
        for at in range(max(0, len(text) - longest + 1), len(text)):
            if any(stop.startswith(text[at:]) for stop in self._stops):
                return text[:at]
        return text


class TokenChoice:
    """Chooses the tokens of one answer, in order. One thread chooses; `text` and `shown` depend
    only on their arguments and may be called from any other.
    """

    def __init__(self, decoding: Decoding, family: Family, asker: Asker | None = None) -> None:
        """Raises what `open_grammar` raises for a schema, also if the `asker` leaves."""
        self._family = family
        self._decoding = decoding
        self._stops = StopStrings(decoding.stop)
        self._generator = _generator(decoding)
        self._grammar: Grammar | None = None
        if decoding.is_structured:
            self._grammar = open_grammar(decoding.schema, family, asker)
        self._chosen: list[int] = []
        self._has_ended = False

    def choose(self, logits: Float[Tensor, " vocabulary"]) -> tuple[int, float]:
        """Return the next token and its probability under the model. Raises QuestionError."""
        known = logits[: self._family.vocabulary_size]  # rows after it are padding
        if self._grammar is not None:
            allowed = self._grammar.allowed()[: len(known)].to(known.device)
            known = known.masked_fill(~allowed, -math.inf)
        if self._generator is None:
            token, probability = _best(known, logits)
        else:
            token = self._draw(known)
            probability = float(logits.float().softmax(dim=0)[token])
        self._follow(token)
        return token, probability

    def is_done(self, token: int) -> bool:
        """Whether the answer ends with `token`, the last one chosen; a stop id is not in it."""
        return self._has_ended or self.is_stop(token)

    def is_stop(self, token: int) -> bool:
        return token in self._family.stop_ids

    def text(self, token_ids: Sequence[int]) -> str:
        """Return the text of an answer up to the first stop string."""
        return self._stops.cut(self._family.text(token_ids)).strip()

    def shown(self, token_ids: Sequence[int]) -> str:
        """Return the start of the answer that no further token can change. Holds back what may
        become a stop string, a letter that lacks bytes, and trailing space.
        """
        return self._stops.settled(self._family.text(token_ids).rstrip(_INCOMPLETE)).strip()

    def _draw(self, known: Float[Tensor, " vocabulary"]) -> int:
        """Sample on the CPU, so that a seed means the same wherever the model runs."""
        scores = known.cpu().double()
        probabilities = ((scores - scores.max()) / self._decoding.temperature).softmax(dim=0)
        # Tokens under this bound sum to less than the nucleus leaves out: no need to sort them.
        bound = (1 - self._decoding.top_p) / (2 * len(probabilities))
        tokens = (probabilities > bound).nonzero()[:, 0]
        probabilities = probabilities[tokens]
        if self._decoding.top_p < 1:
            probabilities, order = probabilities.sort(descending=True, stable=True)
            inside = probabilities.cumsum(dim=0) - probabilities < self._decoding.top_p
            inside[0] = True
            probabilities, tokens = probabilities[inside], tokens[order[inside]]
        cumulative = probabilities.cumsum(dim=0)
        drawn = torch.rand((), dtype=torch.double, generator=self._generator) * cumulative[-1]
        place = int(torch.searchsorted(cumulative, drawn, right=True))
        return int(tokens[min(place, len(tokens) - 1)])

    def _follow(self, token: int) -> None:
        """Advance the grammar and the stop strings by `token`."""
        if self.is_stop(token):
            return
        if self._grammar is not None:
            self._grammar.advance(token)
            self._has_ended = self._grammar.is_complete
        if self._stops:
            self._chosen.append(token)
            self._has_ended |= self._stops.are_in(self._family.text(self._chosen))


def _best(
    known: Float[Tensor, " tokens"], logits: Float[Tensor, " vocabulary"]
) -> tuple[int, float]:
    """Return the best token and its probability, waiting for the device once."""
    best = known.argmax(keepdim=True)
    probability = logits.float().softmax(dim=0).gather(0, best)
    number, share = torch.cat([best.double(), probability.double()]).tolist()
    return int(number), share


def _generator(decoding: Decoding) -> torch.Generator | None:
    """Return None if nothing is sampled."""
    if decoding.temperature == 0:
        return None
    generator = torch.Generator()
    if decoding.seed is None:
        generator.seed()
    else:
        generator.manual_seed(decoding.seed)
    return generator
