import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from engine import open_session, stream_frames, tiny_video_llm

from vstream.device.work import WorkKind
from vstream.errors import UnknownStreamError
from vstream.question import Evidence, Judgement, Saying
from vstream.service import alerts as alerts_module
from vstream.service import firing_sentences
from vstream.service.alert_spec import AlertSpec
from vstream.service.alerts import Alerts
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog

QUICK = {"window_frames": 8, "window_stride": 4, "recent_frames": 4, "retrieve_blocks": 2}
EVERY_OTHER = AlertSpec(
    stream_ids=("good",), condition="smoke", threshold=0.5, confirmations=1, cooldown_s=0
)
OF_FIRINGS = EventKind.ALERT_FIRED, EventKind.ALERT_DESCRIBED
SAYS = AlertSpec(stream_ids=("good",), condition="smoke", threshold=0, confirmations=1)


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
    """As much of Streams as alerts need."""

    is_one_of_many = False

    def __init__(self, model, *ids):
        self.keepers = {name: _Keeper(name, model) for name in ids}

    def get(self, name):
        if name not in self.keepers:
            raise UnknownStreamError(name)
        return self.keepers[name]

    def all(self):
        return list(self.keepers.values())

    def wanted(self):
        return self.keepers

    def find(self, name):
        return self.keepers.get(name)


def _broken():
    raise RuntimeError("out of memory")
    yield


@pytest.fixture
def set_up(model):
    streams = _Streams(model, "broken", "good")
    events = EventLog()
    alerts = Alerts(streams, events, most=8)
    yield streams, events, alerts
    alerts.close()


def _until(is_so, seconds=20):
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.002)


def _see(streams, alerts, name, second):
    frames = stream_frames(1, start=second)
    streams.keepers[name].session.push(frames)
    alerts.saw(streams.keepers[name], frames[0])


def test_an_alert_that_cannot_be_judged_keeps_no_other_from_it(set_up, model):
    streams, _, alerts = set_up
    scheduler = model.scheduler
    streams.keepers["broken"].session.begin_judging = lambda text, at_s: scheduler.submit(
        _broken(), WorkKind.JUDGE
    )
    fired = threading.Event()
    alerts._on_fired = lambda told: fired.set()
    bad = alerts.add(AlertSpec(stream_ids=("broken",), condition="smoke"))
    good = alerts.add(
        AlertSpec(stream_ids=("good",), condition="smoke", threshold=0, confirmations=1)
    )
    for name in ("broken", "good"):
        _see(streams, alerts, name, 0)
    assert fired.wait(20)
    assert (good.judged, good.problem) == (1, None)
    assert (bad.judged, bad.problem) == (0, "judging failed: RuntimeError")


def _told_once(streams, alerts, second):
    """An alert that has fired at that second, and when it fired, also from now on."""
    fired = []
    alerts._on_fired = lambda told: fired.append(told.firing.at_s)
    spec = AlertSpec(stream_ids=("good",), condition="smoke", threshold=0, confirmations=1)
    record = alerts.add(spec)
    _see(streams, alerts, "good", second)
    _until(lambda: fired == [float(second)])
    return record, fired


def test_a_stream_that_begins_anew_is_judged_from_its_beginning_on(set_up, model):
    """As where a store came back empty: its time begins at 0 again."""
    streams, _, alerts = set_up
    record, fired = _told_once(streams, alerts, 5000)
    streams.keepers["good"].session = open_session(model, **QUICK)
    _see(streams, alerts, "good", 0)
    _until(lambda: record.judged == 2)
    assert record.skipped == 0
    assert fired == [5000.0, 0.0]


def test_a_stream_that_falls_back_a_little_is_not_told_of_again(set_up):
    """As after a pause, by a camera whose clock is ahead."""
    streams, _, alerts = set_up
    record, fired = _told_once(streams, alerts, 100)
    alerts.saw(streams.keepers["good"], stream_frames(1, start=80)[0])
    time.sleep(0.5)  # it has been looked at, and nothing has come of it
    assert record.judged == 1
    _see(streams, alerts, "good", 101)
    _until(lambda: record.judged == 2)
    assert fired == [100.0]


