"""QuestionBoard: questions to those who can answer them, and their answers, through a Redis server.

vstream:questions:MODEL     Redis Stream with one consumer group: each question goes to one answerer
vstream:answerers:MODEL     sorted set: answerer -> when it last said that it is there, server time
vstream:answer:QUESTION     Redis Stream: what is said of a question, for an hour; no pictures
vstream:attempt:QUESTION    whose answer counts: who took the question last
vstream:dialogue:STREAM:N   list: the finished turns of one dialogue, for a day

MODEL is the fingerprint of the model that made the stream's blocks: no other can read them. A
question whose answerer died is taken by another one and started again; what the first one said is
void, also if it was only slow.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self
from uuid import uuid4

from redis.exceptions import ResponseError

from encoders import Turn
from memory import RedisLink, StoreError
from vstream.question import Question

ATTEMPTS = 3
"""A question whose answerers have died so often is not tried again."""
HERE_S = 5.0
"""An answerer that has not been heard of for so long is taken to be dead."""
BEAT_S = 1.0
ANSWER_S = 3600
DIALOGUE_S = 86_400
TURNS = 8
"""So many turns of a dialogue are carried along."""
WAITS_S = 600
"""A question that has waited for so long is not answered any more."""
WAIT_S = 1.0
_GROUP = "answerers"
_ASKED = ("text", "at_s", "from_s", "zone", "asked_at", "plan")
"""Of a Question what goes over the board as it is."""


@dataclass(frozen=True)
class PostedQuestion:
    """A question on the board: its place in the queue, and, once it is taken, by which attempt."""

    id: str
    stream_id: str
    question: Question
    dialogue: str | None = None
    entry: bytes = b""
    attempt: str = ""

    def to_json(self) -> str:
        turns = [asdict(turn) for turn in self.question.dialogue]
        posted = {
            "id": self.id,
            "stream": self.stream_id,
            "turns": turns,
            "dialogue": self.dialogue,
        }
        return json.dumps(posted | {name: getattr(self.question, name) for name in _ASKED})

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        posted = json.loads(text)
        turns = tuple(Turn(**turn) for turn in posted["turns"])
        question = Question(
            dialogue=turns, **{name: posted[name] for name in _ASKED if name in posted}
        )
        return cls(posted["id"], posted["stream"], question, posted["dialogue"])


@dataclass(frozen=True)
class AnswerEvent:
    """A piece of an answer, all of it as a document, or why there is none.

    `again`: what was said before is void, another answerer starts again.
    """

    kind: Literal["piece", "answer", "error", "again"]
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """Of an answer."""
        return dict(json.loads(self.text))


class QuestionBoard:
    """The questions about the streams that one model has made. For any number of threads."""

    def __init__(self, link: RedisLink, fingerprint: str) -> None:
        self._link = link
        self._questions = f"vstream:questions:{fingerprint}"
        self._answerers = f"vstream:answerers:{fingerprint}"
        self._beat, self._say_script, self._hold_script, self._here = (
            link.script(name, package=__package__) for name in ("beat", "say", "hold", "here")
        )
        self.me = f"{socket.gethostname()}:{os.getpid()}"

    def answerers(self) -> list[str]:
        """Who answers just now, as HOST:PID. Raises StoreError."""
        with self._link.told():
            found = self._here(keys=[self._answerers], args=[HERE_S])
        return [name.decode() for name in found]

    def post(
        self, stream_id: str, question: Question, dialogue: str | None = None
    ) -> PostedQuestion:
        """Ask; `events` has what comes of it. Raises StoreError."""
        if dialogue is not None:
            question = replace(question, dialogue=self.turns(stream_id, dialogue))
        if question.zone is not None and question.asked_at is None:
            question = replace(question, asked_at=time.time())  # not when somebody takes it
        posted = PostedQuestion(uuid4().hex, stream_id, question, dialogue)
        with self._link.told():
            entry = self._link.client.xadd(self._questions, {"question": posted.to_json()})
        return replace(posted, entry=entry)

    def withdraw(self, posted: PostedQuestion) -> None:
        """Nobody waits for the answer any more. Raises StoreError."""
        with self._link.told():
            self._link.client.xdel(self._questions, posted.entry)

    def events(self, posted: PostedQuestion, patience_s: float = HERE_S) -> Iterator[AnswerEvent]:
        """What is said of it as it comes, to its end: an answer or an error.

        Raises StoreError if for `patience_s` nobody is there who could answer, and takes the
        question back; StoreAwayError if the server goes away.
        """
        last, attempt, heard_at = b"0", b"", time.monotonic()
        is_gone = False
        while True:
            with self._link.told():
                found = self._link.reads.xread(
                    {_answer_key(posted.id): last}, count=64, block=int(WAIT_S * 1000)
                )
            for entry, fields in found[0][1] if found else ():
                last, heard_at = entry, time.monotonic()
                kind, text = fields[b"kind"].decode(), fields[b"text"].decode()
                if kind == "begin":
                    if attempt:
                        yield AnswerEvent("again", text)
                    attempt = fields[b"attempt"]
                elif fields[b"attempt"] == attempt:
                    yield AnswerEvent(kind, text)
                    if kind in ("answer", "error"):
                        return
            if found or time.monotonic() - heard_at <= patience_s:
                continue
            if is_gone:
                raise StoreError(f"{self._link.name}: the question is gone; ask again")
            with self._link.told():
                entry = posted.entry
                is_gone = not self._link.reads.xrange(self._questions, entry, entry, 1)
            if not is_gone and not self.answerers():
                self.withdraw(posted)
                raise StoreError(
                    f"{self._link.name}: nobody is left to answer; start `vstream answer` and ask "
                    "again"
                )

    def turns(self, stream_id: str, dialogue: str) -> tuple[Turn, ...]:
        """What was said in a dialogue, oldest first."""
        with self._link.told():
            found = self._link.reads.lrange(_dialogue_key(stream_id, dialogue), -TURNS, -1)
        return tuple(Turn(**json.loads(turn)) for turn in found)

    def add_turn(self, stream_id: str, dialogue: str, turn: Turn) -> None:
        """Carry a dialogue on. Raises StoreError."""
        pipeline = self._link.client.pipeline()
        key = _dialogue_key(stream_id, dialogue)
        pipeline.rpush(key, json.dumps(asdict(turn)))
        pipeline.ltrim(key, -TURNS, -1)
        pipeline.expire(key, DIALOGUE_S)
        with self._link.told():
            pipeline.execute()

    def join(self) -> None:
        """Be one of those who answer; to be repeated every `BEAT_S`. Raises StoreError."""
        with self._link.told():
            self._beat(keys=[self._answerers], args=[self.me, HERE_S])

    def leave(self) -> None:
        """Answer no more."""
        with self._link.told():
            self._link.client.zrem(self._answerers, self.me)

    def take(self, worker: str) -> PostedQuestion | None:
        """The oldest question that nobody answers; None if none comes within `WAIT_S`.

        `worker` names the caller among all of this process. Raises StoreError.
        """
        consumer, client = f"{self.me}/{worker}", self._link.client
        with self._link.told():
            try:
                entries = self._claimed(consumer)
                if not entries:
                    found = client.xreadgroup(
                        _GROUP, consumer, {self._questions: ">"}, 1, int(WAIT_S * 1000)
                    )
                    entries = found[0][1] if found else []
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                self._begin()
                return None
        if not entries:
            return None
        return self._begun(consumer, *entries[0])

    def _claimed(self, consumer: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The oldest question of an answerer that died; empty if there is none."""
        cursor, idle_ms = b"0-0", int(2 * HERE_S * 1000)
        while True:  # a call looks at ten of those in work
            cursor, found, *_ = self._link.client.xautoclaim(
                self._questions, _GROUP, consumer, idle_ms, cursor, count=1
            )
            claimed = [entry for entry in found if entry[1]]
            if claimed or cursor == b"0-0":
                return claimed

    def _begun(
        self, consumer: str, entry: bytes, fields: dict[bytes, bytes]
    ) -> PostedQuestion | None:
        """None for a question that is not to be answered any more."""
        try:
            posted = PostedQuestion.from_json(fields[b"question"])
        except (KeyError, TypeError, ValueError):  # nobody can read it, so nobody waits for it
            with self._link.told():
                self._link.client.xack(self._questions, _GROUP, entry)
                self._link.client.xdel(self._questions, entry)
            return None
        taken = replace(posted, entry=entry, attempt=uuid4().hex)
        self._say(taken, "begin", consumer)
        with self._link.told():
            pending = self._link.reads.xpending_range(self._questions, _GROUP, entry, entry, 1)
            now_s, _ = self._link.reads.time()
        if pending and pending[0]["times_delivered"] > ATTEMPTS:
            self.fail(taken, f"{ATTEMPTS} answerers died or lost the store over this question")
            return None
        if now_s - int(entry.partition(b"-")[0]) / 1000 > WAITS_S:
            self.fail(taken, f"nobody answered within {WAITS_S} s")
            return None
        return taken

    def hold(self, taken: PostedQuestion, worker: str) -> None:
        """Keep others from taking it too; to be repeated every `BEAT_S`. Raises StoreError."""
        keys = [_attempt_key(taken.id), self._questions]
        args = [taken.attempt, _GROUP, f"{self.me}/{worker}", taken.entry]
        with self._link.told():
            self._hold_script(keys=keys, args=args)

    def say(self, taken: PostedQuestion, piece: str) -> None:
        """The next piece of its answer. Raises StoreError."""
        self._say(taken, "piece", piece)

    def finish(self, taken: PostedQuestion, document: dict[str, Any]) -> None:
        """The answer is there. Raises StoreError."""
        turn = Turn(taken.question.text, document["answer"])
        self._say(taken, "answer", json.dumps(document, allow_nan=False), turn)

    def fail(self, taken: PostedQuestion, reason: str) -> None:
        """There will be no answer. Raises StoreError."""
        self._say(taken, "error", reason)

    def _say(
        self,
        taken: PostedQuestion,
        kind: Literal["begin", "piece", "answer", "error"],
        text: str,
        turn: Turn | None = None,
    ) -> None:
        """All of it or nothing, and nothing if somebody else has taken the question since.

        Who sees the answer finds the question gone and the turn there.
        """
        dialogue, told = taken.dialogue or "", ""
        if turn is not None and taken.dialogue is not None:
            told = json.dumps(asdict(turn))
        keys = [_answer_key(taken.id), _attempt_key(taken.id), self._questions]
        keys.append(_dialogue_key(taken.stream_id, dialogue))
        args = [kind, taken.attempt, text, ANSWER_S, _GROUP, taken.entry, told, TURNS, DIALOGUE_S]
        with self._link.told():
            self._say_script(keys=keys, args=args)

    def _begin(self) -> None:
        try:
            self._link.client.xgroup_create(self._questions, _GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


def _answer_key(question_id: str) -> str:
    return f"vstream:answer:{question_id}"


def _attempt_key(question_id: str) -> str:
    return f"vstream:attempt:{question_id}"


def _dialogue_key(stream_id: str, dialogue: str) -> str:
    return f"vstream:dialogue:{stream_id}:{dialogue}"
