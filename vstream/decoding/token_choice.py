"""Decoding: how an answer is to be decoded in, its next token and its text out.

The best token at temperature 0; otherwise one drawn by temperature and nucleus (Holtzman et al.,
"The Curious Case of Neural Text Degeneration", 2020). A grammar takes away tokens before either.
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
"""What a letter whose last bytes are still to come ends a text with."""
_MAX_TEMPERATURE = 2.0
_MAX_STOPS = 16
_MAX_STOP_LETTERS = 256
_SEEDS = range(-(2**63), 2**64)


@dataclass(frozen=True)
class Decoding:
    """How one answer is decoded. Raises QuestionError naming the field that is out of bounds. With
    `schema`, a JSON schema as text, the answer is JSON that it allows; with `json_object` any JSON
    object. `seed` makes a draw repeatable; None draws again each time.
    """

    max_tokens: int | None = None
    """None is the engine's setting."""
    temperature: float = 0.0
    top_p: float = 1.0
    """The draw is from the most probable tokens that together have this share."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """The answer ends where one of them would begin."""
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
"""The best token each time."""


class StopStrings:
    """Strings that end an answer and are no part of it."""

    def __init__(self, stops: Sequence[str]) -> None:
        """None of `stops` is empty."""
        self._stops = tuple(stops)

    def __bool__(self) -> bool:
        return bool(self._stops)

    def are_in(self, text: str) -> bool:
        return any(stop in text for stop in self._stops)

    def cut(self, text: str) -> str:
        """`text` up to where the first of them begins."""
        found = [text.find(stop) for stop in self._stops]
        return text[: min((at for at in found if at >= 0), default=len(text))]

    def settled(self, text: str) -> str:
        """`cut` without an end that may turn out to be the beginning of one."""
        if self.are_in(text):
            return self.cut(text)
        longest = max(map(len, self._stops), default=1)
        for at in range(max(0, len(text) - longest + 1), len(text)):
            if any(stop.startswith(text[at:]) for stop in self._stops):
                return text[:at]
        return text


class TokenChoice:
    """The choices of one answer, in order. One thread chooses; `text` and `shown` depend on what
    they are given only, and may be called from any other.
    """

    def __init__(self, decoding: Decoding, family: Family, asker: Asker | None = None) -> None:
        """Raises what `open_grammar` raises for a schema, as where the `asker` leaves."""
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
        """The next token and its probability under the model. Raises QuestionError."""
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
        """Whether the answer ends with `token`, the one chosen last; a stop id is no part of it."""
        return self._has_ended or self.is_stop(token)

    def is_stop(self, token: int) -> bool:
        return token in self._family.stop_ids

    def text(self, token_ids: Sequence[int]) -> str:
        """The answer that these ids are, up to the first stop string."""
        return self._stops.cut(self._family.text(token_ids)).strip()

    def shown(self, token_ids: Sequence[int]) -> str:
        """The beginning of the answer that no further ids will change. Held back is what may become
        a stop string, a letter of which bytes are missing, and space at the end.
        """
        return self._stops.settled(self._family.text(token_ids).rstrip(_INCOMPLETE)).strip()

    def _draw(self, known: Float[Tensor, " vocabulary"]) -> int:
        """A token by chance. On the CPU, so that a seed means the same wherever the model runs."""
        scores = known.cpu().double()
        probabilities = ((scores - scores.max()) / self._decoding.temperature).softmax(dim=0)
        # All under this bound are together less than what the nucleus leaves out: no need to sort.
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
        """Remember `token`, as far as anything here depends on it."""
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
    """The best token and its probability, for which the device is waited for once."""
    best = known.argmax(keepdim=True)
    probability = logits.float().softmax(dim=0).gather(0, best)
    number, share = torch.cat([best.double(), probability.double()]).tolist()
    return int(number), share


def _generator(decoding: Decoding) -> torch.Generator | None:
    """None where nothing is drawn."""
    if decoding.temperature == 0:
        return None
    generator = torch.Generator()
    if decoding.seed is None:
        generator.seed()
    else:
        generator.manual_seed(decoding.seed)
    return generator
