import threading
import time
from types import SimpleNamespace

import pytest
from engine import open_session, stream_frames, tiny_video_llm

from vstream.device.work import WorkKind
from vstream.errors import UnknownStreamError
from vstream.question import Evidence, Judgement
from vstream.service.event_log import EventLog
from vstream.service.watches import Watches, WatchSpec

QUICK = {"window_frames": 8, "window_stride": 4, "recent_frames": 4, "retrieve_blocks": 2}


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


class _Keeper:
    """As much of a StreamKeeper."""

    def __init__(self, name, model):
        self.spec = SimpleNamespace(id=name)
        self.model = model
        self.session = open_session(model, **QUICK)

    def remember(self, **values):
        return


class _Streams:
    """As much of Streams as watches need."""

    def __init__(self, model, *ids):
        self.keepers = {name: _Keeper(name, model) for name in ids}

    def get(self, name):
        if name not in self.keepers:
            raise UnknownStreamError(name)
        return self.keepers[name]

    def all(self):
        return list(self.keepers.values())


def _broken():
    raise RuntimeError("out of memory")
    yield


@pytest.fixture
def set_up(model):
    streams = _Streams(model, "broken", "good")
    events = EventLog()
    watches = Watches(streams, events, most=8)
    yield streams, events, watches
    watches.close()


def _until(is_so, seconds=20):
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)


def _see(streams, watches, name, second):
    frames = stream_frames(1, start=second)
    streams.keepers[name].session.push(frames)
    watches.saw(streams.keepers[name], frames[0])


def test_a_watch_that_cannot_be_judged_keeps_no_other_from_it(set_up, model):
    streams, _, watches = set_up
    scheduler = model.scheduler
    streams.keepers["broken"].session.begin_judging = lambda text, at_s: scheduler.submit(
        _broken(), WorkKind.JUDGE
    )
    fired = threading.Event()
    watches._on_fired = lambda told: fired.set()
    bad = watches.add(WatchSpec(stream_ids=("broken",), condition="smoke"))
    good = watches.add(
        WatchSpec(stream_ids=("good",), condition="smoke", threshold=0, confirmations=1)
    )
    for name in ("broken", "good"):
        _see(streams, watches, name, 0)
    assert fired.wait(20)
    assert (good.judged, good.problem) == (1, None)
    assert (bad.judged, bad.problem) == (0, "judging failed: RuntimeError")


def _told_once(streams, watches, second):
    """A watch that has fired at that second, and when it fired, also from now on."""
    fired = []
    watches._on_fired = lambda told: fired.append(told.firing.at_s)
    spec = WatchSpec(stream_ids=("good",), condition="smoke", threshold=0, confirmations=1)
    record = watches.add(spec)
    _see(streams, watches, "good", second)
    _until(lambda: fired == [float(second)])
    return record, fired


def test_a_stream_that_begins_anew_is_judged_from_its_beginning_on(set_up, model):
    """As where a store came back empty: its time begins at 0 again."""
    streams, _, watches = set_up
    record, fired = _told_once(streams, watches, 5000)
    streams.keepers["good"].session = open_session(model, **QUICK)
    _see(streams, watches, "good", 0)
    _until(lambda: record.judged == 2)
    assert record.skipped == 0
    assert fired == [5000.0, 0.0]


def test_a_stream_that_falls_back_a_little_is_not_told_of_again(set_up):
    """As after a pause, by a camera whose clock is ahead."""
    streams, _, watches = set_up
    record, fired = _told_once(streams, watches, 100)
    watches.saw(streams.keepers["good"], stream_frames(1, start=80)[0])
    time.sleep(0.5)  # it has been looked at, and nothing has come of it
    assert record.judged == 1
    _see(streams, watches, "good", 101)
    _until(lambda: record.judged == 2)
    assert fired == [100.0]


def test_nothing_is_kept_of_a_stream_that_is_gone(set_up):
    streams, events, watches = set_up
    ended = threading.Event()
    publish = events.publish
    events.publish = lambda *told: (publish(*told), ended.set())
    watches.add(WatchSpec(stream_ids=("good",), condition="smoke"))
    for name in ("broken", "good"):
        _see(streams, watches, name, 0)
    del streams.keepers["good"]
    _see(streams, watches, "broken", 1)
    assert ended.wait(20)
    assert not watches.all()
    assert set(watches._newest) == {streams.get("broken")}


def _judged(at_s, probability):
    best = Evidence(0, at_s - 1, at_s, 0.0, 0.5, 2, b"")
    return Judgement(newest_frame_s=at_s, at_s=at_s, probability=probability, evidence=(best,))
    yield


def test_the_newest_firings_are_kept_and_no_more(set_up, model):
    """Every other second it is so, on both streams: each time is told anew."""
    streams, _, watches = set_up
    for keeper in streams.all():
        keeper.session.begin_judging = lambda text, at_s: model.scheduler.submit(
            _judged(at_s, at_s % 2), WorkKind.JUDGE
        )
    told = []
    watches._on_fired = told.append
    wanted = WatchSpec(
        stream_ids=("broken", "good"),
        condition="smoke",
        threshold=0.5,
        confirmations=1,
        cooldown_s=0,
    )
    watch = watches.add(wanted)
    for second in range(60):
        for name in wanted.stream_ids:
            _see(streams, watches, name, second)
        _until(lambda: watch.judged == 2 * (second + 1))  # noqa: B023
    _until(lambda: len(told) == 60)
    assert watch.fired == 60
    assert len(watch.firings) == 50
    for kept, fired in zip(watch.firings, reversed(told), strict=False):
        assert (kept.stream_id, kept.at_s) == (fired.stream_id, fired.firing.at_s)