def test_nothing_is_kept_of_a_stream_that_is_gone(set_up):
    streams, events, alerts = set_up
    ended = threading.Event()
    publish = events.publish
    events.publish = lambda *told: (publish(*told), ended.set())
    alerts.add(AlertSpec(stream_ids=("good",), condition="smoke"))
    for name in ("broken", "good"):
        _see(streams, alerts, name, 0)
    del streams.keepers["good"]
    _see(streams, alerts, "broken", 1)
    assert ended.wait(20)
    assert not alerts.all()
    assert set(alerts._newest) == {streams.get("broken")}


def _judged(at_s, probability, wait_for=None):
    if wait_for is not None:
        wait_for.wait(20)
    best = Evidence(0, at_s - 1, at_s, 0.0, 0.5, 2, b"")
    return Judgement(newest_frame_s=at_s, at_s=at_s, probability=probability, evidence=(best,))
    yield


def _judge_alternately(keeper, model):
    """Every other second it is so."""
    keeper.session.begin_judging = lambda text, at_s: model.scheduler.submit(
        _judged(at_s, at_s % 2), WorkKind.JUDGE
    )


def test_the_newest_firings_are_kept_and_no_more(set_up, model):
    """Every other second it is so, on both streams: each time is told anew."""
    streams, _, alerts = set_up
    for keeper in streams.all():
        _judge_alternately(keeper, model)
    told = []
    alerts._on_fired = told.append
    wanted = EVERY_OTHER.model_copy(update={"stream_ids": ("broken", "good")})
    alert = alerts.add(wanted)
    for second in range(60):
        for name in wanted.stream_ids:
            _see(streams, alerts, name, second)
        _until(lambda: alert.judged == 2 * (second + 1))  # noqa: B023
    _until(lambda: len(told) == 60)
    assert alert.fired == 60
    assert len(alert.firings) == 50
    for kept, fired in zip(alert.firings, reversed(told), strict=False):
        assert (kept.stream_id, kept.at_s) == (fired.past.stream_id, fired.firing.at_s)


def _published(events, kind):
    return [one for one in list(events._ring) if one.kind is kind]


def _sayings(keeper, model, *works):
    """What the model says of its firings, one after the other."""
    rest = list(works)
    keeper.session.begin_saying = lambda at_s: model.scheduler.submit(
        rest.pop(0), WorkKind.DESCRIBE
    )


def _saying(text, from_s=0.0, wait_for=None):
    if wait_for is not None:
        wait_for.wait(20)
    return Saying(text, from_s)
    yield


def test_a_firing_is_an_event_at_once_and_another_with_its_sentence(set_up, model):
    streams, events, alerts = set_up
    told, may_speak = [], threading.Event()
    alerts._sentences._on_ready = told.append
    _sayings(streams.get("good"), model, _saying("smoke, a dog", 2.0, may_speak))
    record = alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: _published(events, EventKind.ALERT_FIRED))
    (fired,) = _published(events, EventKind.ALERT_FIRED)
    assert (fired.data["sentence"], record.firings[0].sentence) == (None, None)
    assert not told
    may_speak.set()
    _until(lambda: told)
    (said,) = _published(events, EventKind.ALERT_DESCRIBED)
    assert said.data == {**fired.data, "sentence": "smoke, a dog", "from_s": 2.0}
    assert told[0].document == said.data
    assert record.firings[0].sentence == "smoke, a dog"


def test_who_is_told_once_waits_no_longer_than_the_patience(set_up, model, monkeypatch):
    monkeypatch.setattr(firing_sentences, "PATIENCE_S", 0.0)
    streams, events, alerts = set_up
    told, may_speak = [], threading.Event()
    alerts._sentences._on_ready = lambda fired: told.append(fired.past.sentence)
    _sayings(streams.get("good"), model, _saying("late", wait_for=may_speak))
    alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: told == [None])
    may_speak.set()
    _until(lambda: _published(events, EventKind.ALERT_DESCRIBED))
    alerts._sentences.go_on()
    assert told == [None]


