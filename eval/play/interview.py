"""Interview puts one contender's questions of a play, one by one, and tells a PlayedAnswer each."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from eval.play.asked import Asked, Prompt, TimeSpan
from eval.play.asker import Asker, Said
from eval.play.plan import Moment, Play
from eval.play.settings import PlaySettings
from memory import KVMemoryError
from vstream import Question, VStreamError

FAILURES = (VStreamError, KVMemoryError, torch.OutOfMemoryError)
"""What ends one answer and not the run: a baseline may not fit, a video may be damaged."""

_Ask = Callable[[Question, Sequence[TimeSpan]], Said]


@dataclass(frozen=True)
class PlayedAnswer:
    """All that was said to one question, in order; `asked_s` None is the end of the video."""

    policy: str
    id: str
    said: tuple[Said, ...]
    asked_s: tuple[float | None, ...]

    def document(self) -> dict[str, Any]:
        """A line of a predictions file, with what else is known of each text."""
        said = [
            {"asked_s": asked_s, **asdict(one)}
            for asked_s, one in zip(self.asked_s, self.said, strict=True)
        ]
        texts = [one.pop("text") for one in said]
        return {"id": self.id, "texts": texts, "said": said}


@dataclass
class _Open:
    """What has been said to a question so far."""

    said: list[Said] = field(default_factory=list)
    asked_s: list[float | None] = field(default_factory=list)


class Interview:
    """What is on record is not asked again. Nothing that is said enters another question."""

    def __init__(
        self,
        play: Play,
        policy: str,
        settings: PlaySettings,
        known: Collection[str],
        tell: Callable[[PlayedAnswer], None],
    ) -> None:
        """`known`: ids of questions that are on record; `tell` is given each answer when whole."""
        self._play = play
        self._policy = policy
        self._settings = settings
        self._tell = tell
        self._open = {
            number: _Open() for number, one in enumerate(play.asked) if one.id not in known
        }

    @property
    def until_s(self) -> float:
        """When the last of what is still to be asked is asked; before everything if nothing is."""
        return max((self._play.asked[n].spans[-1].end_s for n in self._open), default=-math.inf)

    def put(self, moment: Moment, asker: Asker) -> None:
        """Ask, unless the question has been answered already."""
        self._put(moment, asker.ask)

    def fail(self, moments: Iterable[Moment], why: Exception) -> None:
        """At none of these can anything be asked any more."""
        said = Said(None, error=f"{type(why).__name__}: {why}")
        for moment in moments:
            self._put(moment, lambda question, evidence: said)

    def _put(self, moment: Moment, ask: _Ask) -> None:
        now = self._open.get(moment.number)
        if now is None:
            return
        asked = self._play.asked[moment.number]
        at_s = None if math.isinf(moment.at_s) else moment.at_s
        text = self._say(now, asked, asked.prompt, at_s, ask)
        final = asked.follow_up(text)
        if final is not None:
            self._say(now, asked, final, at_s, ask)
        if final is not None or len(now.said) == len(asked.spans):
            del self._open[moment.number]
            self._tell(PlayedAnswer(self._policy, asked.id, tuple(now.said), tuple(now.asked_s)))

    def _say(
        self,
        now: _Open,
        asked: Asked,
        prompt: Prompt,
        at_s: float | None,
        ask: _Ask,
    ) -> str | None:
        question = Question(
            prompt.text,
            at_s,
            decoding=self._settings.decoding(asked.id, len(now.said)),
            answer_start=prompt.answer_start,
        )
        try:
            said = ask(question, asked.evidence)
        except FAILURES as error:
            said = Said(None, error=f"{type(error).__name__}: {error}")
        now.said.append(said)
        now.asked_s.append(at_s)
        return said.text
