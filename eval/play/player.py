"""Player: plays a stream once for the contenders that share a session, and passes on their answers.

A session is opened and watches by the service's own calls: `open_session`, an IngestWorker over the
source, `Session.push`, `Session.ask`. The one difference is who waits: a camera does not wait for a
question, but here no frame after a question's moment is taken before it has been answered.
"""

import tempfile
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eval.play.asker import Ask, blind_asker, frames_asker
from eval.play.contender import DEFAULT, LANGUAGE, Contender
from eval.play.interview import FAILURES, Interview
from eval.play.plays import Play, pictures_of
from eval.play.records import COSTS, Report
from eval.play.settings import PlaySettings
from eval.play.watching import Watching
from eval.run.cost import Cost
from eval.run.peak_memory import PeakMemory, resident_bytes
from vstream import Session, VideoLLM, open_session


@dataclass(frozen=True)
class Task:
    """A play, and contenders that share a session; `budget_bytes` is a single contender's. `known`
    holds by contender the ids of questions, standing ones included, on record.
    """

    play: Play
    contenders: tuple[Contender, ...]
    known: Mapping[str, Collection[str]]
    budget_bytes: int | None = None

    @property
    def num_left(self) -> int:
        """How many questions have not been asked or watched for."""
        asked = [one.id for one in self.play.asked]
        watched = [one.id for one in self.play.standing]
        return sum(
            one not in known
            for name, known in self.known.items()
            for one in (asked + watched if name == DEFAULT else asked)
        )


class Player:
    def __init__(self, model: VideoLLM, settings: PlaySettings, report: Report) -> None:
        self._model = model
        self._settings = settings
        self._report = report
        self._at_first_bytes = resident_bytes()

    def play(self, task: Task) -> None:
        """Ask what is not on record yet. A damaged video or a failing session shows in the answers.
        Reports the cost if the stream was played as far as anything is asked of it.
        """
        play, contenders, known = task.play, task.contenders, task.known
        interviews = {
            one.name: Interview(
                play, one.name, self._settings, known.get(one.name, ()), self._report
            )
            for one in contenders
        }
        left = deque(play.times)
        model = self._model.with_system(play.system)
        cost: Cost | None = None
        with PeakMemory(model.decoder.device, self._at_first_bytes) as peak:
            try:
                if contenders[0].is_watching:
                    with self._session(task, model) as session:
                        watching = Watching(session, play, contenders, self._settings, self._report)
                        cost = watching.run(interviews, left, known.get(DEFAULT, ()))
                else:
                    with self._asking_apart(task, model) as ask:
                        while left:
                            interviews[contenders[0].name].put(left[0], ask)
                            left.popleft()
                    cost = Cost("", play.video.name, 0.0)
            except FAILURES as error:
                for interview in interviews.values():
                    interview.fail(left, error)
        if cost is not None:
            for one in contenders:
                own = replace(cost, policy=one.name, peak_of=peak.of, peak_bytes=peak.num_bytes)
                self._report((COSTS, asdict(own)))

    @contextmanager
    def _session(self, task: Task, model: VideoLLM) -> Iterator[Session]:
        """Open a session over its own store, which is deleted with it."""
        settings = self._settings
        with tempfile.TemporaryDirectory(dir=settings.folder) as place:
            if settings.folder is not None:
                settings = replace(settings, folder=Path(place))
            config = settings.configured(task.contenders[0], task.budget_bytes)
            with open_session(config, model, "played") as session:
                yield session

    @contextmanager
    def _asking_apart(self, task: Task, model: VideoLLM) -> Iterator[Ask]:
        play, [contender], settings = task.play, task.contenders, self._settings
        if contender.policy == LANGUAGE:
            config = replace(settings, folder=None).configured(contender)
            with open_session(config, model, LANGUAGE) as session:
                yield blind_asker(session)
        else:
            with pictures_of(play.video, settings.config.source) as pictures:
                yield frames_asker(pictures, play.from_s, model, contender, settings)
