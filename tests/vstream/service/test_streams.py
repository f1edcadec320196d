"""Streams over a store that others write, too, and that outlives the service."""

import io
import shutil
import time
from dataclasses import replace

import pytest
from engine import stream_frames
from event_listener import published
from kv_blocks import as_of_a_newer_version
from PIL import Image
from processes import until
from synthetic_video import picture

from memory import FingerprintMismatchError, MemoryConfig
from vstream import Question, VStreamConfig, load_video_llm, open_session
from vstream.service.alert_spec import AlertSpec, DeclaredAlert
from vstream.service.alerts import Alerts
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.inquiry import Inquiry
from vstream.service.past_firing import PastFiring
from vstream.service.stream_spec import StreamSpec
from vstream.service.streams import Streams
from vstream.sources.permission import SourcePolicy


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


def spec(stream_id):
    return StreamSpec.model_validate({"id": stream_id, "source": {"type": "push"}})


class Started:
    """A service's streams and alerts, begun over what the store holds."""

    def __init__(self, folder, model, max_streams=4, declared=()):
        self._declared = declared
        self.config = VStreamConfig(memory=MemoryConfig(store=f"file://{folder}"))
        self.events = EventLog()
        self.streams = Streams(
            self.config,
            model,
            self.events,
            policy=SourcePolicy(),
            max_streams=max_streams,
            max_readers=1,
        )
        self.alerts = Alerts(self.streams, self.events, 64)

    def __enter__(self):
        self.streams.open_known()
        self.alerts.open_known(self._declared)
        return self

    def __exit__(self, *failure):
        self.alerts.close()
        self.streams.close()

    @property
    def ids(self):
        return [keeper.spec.id for keeper in self.streams.all()]

    def not_opened(self):
        told = [event for event in published(self.events) if event.kind is EventKind.STREAM_STATE]
        return {event.stream_id for event in told if event.data["state"] == "error"}


def test_a_stream_that_another_process_writes_is_asked_as_it_is_now(tmp_path, model):
    with (
        Started(tmp_path, model) as service,
        open_session(service.config, model, "door") as writer,
    ):
        for from_s in (0, 600):
            writer.push(stream_frames(3, start=from_s))
            writer.memory.flush()
            inquiry = Inquiry(service.streams, [("door", Question("what do you see?"))])
            (said,) = inquiry.answers
            assert max(one.end_s for one in said.answer.evidence) == from_s + 2
        with service.streams.askable("door") as asked:
            writer.push(stream_frames(1, start=900))
            assert asked.memory.newest_s == 602  # between two questions nothing changes
        with service.streams.askable("door") as asked:
            assert asked.memory.newest_s == 900


def test_a_stream_that_cannot_be_read_keeps_no_other_from_being_watched(tmp_path, model):
    with Started(tmp_path, model) as service:
        service.streams.create(spec("door"))
    for name in ("a newer one", ".hidden", "newer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stream.json").write_text('{"version": 99}')
    with Started(tmp_path, model) as again:
        assert again.ids == ["door"]
        assert "newer" in again.not_opened()
        assert "door" not in again.not_opened()


def test_a_stream_that_was_deleted_unopened_is_not_watched_again(tmp_path, model):
    with Started(tmp_path, model) as service:
        service.streams.create(spec("door"))
        service.streams.create(spec("yard"))
    with Started(tmp_path, model, max_streams=1) as full:
        assert full.ids == ["door"]
        full.streams.delete("yard", purge=False)
    with Started(tmp_path, model) as again:
        assert again.ids == ["door"]
        assert "yard" in again.streams.stored()  # what it saw is kept


def test_a_stream_that_cannot_be_opened_can_be_deleted_without_what_it_saw(tmp_path, model):
    with Started(tmp_path, model) as service:
        keeper = service.streams.create(spec("door"))
        keeper.session.push(stream_frames(3))
    (segment,) = (tmp_path / "door" / "segments").iterdir()
    segment.write_bytes(as_of_a_newer_version(segment.read_bytes()))
    with Started(tmp_path, model) as again:
        assert again.not_opened() == {"door"}
        again.streams.delete("door", purge=False)
    with Started(tmp_path, model) as at_last:
        assert not at_last.not_opened()
        assert segment.exists()


