"""Question and Answer: what goes into the query handler and what comes out of it.

The fields of an answer are declared here and nowhere else: command line, API, events and webhooks
report what `document` gives. A field that is known before the first token belongs to Basis.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from encoders import Turn
from vstream.decoding.token_choice import GREEDY, Decoding
from vstream.device.asker import Asker
from vstream.notebook import shown

UNSURE = 0.5
"""An answer with a less probable token is called unsure. Of the embedded model's answers to 300
unseen questions 22 % were wrong; of those that were not unsure 10 %, of the unsure ones 58 %.
"""
UNTOLD = {"told": False}
"""Metadata of a field that no document contains."""


@dataclass(frozen=True)
class Question:
    """A question about a stream at a moment, or about a stretch of it.

    `at_s` is stream time: the answer uses only blocks that ended by then; None means all that are
    there when the question is asked. With `from_s` it uses none from before that, so it sees only
    the stretch from `from_s` to `at_s`. `dialogue` holds earlier turns, which the answer may refer
    to; they never enter the memory.

    With a `zone`, an IANA name, times in the question are those of a clock there, and the answer
    uses what was captured then: see `vstream.times.named_view`. They are understood as of
    `asked_at`, seconds since the epoch; None means now. Without a zone they are stream time.

    `context` is what one should know to read the picture; `decoding` says how to decode the answer.
    `answer_start` is put in the model's mouth: the answer goes on from there and does not repeat
    it. `policy` names a memory policy that only selects, in place of the stream's own. Without
    `plan` a question about time is answered in the model's own words. `asker` is who asks: the
    question takes their places, and the answer ends if they leave.
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
    representative key, averaged over all layers, in [-1, 1]. Retrieval goes by it; it is not the
    attention that was paid. `num_layers` counts the layers whose context held the block: all for
    the recent window.
    """

    block_id: int
    start_s: float
    end_s: float
    captured_at: float
    score: float
    num_layers: int
    thumbnail: bytes = field(default=b"", repr=False, metadata=UNTOLD)

    def _repr_html_(self) -> str:
        return shown(f"block {self.block_id}", [self.picture])

    @property
    def picture(self) -> tuple[bytes, str]:
        """A JPEG, and its time in words."""
        return self.thumbnail, f"{self.start_s:g} to {self.end_s:g} s"


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
    """What an answer, or the judgement of an alert, is based on. All reports of either have these
    fields: `vstream ask --json`, the API's `vstream`, events, webhooks.
    """

    newest_frame_s: float
    coarser_since: float | None = None
    """Before this stream time blocks are coarser, thinned, merged or gone; None: none are."""
    strange: str | None = None
    """Why the answer means nothing, if its model does not know such pictures."""
    knows: str | None = None
    """What its model was trained to see, such as `drawings only`, if that is not the real world."""

    def trusted(self, confidence: float) -> float:
        """Return 0 if the picture is strange, however sure the model is."""
        return confidence if self.strange is None else 0.0

    def basis(self) -> dict[str, Any]:
        """Return the fields declared here, by name."""
        return {one.name: getattr(self, one.name) for one in fields(Basis)}

    def document(self) -> dict[str, Any]:
        """Return a JSON-able dict without pictures. Times are seconds of stream time, but
        `captured_at` and those that end in `_at` are Unix time.
        """
        return {**_plain(self)}


@dataclass(frozen=True, kw_only=True)
class Judgement(Basis):
    """How probable it is that an alert's condition is met at a moment."""

    at_s: float
    probability: float
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Saying:
    """The text, maybe empty, about what the stream showed from `from_s` on, in stream seconds."""

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
    """Choosing blocks and laying them out, in all layers; None if it was answered otherwise."""
    asked_at: float = field(default=0.0, metadata=UNTOLD)
    """When the question was handed over, Unix time."""
    retrieved: tuple[float, float] | None = field(default=None, metadata=UNTOLD)
    """When the first layer began to choose, and when the last had laid its blocks out."""


@dataclass(frozen=True, kw_only=True)
class Answer(Basis):
    question: Question = field(metadata=UNTOLD)
    text: str = field(metadata=UNTOLD)
    """Called `answer` in its document."""
    asked_at_s: float
    confidence: float
    """Probability of its least probable token, its end included; 0 for a strange picture."""
    truncated: bool
    """The answer reached the limit of tokens before its end."""
    looked: Stretch | None = None
    """Where the question's words made it look; None if they named no time."""
    plan: Plan | None = None
    """How it was answered from spans; None if it is in the model's words."""
    token_ids: tuple[int, ...]
    context_tokens: int = 0
    """Tokens that it was computed from, in the first layer: prefix, blocks and question."""
    evidence: tuple[Evidence, ...]
    spans: tuple[CitedSpan, ...] = ()
    """Where its words looked, in stream order; their shares add up to 1 at most."""
    timings_ms: Timings

    def __repr__(self) -> str:
        told = f"{self.confidence:.0%} sure, {len(self.evidence)} blocks of evidence"
        return f"Answer({self.text!r}, at {self.asked_at_s:g} s, {told})"

    def _repr_html_(self) -> str:
        unsure = f" (unsure: {self.unsure_because})" if self.unsure_because else ""
        return shown(self.text + unsure, [one.picture for one in self.evidence])

    @property
    def is_unsure(self) -> bool:
        """Whether the model was close to saying something else: more a guess than an answer."""
        return self.confidence < UNSURE

    @property
    def unsure_because(self) -> str | None:
        """Why it is unsure, in words; None if it is not."""
        if self.strange is not None:
            return self.strange
        return f"a word of it was only {self.confidence:.0%} probable" if self.is_unsure else None

    def document(self) -> dict[str, Any]:
        """Like that of any Basis, with the text as `answer`, and whether it is unsure and why."""
        unsure = {"unsure": self.is_unsure, "unsure_because": self.unsure_because}
        return {"answer": self.text, **unsure, **super().document()}


def _plain(value: Any) -> Any:
    """Turn a dataclass into a dict, without the fields that are UNTOLD, and a tuple into a list."""
    if is_dataclass(value):
        names = [one.name for one in fields(value) if one.metadata.get("told", True)]
        return {name: _plain(getattr(value, name)) for name in names}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
