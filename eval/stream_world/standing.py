"""Standing questions: what to watch for in a stream, and when it comes into view.

A rare one is about a statement that comes true a few times in an hour or never.
"""

from dataclasses import dataclass
from random import Random

from eval.stream_world.history import History
from eval.stream_world.script import Script
from eval.stream_world.statement import FORMS, SpanIndex, Statement
from eval.stream_world.wording import Split, word_question

NEVER_SHARE = 1 / 3
"""Share of draws whose object does not come while it is watched for."""
MAX_ONSETS = 6
MAX_RARE_ONSETS = 3
_TRIES = 10_000


@dataclass(frozen=True)
class StandingQuestion:
    """From `asked_s` on: alert when the object appears, or when the `statement` comes true.
    `onsets_s` are the times it comes into view, including `asked_s` if it is in view by then.
    `until_s`: the second before which it ends; None if the question leaves that open.
    """

    text: str
    name: str
    asked_s: int
    onsets_s: tuple[int, ...]
    statement: Statement | None = None
    until_s: int | None = None

    @property
    def awaited(self) -> Statement:
        return self.statement or Statement(self.name)


def draw_rare(
    index: SpanIndex, num_questions: int, rng: Random, watched: range
) -> list[StandingQuestion]:
    """Draw questions rare in those seconds, a third never true; none true at first or in doubt."""
    drawn: dict[Statement, StandingQuestion] = {}
    num_never = sum(rng.random() < NEVER_SHARE for _ in range(num_questions))
    for _ in range(_TRIES):
        if len(drawn) == num_questions:
            break
        form = rng.choice(FORMS)
        is_never = len(drawn) < num_never
        one = index.never(form, watched, rng) if is_never else index.any(form, rng)
        spans = index.whole(one) if one else []
        is_begun = any(span.start <= watched[0] <= span.stop for span in spans)
        onsets_s = tuple(span.start for span in spans if span.start in watched)
        is_rare = is_never or 0 < len(onsets_s) <= MAX_RARE_ONSETS
        if one and is_rare and not is_begun and index.is_clear(one, watched):
            text = word_question("watch", rng, name=one.words)
            until_s = watched[-1] + 1
            drawn[one] = StandingQuestion(text, one.name, watched[0], onsets_s, one, until_s)
    return list(drawn.values())


def draw_standing(
    script: Script,
    num_questions: int,
    rng: Random,
    split: Split = "train",
    watched_s: int | None = None,
) -> list[StandingQuestion]:
    """Draw questions in the order of asking, each watched for `watched_s` (None: to the end). They
    are asked in the first half of the stream, or early enough to be watched for that long. About a
    third have no onset, nearly all others at most `MAX_ONSETS`.
    """
    history = History.of(script)
    first_s, last_s = script.moments[0].time_s, script.moments[-1].time_s
    latest_s = (first_s + last_s) // 2
    if watched_s is not None:
        latest_s = max(first_s, last_s - watched_s)
    drawn = []
    for _ in range(num_questions):
        asked_s = rng.randint(first_s, latest_s)
        until_s = last_s if watched_s is None else asked_s + watched_s
        onsets = {name: _onsets(history, name, asked_s, until_s) for name in history.askable}
        name = _choose(onsets, rng)
        text = word_question("watch", rng, split, name=name)
        drawn.append(StandingQuestion(text, name, asked_s, onsets[name]))
    return sorted(drawn, key=lambda question: question.asked_s)


def _onsets(history: History, name: str, asked_s: int, until_s: int) -> tuple[int, ...]:
    """Return when the object comes into view from `asked_s` to `until_s`."""
    onsets = []
    for stretch in history.appearances(name):
        span = history.span(stretch[0], stretch[-1])
        if span.end_s >= asked_s and span.start_s <= until_s:
            onsets.append(max(asked_s, span.start_s))
    return tuple(onsets)


def _choose(onsets: dict[str, tuple[int, ...]], rng: Random) -> str:
    """Choose a name that never comes, or one that comes, rarely enough if possible."""
    never = [name for name, times_s in onsets.items() if not times_s]
    coming = [name for name in onsets if onsets[name]]
    few = [name for name in coming if len(onsets[name]) <= MAX_ONSETS]
    if not coming or (never and rng.random() < NEVER_SHARE):
        return rng.choice(never)
    return rng.choice(few or coming)