def test_a_firing_of_which_nothing_can_be_said_is_told_without(set_up, model):
    streams, events, alerts = set_up
    told = []
    alerts._sentences._on_ready = lambda fired: told.append(fired.past.sentence)
    _sayings(streams.get("good"), model, _broken())
    alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: told == [None])
    assert not _published(events, EventKind.ALERT_DESCRIBED)


def test_a_service_that_ends_tells_of_what_waits(model):
    streams, told = _Streams(model, "good"), []
    alerts = Alerts(streams, EventLog(), most=1, on_ready=told.append)
    may_speak = threading.Event()
    _sayings(streams.get("good"), model, _saying("late", wait_for=may_speak))
    record = alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: record.fired)
    alerts.close()
    may_speak.set()
    assert [one.past for one in told] == list(record.firings)


def test_what_was_said_of_a_stretch_goes_with_it(set_up, model):
    streams, events, alerts = set_up
    keeper = streams.get("good")
    _judge_alternately(keeper, model)
    _sayings(keeper, model, _saying("gone", 3.0), _saying("stays", 3.5))
    record = alerts.add(EVERY_OTHER)
    for second in (5, 6, 9):
        _see(streams, alerts, "good", second)
        _until(lambda: record.last_probability == {"good": second % 2})  # noqa: B023
    _until(lambda: len(_published(events, EventKind.ALERT_DESCRIBED)) == 2)
    alerts.forget("broken", 0.0, 9.0)
    alerts.forget("good", 0.0, 2.9)
    assert [one.sentence for one in record.firings] == ["stays", "gone"]
    alerts.forget("good", 1.0, 3.2)
    assert [one.sentence for one in record.firings] == ["stays", None]
    described = _published(events, EventKind.ALERT_DESCRIBED)
    assert [one.data["sentence"] for one in described] == [None, "stays"]
    alerts.forget("good", 5.0, 6.0)
    assert [one.at_s for one in record.firings] == [9.0]
    for kind in OF_FIRINGS:
        assert [one.is_forgotten for one in _published(events, kind)] == [True, False]


def test_a_moment_that_is_forgotten_while_it_is_judged_is_not_told(set_up, model, monkeypatch):
    """Even if the clock is set back between frame and forgetting."""
    streams, events, alerts = set_up
    keeper, begun, may_judge = streams.get("good"), threading.Event(), threading.Event()

    def judge(text, at_s):
        begun.set()
        return model.scheduler.submit(_judged(at_s, 0.9, may_judge), WorkKind.JUDGE)

    keeper.session.begin_judging = judge
    record = alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    assert begun.wait(20)
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    alerts.forget("broken", 0.0, 9.0)
    alerts.forget("good", 4.0, 5.0)
    alerts.forget("good", 6.0, 9.0)
    may_judge.set()
    _until(lambda: record.judged == 1)
    assert (record.fired, list(record.firings)) == (0, [])
    assert not _published(events, EventKind.ALERT_FIRED)
    again = alerts.add(SAYS)
    _until(lambda: again.judged == 1)
    assert again.fired == 0, "the frame is still the newest"
    _see(streams, alerts, "good", 9)
    later = alerts.add(SAYS)
    _until(lambda: later.fired == 1)


def test_what_is_noted_last_is_what_there_was_last(set_up):
    streams, _, alerts = set_up
    noted, is_second_noted, begun = [], threading.Event(), threading.Event()

    def remember(alerts, firings):
        if not begun.is_set():
            begun.set()
            is_second_noted.wait(0.3)
        noted.append([one["id"] for one in alerts])

    streams.get("good").remember = remember
    first = threading.Thread(target=alerts.add, args=(SAYS,))
    first.start()
    assert begun.wait(20)
    alerts.add(SAYS)
    is_second_noted.set()
    first.join()
    assert noted[-1] == [one.id for one in alerts.all()]
    assert len(noted[-1]) == 2


