"""A stream leaves one service and goes on in another over the same store."""

import threading

import pytest
from engine import parts_of, stream_frames
from event_listener import published
from processes import until

from memory import FencedError, MemoryConfig, StoreError
from memory.tiers.redis.redis_keys import RedisKeys
from vstream import Question, VStreamConfig, load_video_llm
from vstream.errors import UnknownStreamError
from vstream.service.alert_spec import AlertSpec
from vstream.service.alerts import Alerts
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.past_firing import PastFiring
from vstream.service.stream_spec import StreamSpec
from vstream.service.streams import Streams
from vstream.sources.permission import SourcePolicy

QUESTION = Question("what do you see?")


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


class Service:
    """As one process has it: streams and alerts, none of them opened yet."""

    def __init__(self, store, model):
        self.events = EventLog()
        self.streams = Streams(
            VStreamConfig(memory=MemoryConfig(store=store)),
            model,
            self.events,
            policy=SourcePolicy(),
            max_streams=4,
            max_readers=1,
            on_adopted=lambda keeper: self.alerts.adopt(keeper),
            on_released=lambda keeper: self.alerts.release(keeper),
        )
        self.alerts = Alerts(self.streams, self.events, 8)

    def create(self, stream_id, num_frames=0):
        spec = StreamSpec.model_validate({"id": stream_id, "source": {"type": "push"}})
        keeper = self.streams.create(spec)
        if num_frames:
            keeper.session.push(stream_frames(num_frames))
        return keeper

    def answer(self, stream_id):
        return parts_of(self.streams.ask(stream_id, lambda one: one.ask(QUESTION)).answer)

    def told(self):
        return [event.kind for event in published(self.events)]


@pytest.fixture(params=["file", "redis"])
def services(request, tmp_path, model):
    store = f"file://{tmp_path}"
    if request.param == "redis":
        store = request.getfixturevalue("redis_server").url
    both = Service(store, model), Service(store, model)
    yield both
    for one in both:
        one.alerts.close()
        one.streams.close()


def test_a_released_stream_goes_on_elsewhere_without_a_gap_and_says_the_same(services):
    one, other = services
    one.create("door", num_frames=5)
    before = one.answer("door")
    one.streams.release("door")
    assert one.streams.find("door") is None
    assert one.answer("door") == before  # from what is stored
    note = other.streams.known()["door"]
    assert (note.is_wanted, note.is_live, note.writer) == (True, False, None)
    keeper = other.streams.adopt("door")
    assert other.answer("door") == before
    keeper.session.push(stream_frames(3, start=5))
    assert keeper.session.memory.visible(None) == list(range(8))
    for told in (one.told(), other.told()):
        assert EventKind.STREAM_DELETED not in told
    assert EventKind.STREAM_CREATED not in other.told()


def test_what_is_noted_already_waits_for_no_turn_of_a_busy_device(services, model):
    one, other = services
    one.create("door", num_frames=1)
    one.alerts.add(AlertSpec(stream_ids=("door",), condition="there is an owl"))
    one.streams.release("door")
    adopting = threading.Thread(target=other.streams.adopt, args=["door"], daemon=True)
    with model.turn:
        adopting.start()
        adopting.join(20)
        assert not adopting.is_alive()
    assert [record.spec.stream_ids for record in other.alerts.all()] == [("door",)]


def test_a_stream_that_somebody_writes_or_nobody_wants_is_not_adopted(services):
    one, other = services
    one.create("door")
    one.create("yard")
    one.streams.delete("yard", purge=False)
    assert other.streams.known()["door"].is_live
    with pytest.raises(StoreError, match="is being written by"):
        other.streams.adopt("door")
    for unwanted in ("yard", "attic"):
        with pytest.raises(UnknownStreamError):
            other.streams.adopt(unwanted)
    with pytest.raises(UnknownStreamError):
        other.streams.release("door")
    assert not other.streams.known()["yard"].is_wanted


def test_a_stream_that_was_paused_is_paused_where_it_goes_on(services):
    one, other = services
    one.create("door").pause()
    one.streams.release("door")
    assert other.streams.adopt("door").status.state == "paused"


def test_a_stream_that_another_process_has_taken_is_only_let_go_of(model, redis_server):
    service, keys = Service(redis_server.url, model), RedisKeys("door")
    keeper = service.create("door", num_frames=2)
    with redis_server.client() as client:
        client.hset(keys.meta, "fence", "99.f")
        client.set(keys.lease, "99.f elsewhere:1")
    assert not keeper.is_taken
    with pytest.raises(FencedError):
        keeper.session.push(stream_frames(1, start=2))
    assert keeper.is_taken
    service.streams.release("door")
    note = service.streams.known()["door"]
    assert (note.is_live, note.writer, note.is_wanted) == (True, "elsewhere:1", True)
    assert service.answer("door")[1]
    service.alerts.close()
    service.streams.close()


def test_alerts_go_with_their_stream_and_do_not_end(services):
    one, other = services
    for name in ("door", "yard"):
        one.create(name, num_frames=2)
    spec = AlertSpec(stream_ids=("door", "yard"), condition="tell me when there is a cat")
    both = one.alerts.add(spec)
    door = one.alerts.add(spec.model_copy(update={"stream_ids": ("door",)}))
    past = PastFiring(1, "door", 1.7e9, 1.0, 0.9, 1.7e9)
    fired = {"condition": spec.condition, "created_at": 1.7e9, "fired": 1, "kept": [past.noted]}
    door.take_noted("door", fired)
    one.streams.release("door")
    until(lambda: not door.on_streams)
    assert door.fired == 0, "that is another's to tell"
    adopted = other.streams.adopt("door")
    assert {found.id for found in other.alerts.all()} == {both.id, door.id}
    assert all(list(found.on_streams) == [adopted] for found in other.alerts.all())
    assert [kept.at_s for kept in other.alerts.get(door.id).firings] == [1.0]
    one.streams.release("yard")
    until(lambda: not both.on_streams)
    yard = other.streams.adopt("yard")
    assert set(other.alerts.get(both.id).on_streams) == {adopted, yard}
    assert list(other.alerts.get(door.id).on_streams) == [adopted]
    for told in (one.told(), other.told()):
        assert EventKind.ALERT_ENDED not in told