def alert_on(*stream_ids):
    return AlertSpec(stream_ids=stream_ids, condition="tell me when there is a cat")


def alert_that_lost_a_stream(service):
    """It was set on the door and the yard, and the door is deleted."""
    for name in ("door", "yard"):
        service.streams.create(spec(name))
    made = service.alerts.add(alert_on("door", "yard"))
    service.streams.delete("door", purge=False)
    until(lambda: service.streams.get("yard").note.get("alerts"))
    return made


def test_an_alert_stays_on_what_is_left_of_its_streams(tmp_path, model):
    with Started(tmp_path, model) as service:
        made = alert_that_lost_a_stream(service)
    with Started(tmp_path, model) as again:
        (found,) = again.alerts.all()
        assert found.id == made.id
        again.alerts.remove(made.id)
    with Started(tmp_path, model) as at_last:
        assert not at_last.alerts.all()


def test_an_alert_that_was_noted_elsewhere_meanwhile_is_deleted_everywhere(tmp_path, model):
    with Started(tmp_path, model) as service:
        made = alert_that_lost_a_stream(service)
        service.streams.create(spec("door"))
    with Started(tmp_path, model) as again:
        again.alerts.remove(made.id)
    with Started(tmp_path, model) as at_last:
        assert not at_last.alerts.all()


def test_an_alert_that_was_changed_is_so_after_a_restart(tmp_path, model):
    with Started(tmp_path, model) as service:
        for name in ("door", "yard"):
            service.streams.create(spec(name))
        made = service.alerts.add(alert_on("door"))
        changed = alert_on("yard").model_copy(update={"condition": "a dog", "cooldown_s": 60})
        service.alerts.change(made.id, changed)
    with Started(tmp_path, model) as again:
        (found,) = again.alerts.all()
        assert (found.id, found.spec) == (made.id, changed)
        assert [keeper.spec.id for keeper in found.on_streams] == ["yard"]


def test_an_alert_that_a_file_declares_is_what_the_file_says(tmp_path, model):
    def declared(**more):
        return [DeclaredAlert(id="cat", stream_ids=("door",), condition="a cat", **more)]

    with Started(tmp_path, model) as service:
        service.streams.create(spec("door"))
        made = service.alerts.add(alert_on("door"))
    with Started(tmp_path, model, declared=declared()) as again:
        of_api, of_file = again.alerts.all()
        assert (of_api.id, of_file.id) == (made.id, "cat")
        again.alerts.change("cat", alert_on("door"))
    with Started(tmp_path, model, declared=declared(cooldown_s=60)) as changed:
        assert changed.alerts.get("cat").spec == declared(cooldown_s=60)[0].spec
    with Started(tmp_path, model) as at_last:
        assert [one.id for one in at_last.alerts.all()] == [made.id]


@pytest.mark.parametrize("meanwhile", [[], ["a dog"]])
def test_firings_that_no_alert_holds_any_more_are_not_kept(tmp_path, model, meanwhile):
    def declared(*conditions):
        of = {"id": "cat", "stream_ids": ("door",)}
        return [DeclaredAlert(**of, condition=condition) for condition in conditions]

    with Started(tmp_path, model, declared=declared("a cat")) as service:
        service.streams.create(spec("door"))
    with Started(tmp_path, model, declared=declared("a cat")) as fired:
        noted = PastFiring(1, "door", 1.7e9, 1.0, 0.9, 1.7e9).noted
        told = {"condition": "a cat", "created_at": 1.7e9, "fired": 1, "kept": [noted]}
        fired.alerts.get("cat").take_noted("door", told)
        fired.alerts.see(lambda one: True)
    with Started(tmp_path, model, declared=declared("a cat")) as again:
        assert len(again.alerts.get("cat").firings) == 1
    with Started(tmp_path, model, declared=declared(*meanwhile)) as without:
        without.streams.forget("door", 0.0, 2.0)
    with Started(tmp_path, model, declared=declared("a cat")) as at_last:
        assert not at_last.alerts.get("cat").firings