def test_what_is_being_said_of_a_forgotten_moment_is_not_kept(set_up, model):
    streams, events, alerts = set_up
    told, may_speak = [], threading.Event()
    alerts._sentences._on_ready = lambda fired: told.append(fired.past.sentence)
    keeper = streams.get("good")
    _sayings(keeper, model, _saying("gone", wait_for=may_speak))
    alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: alerts._sentences._waiting)
    alerts.forget("good", 4.0, 5.0)
    may_speak.set()
    _until(lambda: told == [None])
    assert not _published(events, EventKind.ALERT_DESCRIBED)


def test_a_retention_takes_firings_with_it(set_up, model, monkeypatch):
    monkeypatch.setattr(alerts_module, "_RETAIN_S", 0.0)
    streams, events, alerts = set_up
    keeper = streams.get("good")
    _sayings(keeper, model, _saying("gone", 4.0))
    record = alerts.add(SAYS)
    _see(streams, alerts, "good", 5)
    _until(lambda: _published(events, EventKind.ALERT_DESCRIBED))
    assert record.firings[0].sentence == "gone"
    keeper.session.memory._policy = replace(keeper.session.memory._policy, retain_s=10.0)
    _see(streams, alerts, "good", 20)
    _until(lambda: not record.firings)
    assert record.fired == 1
    assert all(one.is_forgotten for kind in OF_FIRINGS for one in _published(events, kind))


@pytest.mark.parametrize(
    "wish",
    [{}, {"every_s": 0.5}, {"cooldown_s": 3}, {"threshold": 0.6}, {"actions": (), "until": 9e9}],
)
def test_an_alert_that_is_changed_goes_on_with_what_it_has_told(set_up, model, wish):
    streams, _, alerts = set_up
    keeper = streams.get("good")
    keeper.session.begin_judging = lambda text, at_s: model.scheduler.submit(
        _judged(at_s, 0.9), WorkKind.JUDGE
    )
    record = alerts.add(EVERY_OTHER)
    _see(streams, alerts, "good", 1)
    _until(lambda: record.judged == 1)
    assert alerts.change(record.id, EVERY_OTHER.model_copy(update=wish)) is record
    _see(streams, alerts, "good", 9)
    _until(lambda: record.judged == 2)
    assert [one.at_s for one in record.firings] == [1.0]
    assert record.fired == 1


def test_an_alert_with_another_condition_begins_again(set_up, model):
    streams, _, alerts = set_up
    keeper = streams.get("good")
    asked = []

    def judge(text, at_s):
        asked.append(text)
        return model.scheduler.submit(_judged(at_s, 0.9), WorkKind.JUDGE)

    keeper.session.begin_judging = judge
    record = alerts.add(EVERY_OTHER)
    _see(streams, alerts, "good", 1)
    _until(lambda: record.fired == 1)
    alerts.change(record.id, EVERY_OTHER.model_copy(update={"condition": "a dog"}))
    _until(lambda: [one.at_s for one in record.firings] == [1.0])  # told of the same frame again
    assert (record.judged, record.fired) == (1, 1)
    assert asked == ["smoke", "a dog"]


def test_an_alert_moves_to_another_stream(set_up, model):
    streams, _, alerts = set_up
    for keeper in streams.all():
        _judge_alternately(keeper, model)
    record = alerts.add(EVERY_OTHER)
    _see(streams, alerts, "good", 1)
    _until(lambda: record.fired == 1)
    alerts.change(record.id, EVERY_OTHER.model_copy(update={"stream_ids": ("broken",)}))
    assert (list(record.firings), record.last_probability) == ([], {})
    _see(streams, alerts, "good", 3)
    _see(streams, alerts, "broken", 3)
    _until(lambda: record.firings)
    assert {one.stream_id for one in record.firings} == {"broken"}
    with pytest.raises(UnknownStreamError):
        alerts.change(record.id, EVERY_OTHER.model_copy(update={"stream_ids": ("nowhere",)}))
    assert record.spec.stream_ids == ("broken",)
