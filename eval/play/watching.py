"""Watching: one session that watches a play: asks, judges, and notes what is kept and its cost."""

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple

from eval.play.asker import Ask, SessionAsker, find_asker
from eval.play.contender import DEFAULT, FIND, Contender
from eval.play.interview import Interview
from eval.play.kept import KeptWatch, stored_bytes
from eval.play.plays import AskTime, Play, Standing, source_of
from eval.play.records import HOURS, WATCHES, Report
from eval.play.settings import PlaySettings
from eval.run.cost import Cost
from memory import MemoryPolicy
from memory.policy_hooks import state_bytes
from vstream import Alert, IngestWorker, Session
from vstream.ingest import SeenFrame

_LONG_S = 86_400


class Watching:
    def __init__(
        self,
        session: Session,
        play: Play,
        contenders: Sequence[Contender],
        settings: PlaySettings,
        report: Report,
    ) -> None:
        """All `contenders` read what the session keeps; it was opened for the first of them."""
        self._session = session
        self._play = play
        self._contenders = contenders
        self._settings = settings
        self._report = report
        self._kept = KeptWatch(session)
        self._lookouts: list[_Lookout] = []

    def run(
        self, interviews: Mapping[str, Interview], left: deque[AskTime], known: Collection[str]
    ) -> Cost | None:
        """Watch until nothing is left to ask; each time leaves `left` once all have asked.

        The frames that the session takes together end at each of these times, even those on record,
        so that an interrupted run gives the same answers to the last bit. Returns the cost, without
        a policy's name, if nothing is asked later.
        """
        play, session = self._play, self._session
        standing = play.standing if DEFAULT in interviews else ()
        self._lookouts = [_Lookout(session, one) for one in standing if one.id not in known]
        ends_s = [interview.until_s for interview in interviews.values()]
        until_s = max(ends_s + [one.standing.until_s for one in self._lookouts])
        askers = {one.name: self._asker(one) for one in self._contenders}

        def ask_before(stream_s: float) -> None:
            while left and left[0].at_s < stream_s:
                ask_next()

        def ask_next() -> None:
            worker.flush()
            for name, ask in askers.items():
                interviews[name].put(left[0], ask)
            left.popleft()

        worker = IngestWorker(
            session,
            source_of(play.video),
            self._settings.config.source,
            from_s=play.from_s,
            until_s=None if math.isinf(until_s) else until_s,
            on_seen=lambda frame: ask_before(frame.stream_s),
            on_frame=self._saw,
        )
        worker.run()
        while left:
            ask_next()
        self._tell_ended(math.inf)
        return self._cost(worker) if until_s >= play.times[-1].at_s else None

    def _asker(self, contender: Contender) -> Ask:
        asker = SessionAsker(self._session, contender, self._settings)
        is_find = contender.policy == FIND
        return find_asker(self._session, asker, self._play) if is_find else asker.ask

    def _saw(self, frame: SeenFrame) -> None:
        self._kept.look(frame.stream_s)
        for lookout in self._lookouts:
            lookout.look(frame.stream_s)
        self._tell_ended(frame.stream_s + 1 / self._session.model.sample_fps)

    def _tell_ended(self, now_s: float) -> None:
        ended = [one for one in self._lookouts if one.standing.until_s <= now_s]
        for lookout in ended:
            self._lookouts.remove(lookout)
            self._report((WATCHES, {"id": lookout.standing.id, "fired_s": lookout.fired_s}))

    def _cost(self, worker: IngestWorker) -> Cost:
        progress, session, video = worker.progress, self._session, self._play.video.name
        stats = self._kept.note(progress.stream_s)
        for contender in self._contenders:
            line = {"contender": contender.name, "video": video, "kept": self._kept.noted}
            self._report((HOURS, line))
        grows = num_bytes = stored_bytes(stats)
        has_budget = self._contenders[0].budget is not None
        is_bound = has_budget or session.policy.keep_blocks() is not None
        if is_bound:
            notes_grow = not has_budget and _notes_grow(session.policy)
            grows = state_bytes(session.memory.state) if notes_grow else 0
        return Cost(
            policy="",
            video=video,
            video_s=progress.stream_s,
            num_frames=progress.frames_encoded + progress.frames_duplicate,
            num_dropped=progress.frames_duplicate,
            ingest_s=round(session.pushed_s, 3),
            num_bytes=grows,
            fixed_bytes=num_bytes - grows if is_bound else None,
            num_aged=0 if is_bound else sum(astuple(stats.ageing)),
        )


def _notes_grow(policy: MemoryPolicy) -> bool:
    """Return whether notes grow with the stream, as descriptions do; those of blocks do not."""
    return policy.noted_bytes(2 * _LONG_S, 1, 1) > policy.noted_bytes(_LONG_S, 1, 1)


class _Lookout:
    """Judges one standing question at every frame of its stretch, as the service does."""

    def __init__(self, session: Session, standing: Standing) -> None:
        self.standing = standing
        self.fired_s: list[float] = []
        self._alert = Alert(session, standing.text)

    def look(self, stream_s: float) -> None:
        standing = self.standing
        if standing.from_s <= stream_s < standing.until_s and self._alert.look(stream_s):
            self.fired_s.append(stream_s)