def test_what_was_noted_as_a_watch_is_an_alert_that_is_told_as_one(tmp_path, model):
    as_before = {"stream_ids": ["door"], "condition": "a cat", "every_s": 2.0, "actions": []}
    with Started(tmp_path, model) as service:
        keeper = service.streams.create(spec("door"))
        memory, noted = keeper.session.memory, {"id": "watch_1", "owner": "", "spec": as_before}
        memory.set_note({**memory.note, "service": {**keeper.note, "watches": [noted]}})
    with Started(tmp_path, model) as again:
        (found,) = again.alerts.all()
        assert (found.id, found.spec.every_s, found.spec.told_as) == ("watch_1", 2.0, "watch")
        again.alerts.change("watch_1", found.spec.model_copy(update={"told_as": "alert"}))
        assert "watches" not in again.streams.get("door").session.memory.note["service"]
    with Started(tmp_path, model) as at_last:
        assert at_last.alerts.get("watch_1").spec.told_as == "alert"


def test_a_stream_that_cannot_be_opened_takes_no_alert_with_it(tmp_path, model):
    with Started(tmp_path, model) as service:
        for name in ("door", "yard"):
            service.streams.create(spec(name))
        both = service.alerts.add(alert_on("door", "yard"))
    with Started(tmp_path, model, max_streams=1) as full:
        assert [one.id for one in full.alerts.all()] == [both.id]
        more = full.alerts.add(alert_on("door"))
    with Started(tmp_path, model) as again:
        found = {
            one.id: [keeper.spec.id for keeper in one.on_streams] for one in again.alerts.all()
        }
        assert found == {both.id: ["door", "yard"], more.id: ["door"]}


def test_a_stream_that_another_model_made_is_left_out_and_stays(tmp_path, model):
    with Started(tmp_path, model) as service:
        service.streams.create(spec("door")).session.push(stream_frames(3))
        service.alerts.add(alert_on("door"))
    with Started(tmp_path, replace(model, fingerprint="another")) as under_another:
        assert under_another.not_opened() == {"door"}
        assert under_another.streams.stored() == ["door"]
        with (
            pytest.raises(FingerprintMismatchError),
            under_another.streams.askable("door"),
        ):
            pytest.fail("it was made by another model")
        with pytest.raises(FingerprintMismatchError):
            under_another.streams.create(spec("door"))
    with Started(tmp_path, model) as again:
        assert again.streams.get("door").session.memory.num_blocks == 3
        assert len(again.alerts.all()) == 1


def test_memories_that_earlier_versions_kept_of_one_stream_are_streams_of_their_own(
    tmp_path, model
):
    """What further models saw of the door lay beside as door.model-..., with the door's note."""
    beside = "door.model-0123456789ab"
    with Started(tmp_path, model) as service:
        service.streams.create(spec("door")).session.push(stream_frames(3))
    shutil.copytree(tmp_path / "door", tmp_path / beside)
    with Started(tmp_path, model) as again:
        assert not again.not_opened()
        assert again.ids == ["door"]
        assert again.streams.stored() == [beside]
        with again.streams.askable(beside) as asked:
            assert asked.memory.newest_s == 2
        again.streams.delete(beside, purge=True)
        assert again.streams.stored() == []


def test_what_comes_after_what_was_forgotten_is_encoded_however_alike_it_is(tmp_path, model):
    still = io.BytesIO()
    Image.fromarray(picture(3)).save(still, "JPEG")
    with Started(tmp_path, model) as service:
        keeper = service.streams.create(spec("door"))
        began = time.time() - 100

        def push(second):
            keeper.push(still.getvalue(), began + second)
            until(
                lambda: keeper.newest_frame and keeper.newest_frame.captured_at > began + second - 1
            )

        push(0)
        until(lambda: keeper.session.memory.num_blocks == 1)
        push(2)
        until(lambda: keeper.status.frames_duplicate == 1)  # the same: it is not encoded
        assert keeper.forget(0.0, 2.0) == 1
        push(4)
        until(lambda: keeper.session.memory.num_blocks == 2)
        assert len(keeper.session.memory.visible(None)) == 1
