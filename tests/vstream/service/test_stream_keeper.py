"""A keeper is told to stop, to go on and to close from many threads: it does, and never hangs."""

import io
import random
import threading
import time

import pytest
from event_listener import published
from PIL import Image
from synthetic_video import picture, write_video

from vstream import VStreamConfig, load_video_llm
from vstream.errors import SourceError
from vstream.service.alert_spec import AlertSpec
from vstream.service.alerts import Alerts
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_spec import StreamSpec
from vstream.service.stream_status import StreamState
from vstream.service.streams import Streams
from vstream.sources.permission import SourcePolicy
from vstream.sources.status import SourceState

CONFIG = VStreamConfig()


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


def jpeg(number=0):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


def pushed(stream_id="door"):
    return StreamSpec.model_validate(
        {"id": stream_id, "source": {"type": "push"}, "sampling": {"dedup": 0}}
    )


def until(is_so, seconds=20):
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def closes(keeper, seconds=20):
    closing = threading.Thread(target=keeper.close, daemon=True)
    closing.start()
    closing.join(timeout=seconds)
    return not closing.is_alive()


def test_a_keeper_can_be_closed_at_any_moment(model):
    for number in range(60):
        keeper = StreamKeeper(pushed(), CONFIG, model)
        keeper.start()
        time.sleep(number % 6 * 1e-4)
        assert closes(keeper)


@pytest.mark.parametrize("seed", range(3))
def test_the_last_word_counts_whoever_speaks(model, seed):
    keeper = StreamKeeper(pushed(), CONFIG, model)
    keeper.start()
    calls = (keeper.pause, keeper.resume, keeper.restart)

    def speak(own):
        for _ in range(40):
            own.choice(calls)()

    speakers = [threading.Thread(target=speak, args=(random.Random(seed * 9 + i),)) for i in (0, 1)]
    for one in speakers:
        one.start()
    for one in speakers:
        one.join()
    keeper.pause()
    until(lambda: keeper.status.state is StreamState.PAUSED)
    with pytest.raises(SourceError) as refused:
        keeper.push(jpeg(), None)
    assert refused.value.code == "STREAM_PAUSED"
    keeper.resume()
    assert keeper.push(jpeg(), None).accepted
    until(lambda: keeper.status.state is StreamState.RUNNING)
    keeper.restart()
    assert keeper.push(jpeg(1), None).accepted
    assert closes(keeper)


def test_a_frame_may_be_pushed_as_soon_as_there_is_a_stream(model):
    for _ in range(20):
        keeper = StreamKeeper(pushed(), CONFIG, model)
        keeper.start()
        assert keeper.push(jpeg(), None).accepted
        keeper.close()


def test_a_recording_has_ended_once_its_last_frame_can_be_asked_about(model, tmp_path):
    clip = write_video(tmp_path / "clip.mp4", num_frames=60, fps=10)
    ended, may_go_on = threading.Event(), threading.Event()

    def hold(keeper, frame):
        """The source has given all its frames while the first is still on its way."""
        until(lambda: keeper._worker.status.state is SourceState.ENDED)
        ended.set()
        assert may_go_on.wait(20)

    spec = StreamSpec.model_validate({"id": "clip", "source": {"url": str(clip), "speed": "max"}})
    keeper = StreamKeeper(spec, CONFIG, model, on_frame=hold)
    keeper.start()
    assert ended.wait(20)
    assert keeper.status.state is StreamState.RUNNING
    may_go_on.set()
    until(lambda: keeper.status.state is StreamState.ENDED)
    assert keeper.session.memory.newest_s == keeper.status.stream_s == 5.0
    keeper.close()


def test_a_problem_that_comes_again_is_a_new_one(model):
    keeper = StreamKeeper(pushed(), CONFIG, model)
    keeper.start()
    since = []
    for number in range(2):
        with pytest.raises(SourceError):
            keeper.push(b"no picture", None)
        if number:  # as it was running, this is no problem until frames stay away
            keeper.restart()
            with pytest.raises(SourceError):
                keeper.push(b"no picture", None)
        assert keeper.status.problem.code == "FRAME_INVALID"
        since.append(keeper.status.problem.since)
        assert keeper.push(jpeg(number), None).accepted
        until(lambda: keeper.status.problem is None)
    assert since[1] > since[0]
    keeper.close()


def test_a_paused_keeper_tells_of_no_problem_of_the_past(model):
    keeper = StreamKeeper(pushed(), CONFIG, model)
    keeper.start()
    with pytest.raises(SourceError):
        keeper.push(b"no picture", None)
    assert keeper.status.problem is not None
    keeper.pause()
    assert keeper.status.problem is None
    keeper.close()


class Service:
    """Streams and alerts, of which nothing is kept."""

    def __init__(self, model):
        self.events = EventLog()
        self.streams = Streams(
            CONFIG,
            model,
            self.events,
            policy=SourcePolicy(),
            max_streams=4,
            max_readers=1,
            on_frame=lambda keeper, frame: self.alerts.saw(keeper, frame),
        )
        self.alerts = Alerts(self.streams, self.events, 64)

    def kinds(self, kind):
        return [event for event in published(self.events) if event.kind is kind]

    def close(self):
        self.alerts.close()
        self.streams.close()


@pytest.fixture
def service(model):
    made = Service(model)
    yield made
    made.close()


def test_an_alert_is_on_a_stream_not_on_its_name(service):
    """A stream of the same name begins at 0 again, where the alert of the old one has long been."""
    began = time.time() - 100
    keeper = service.streams.create(pushed())
    spec = AlertSpec(stream_ids=("door",), condition="tell me when there is a cat")
    record = service.alerts.add(spec)
    keeper.push(jpeg(), began)
    keeper.push(jpeg(1), began + 50)
    until(lambda: record.judged >= 1)
    service.streams.delete("door", purge=False)
    again = service.streams.create(pushed())
    record = service.alerts.add(spec)
    again.push(jpeg(), began)
    until(lambda: record.judged == 1)
    again.push(jpeg(1), began + 1)
    until(lambda: record.judged == 2)
    assert service.alerts.all() == [record]
    assert len(service.kinds(EventKind.ALERT_ENDED)) == 1


def test_a_stream_and_its_alert_are_made_at_once(service):
    for number in range(30):
        service.streams.create(pushed())
        record = service.alerts.add(AlertSpec(stream_ids=("door",), condition="a cat"))
        time.sleep(number % 6 * 0.01)
        assert service.alerts.get(record.id) is record
        service.alerts.remove(record.id)
        service.streams.delete("door", purge=True)


def test_states_are_told_of_every_stream_of_a_name(service):
    for run in range(2):
        service.streams.create(pushed())
        until(lambda: len(service.kinds(EventKind.STREAM_STATE)) == run + 1)  # noqa: B023
        service.streams.delete("door", purge=True)
    told = [event.data["was"] for event in service.kinds(EventKind.STREAM_STATE)]
    assert told == [None, None]
