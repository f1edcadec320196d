"""Player: a play and who answers in, the video watched once and each one's answers out.

A session is opened and watches by the same calls as the service's: `open_session`, an IngestWorker
over the file, `Session.push`, `Session.ask`. The one difference is who waits for whom: a camera
does not wait for a question, and here no frame is taken after a question's moment before it has
been answered. Policies that read the same blocks share the session.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass

from eval.play.contender import Contender
from eval.play.interview import FAILURES, Interview, PlayedAnswer
from eval.play.plan import Moment, Play
from eval.play.settings import PlaySettings
from eval.play.viewer import BlindViewer, CaptionViewer, FewFramesViewer, SessionViewer, Viewer
from eval.stream_benchmark.policy import parse_policy
from vstream import IngestWorker, Session, VideoLLM, open_session
from vstream.sources import VideoFile

Known = Mapping[str, Collection[str]]
"""By contender, ids of the questions that are on record."""


@dataclass(frozen=True)
class Watched:
    """What a session took to watch; `num_dropped` of `num_frames` sampled ones are in no block, and
    `num_aged` times a block became coarser or went because there was no room for all.
    """

    video_s: float
    num_frames: int
    num_dropped: int
    ingest_s: float
    num_bytes: int
    num_aged: int


class Player:
    """Plays one video after the other on one model."""

    def __init__(
        self, model: VideoLLM, settings: PlaySettings, tell: Callable[[PlayedAnswer], None]
    ) -> None:
        self._model = model
        self._settings = settings
        self._tell = tell

    def play(self, play: Play, contenders: Sequence[Contender], known: Known) -> Watched | None:
        """Ask what is not on record yet, of contenders that agree in what they play.

        What cannot be asked, because a video is damaged or a session fails, is said in its answer.
        None if no session watched, or none from beginning to end.
        """
        interviews = {
            one.name: Interview(play, one.name, self._settings, known.get(one.name, ()), self._tell)
            for one in contenders
        }
        left = deque(play.moments)
        model = self._model.with_system(play.system)
        try:
            if contenders[0].is_watching:
                return self._watch(model, play, contenders, interviews, left)
            with self._viewer_apart(model, play, contenders[0]) as viewer:
                while left:
                    interviews[contenders[0].name].put(left[0], viewer)
                    left.popleft()
        except FAILURES as error:
            for interview in interviews.values():
                interview.fail(left, error)
        return None

    def _watch(
        self,
        model: VideoLLM,
        play: Play,
        contenders: Sequence[Contender],
        interviews: Mapping[str, Interview],
        left: deque[Moment],
    ) -> Watched | None:
        """`left` loses each moment that has been asked at.

        The frames that the session takes together end at each moment, also at those that are on
        record, so that an answer is the same to the last bit whether a run was interrupted or not.
        """
        first = contenders[0].policy
        assert first is not None
        until_s = max(interview.until_s for interview in interviews.values())
        with open_session(
            self._settings.configured(first), model, "played", self._settings.written(first, model)
        ) as session:
            viewers = {one.name: self._viewer(session, one) for one in contenders}

            def ask_before(stream_s: float | None) -> None:
                while left and (stream_s is None or left[0].at_s < stream_s):
                    worker.flush()
                    for name, viewer in viewers.items():
                        interviews[name].put(left[0], viewer)
                    left.popleft()

            worker = IngestWorker(
                session,
                str(play.video),
                self._settings.config.source,
                from_s=play.from_s,
                until_s=None if math.isinf(until_s) else until_s,
                on_seen=lambda frame: ask_before(frame.stream_s),
            )
            worker.run()
            ask_before(None)
            return _watched(session, worker) if until_s == play.moments[-1].at_s else None

    def _viewer(self, session: Session, contender: Contender) -> Viewer:
        assert contender.policy is not None
        viewer = SessionViewer(session, contender.policy, self._settings)
        return CaptionViewer(viewer, session) if contender.policy.base == "captions" else viewer

    @contextmanager
    def _viewer_apart(self, model: VideoLLM, play: Play, contender: Contender) -> Iterator[Viewer]:
        """One that needs no session to watch."""
        if contender.policy is None:
            config = self._settings.configured(parse_policy("default"))
            with open_session(config, model, "blind") as session:
                yield BlindViewer(session)
        else:
            with VideoFile(str(play.video), self._settings.config.source) as video:
                yield FewFramesViewer(video, play.from_s, model, contender.policy, self._settings)


def _watched(session: Session, worker: IngestWorker) -> Watched:
    progress = worker.progress
    with session.model.turn:
        stats = session.memory.stats()
    return Watched(
        video_s=progress.stream_s,
        num_frames=progress.frames_encoded + progress.frames_duplicate,
        num_dropped=progress.frames_duplicate,
        ingest_s=round(session.pushed_s, 3),
        num_bytes=sum(stats.bytes_by_tier.values()),
        num_aged=sum(astuple(stats.ageing)),
    )
