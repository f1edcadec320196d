"""Judging has a judge's judgements of answers, and keeps each reply under what it replies to."""

import hashlib
import json
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.question_sets.judge import (
    Judge,
    Judgement,
    JudgePrompt,
    JudgeReply,
    judge_prompt,
    read_judgement,
)
from eval.run.record_file import RecordFile


@dataclass(frozen=True)
class Judged:
    """`judgement` is None if no reply could be read; `reply` is the last one."""

    judgement: Judgement | None
    reply: JudgeReply

    @property
    def label(self) -> str:
        """For agreement between judges."""
        if self.judgement is None:
            return "unreadable"
        return {True: "yes", False: "no", None: "neither"}[self.judgement.is_yes]


class Judging:
    """One judge and the file of its replies; may be called from several threads.

    A reply is found again by the hash of the judge's name and settings, the whole prompt and the
    number of the attempt, so any change of them asks again.
    """

    def __init__(self, judge: Judge, file: Path) -> None:
        """`file` holds JSON lines and may be shared by judges; it is written if need be."""
        self.judge = judge
        self._file = RecordFile(file)
        self._replies = {
            document["key"]: JudgeReply(document["text"], document["version"])
            for document in self._file.documents
        }
        self._versions: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def versions(self) -> dict[str, int]:
        """The versions that judged here, with how many judgements each gave."""
        return dict(self._versions.most_common())

    def judge_answer(self, question: str, answer: str, given: str) -> Judged:
        """Asks again after a reply that cannot be read, as often as the judge allows."""
        prompt = judge_prompt(question, answer, given)
        judged = None
        for attempt in range(self.judge.num_attempts):
            reply = self._reply(prompt, attempt)
            judged = Judged(read_judgement(reply.text), reply)
            if judged.judgement is not None:
                break
        assert judged is not None
        with self._lock:
            self._versions[judged.reply.version] += 1
        return judged

    def _reply(self, prompt: JudgePrompt, attempt: int) -> JudgeReply:
        question = [self.judge.name, self.judge.settings, prompt.system, prompt.user, attempt]
        key = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        with self._lock:
            known = self._replies.get(key)
        if known is not None:
            return known
        reply = self.judge.reply(prompt)
        made_by = {"judge": self.judge.name, "settings": self.judge.settings}
        with self._lock:
            self._replies[key] = reply
            self._file.append({"key": key, **made_by, **asdict(reply)})
        return reply
