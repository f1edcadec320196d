"""Question and Answer: what goes into the query handler and what comes out of it.

The fields of an answer are declared here and nowhere else: command line, API, events and webhooks
tell what `document` gives. One that is known before the first token belongs to Basis.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from encoders import Turn
from vstream.decoding.token_choice import GREEDY, Decoding
from vstream.device.asker import Asker

UNSURE = 0.5
"""An answer with a less probable token is called unsure. With the embedded model, of the answers
to 300 unseen questions 22 % were wrong; of those that were not unsure 10 %, of the unsure 58 %.
"""
UNTOLD = {"told": False}
"""Metadata of a field that no document has."""


@dataclass(frozen=True)
class Question:
    """A question about a stream at a moment, or about a stretch of it.

    `at_s` is stream time: the answer uses the blocks that ended by then and no others; None means
    all that is there when the question is asked. With `from_s` it uses none from before that: the
    stretch from `from_s` to `at_s` is all that there is. `dialogue` are earlier turns, which the
    answer may refer to; they never enter the memory.

    With a `zone`, an IANA name, times that the words name are those of a clock there, and the
    answer uses what was captured then: see `vstream.times.named_view`. They are understood as of
    `asked_at`, seconds since the epoch; None means now. Without, they name stream time.

    `context` is what one should know to read the picture; `decoding` is how the answer is made.
    `answer_start` is put in the model's mouth: the answer goes on from there and does not repeat
    it. `policy` names a memory policy that only selects, in place of the stream's own. Without
    `plan` a question about time is answered in the model's own words. `asker` is who asks: their
    places are taken, and if they leave the answer ends.
    """

    text: str
    at_s: float | None = None
    dialogue: tuple[Turn, ...] = ()
    from_s: float | None = None
    zone: str | None = None
    asked_at: float | None = None
    context: str = ""
    decoding: Decoding = GREEDY
    answer_start: str = ""
    policy: str | None = None
    plan: bool = True
    asker: Asker | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Evidence:
    """One visual block of the answer's context.

    `score` is the cosine between the mean query of the question's own words and the block's
    representative key, averaged over all layers: in [-1, 1]. It is what retrieval goes by, not the
    attention that was paid.
    `num_layers` counts the layers whose context held the block; in the recent window, all.
    """

    block_id: int
    start_s: float
    end_s: float
    captured_at: float
    score: float
    num_layers: int
    thumbnail: bytes = field(default=b"", metadata=UNTOLD)


@dataclass(frozen=True)
class CitedSpan:
    """Consecutive blocks of the context that the answer's words attended to.

    `share` is their share of the words' attention to all blocks (see `vstream.cited_spans`); in an
    answer made from spans, all have the same share. `from_at` and `to_at` are the same times in
    seconds since the epoch.
    """

    from_s: float
    to_s: float
    from_at: float
    to_at: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What an answer, or the judgement of a standing question, is based on. All that is told of
    either has these fields: `vstream ask --json`, the API's `vstream`, events, webhooks.
    """

    newest_frame_s: float
    coarser_since: float | None = None
    """Before this stream time the stream is coarser, thinned, merged or gone; None: nothing is."""
    strange: str | None = None
    """Why nothing can be said of what it saw, where the picture is none that its model knows."""
    knows: str | None = None
    """What its model was trained to see, as `drawings only`, where that is not the world."""

    def trusted(self, confidence: float) -> float:
        """None where the picture is strange, however sure the model is."""
        return confidence if self.strange is None else 0.0

    def basis(self) -> dict[str, Any]:
        """The fields that are declared here, by name."""
        return {one.name: getattr(self, one.name) for one in fields(Basis)}

    def document(self) -> dict[str, Any]:
        """JSON-able, without pictures. Times are in seconds of stream time, but for `captured_at`
        and those that end with `_at`, which are Unix time.
        """
        return {**_told(self)}


@dataclass(frozen=True, kw_only=True)
class Judgement(Basis):
    """How probable it is that what a standing question waits for is the case at a moment."""

    at_s: float
    probability: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Saying:
    """`text` may be empty. It saw what the stream showed from `from_s` on, in stream seconds."""

    text: str
    from_s: float


@dataclass(frozen=True)
class Stretch:
    """The stretch that the words of a question restricted its answer to. `from_s` to `to_s` is the
    stream time that was read. `begin_at` to `end_at` is the clock time that the words named, in
    seconds since the epoch; both are None if they named stream time, and `begin_at` is None for
    `before yesterday`.
    """

    from_s: float
    to_s: float
    begin_at: float | None = None
    end_at: float | None = None


@dataclass(frozen=True)
class Plan:
    """How a question about time was answered from spans; see `vstream.planning.planner`.

    `kind` is what the question asks for: first, last, when, count, length, ever or order.
    `relation` relates it to the last statement: while, before, after or None. Each statement was
    searched for in `stretch`, within the bounds of `effort`; `found` has each search's Finding as a
    document, with its spans, their coverage and the judgements.
    """

    kind: str
    relation: str | None
    stretch: Stretch
    effort: dict[str, int | None]
    found: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Timings:
    """Milliseconds since the question was handed over, waiting for the device included."""

    ttft: float
    total: float
    retrieve: float | None = None
    """Choosing its blocks and laying them out, in all layers; None if it was read otherwise."""


@dataclass(frozen=True, kw_only=True)
class Answer(Basis):
    question: Question = field(metadata=UNTOLD)
    text: str = field(metadata=UNTOLD)
    """In its document `answer`."""
    asked_at_s: float
    confidence: float
    """Of the least probable token of the answer, its end included; 0 about a strange picture."""
    truncated: bool
    """The answer reached the limit of tokens before it came to its end."""
    looked: Stretch | None = None
    """Where the words of the question made it look; None if they named no time."""
    plan: Plan | None = None
    """How it was answered from spans; None of an answer in the model's words."""
    token_ids: tuple[int, ...]
    context_tokens: int = 0
    """Tokens that it was computed from, in the first layer: prefix, blocks and question."""
    evidence: tuple[Evidence, ...]
    spans: tuple[CitedSpan, ...] = ()
    """Where its words looked, in stream order; their shares sum to 1 at most."""
    timings_ms: Timings

    @property
    def is_unsure(self) -> bool:
        """Whether the model was nearer to saying something else: a guess more than an answer."""
        return self.confidence < UNSURE

    @property
    def unsure_because(self) -> str | None:
        """Why it is unsure, in words; None if it is not."""
        if self.strange is not None:
            return self.strange
        return f"a word of it was only {self.confidence:.0%} probable" if self.is_unsure else None

    def document(self) -> dict[str, Any]:
        """As of any Basis, the text as `answer`, and whether it is unsure and why."""
        unsure = {"unsure": self.is_unsure, "unsure_because": self.unsure_because}
        return {"answer": self.text, **unsure, **super().document()}


def _told(value: Any) -> Any:
    """A dataclass by name, without the fields that are UNTOLD; a tuple as a list."""
    if is_dataclass(value):
        told = [one.name for one in fields(value) if one.metadata.get("told", True)]
        return {name: _told(getattr(value, name)) for name in told}
    return [_told(one) for one in value] if isinstance(value, tuple) else value
