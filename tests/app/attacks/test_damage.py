"""A service starts again over a store whose files were damaged, and goes on watching."""

import errno
import io
import os
import shutil
from contextlib import contextmanager

import pytest
from PIL import Image
from processes import until
from service import embedded, running_service
from structlog.testing import capture_logs
from synthetic_video import picture

from app.server.keys import ScopedKey, new_key
from memory import verify_stored

SPEC = {"id": "door", "source": {"type": "push"}, "sampling": {"fps": 10, "dedup": 0}}
DOOR = "/v1/streams/door"
NUM = 8


def jpeg(number):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


def running(folder, **more):
    return running_service(model=embedded(), store=f"file://{folder}", **more)


def push(service, began, count, to="door"):
    """So many frames a second apart, each of them encoded."""
    for number in range(count):
        before = service.get(f"/v1/streams/{to}")["memory"]["blocks"]
        headers = {"X-Capture-Time": str(began + number)}
        told = service.post(f"/v1/streams/{to}/frames", content=jpeg(number), headers=headers)
        assert told["accepted"], told
        service.await_stream(to, lambda told: told["memory"]["blocks"] > before)  # noqa: B023


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The store of a service that was told to watch a door, and has ended."""
    folder = tmp_path_factory.mktemp("stopped")
    with running(folder) as service:
        service.post("/v1/streams", SPEC)
        service.post("/v1/alerts", {"stream_ids": ["door"], "condition": "is there a cat?"})
        push(service, 1.7e9, NUM)
        until(lambda: service.service.loaded.streams.get("door").note.get("alerts"))
    return folder


@pytest.fixture
def store(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "store")
    return tmp_path / "store"


def newest_of(store):
    return max((store / "door" / "segments").glob("*.vskv"))


def zeros_behind_the_newest_segment(store):
    newest_of(store).write_bytes(newest_of(store).read_bytes() + bytes(4096))


def zeros_instead_of_the_newest_segment(store):
    newest_of(store).write_bytes(bytes(newest_of(store).stat().st_size))


def a_flipped_bit_in_a_head(store):
    data = bytearray(newest_of(store).read_bytes())
    data[8] ^= 1
    newest_of(store).write_bytes(data)


def an_empty_description(store):
    (store / "door" / "stream.json").write_bytes(b"")


def a_missing_description(store):
    (store / "door" / "stream.json").unlink()


def a_missing_segment(store):
    newest_of(store).unlink()


@pytest.mark.parametrize(
    ("damage", "left", "what"),
    [
        (zeros_behind_the_newest_segment, NUM, "no block there matches its CRC32s"),
        (zeros_instead_of_the_newest_segment, 0, "no block in it can be read (8 blocks lost)"),
        (a_flipped_bit_in_a_head, NUM - 1, "no block there matches its CRC32s (1 block lost)"),
        (an_empty_description, NUM, None),
        (a_missing_description, NUM, None),
        (a_missing_segment, 0, "the segment from block 0 on is missing (8 blocks lost)"),
    ],
)
def test_a_stream_is_watched_whatever_became_of_its_files(store, damage, left, what):
    damage(store)
    with running(store) as service:
        told = service.get(DOOR)["memory"]
        assert (told["blocks"], told["lost"]) == (left, NUM - left)
        assert told["damaged"] == len(told["damage"]) == (what is not None)
        assert all(place.endswith(f": {what}") for place in told["damage"])
        (alert,) = service.get("/v1/alerts")["data"]
        assert alert["stream_ids"] == ["door"]
        push(service, 1.7e9 + 100, 2)
        assert service.get(DOOR)["memory"]["blocks"] == left + 2
        answer = service.ask("what is there?", "stream://door")
        assert answer["choices"][0]["message"]["content"]
    with running(store) as again:
        assert again.get(DOOR)["memory"]["blocks"] == left + 2


def test_files_are_named_to_who_may_manage_the_stream(store):
    a_flipped_bit_in_a_head(store)
    reads, hashed = new_key()
    scoped = [ScopedKey(name="reads", hash=hashed, streams=("door",), can={"read"})]
    with running(store, key="correct-horse-battery", scoped=scoped) as service:
        assert str(store) in service.get(DOOR)["memory"]["damage"][0]
        told = service.get(DOOR, headers={"Authorization": f"Bearer {reads}"})["memory"]
        assert (told["damaged"], told["lost"], told["damage"]) == (1, 1, [])


def test_what_is_damaged_is_counted_and_logged(store):
    a_flipped_bit_in_a_head(store)
    with capture_logs() as logged, running(store) as service:
        assert service.get(DOOR)["memory"]["damaged"] == 1
    (told,) = [one["what"] for one in logged if one["event"] == "a store is damaged"]
    assert str(newest_of(store)) in told


def test_a_question_is_answered_without_blocks_whose_rows_are_damaged(store):
    """Every block but the last: more than a question is tried again for blocks that are gone."""
    segment = newest_of(store)
    data = bytearray(segment.read_bytes())
    starts = [at for at in range(len(data)) if data.startswith(b"VSKB", at)]
    assert len(starts) == NUM
    for end in starts[1:]:
        data[end - 1] ^= 1
    segment.write_bytes(data)
    with running(store) as service:
        for _ in range(2):
            answer = service.ask("what is there?", "stream://door")
            assert answer["choices"][0]["message"]["content"]
        told = service.get(DOOR)["memory"]
        assert (told["blocks"], told["damaged"]) == (1, NUM - 1)


def test_a_damaged_picture_is_not_found_and_its_block_stays(store):
    segment = newest_of(store)
    data = segment.read_bytes()
    at = data.rindex(b"\xff\xd8\xff") + 100
    segment.write_bytes(data[:at] + b"???" + data[at + 3 :])
    with running(store) as service:
        assert service.get(DOOR)["memory"]["blocks"] == NUM
        found = service.http.get(f"{DOOR}/frame.jpg", params={"t_s": NUM})
        assert found.status_code == 404, found.text
        assert found.json()["error"]["code"] == "frame_not_found"
        assert service.http.get(f"{DOOR}/frame.jpg", params={"t_s": 0}).status_code == 200
        answer = service.ask("what is there?", "stream://door")
        assert answer["choices"][0]["message"]["content"]


def test_a_service_says_what_it_can_no_longer_know(store):
    for name in ("stream.json", "stream-copy.json"):
        (store / "door" / name).write_bytes(b"")
    with capture_logs() as logged, running(store):
        lost = "the note of a service beside a stream is lost"
        assert [one["stream"] for one in logged if one["event"] == lost] == ["door"]
    configured = {"id": "door", "source": {"type": "push"}, "sampling": SPEC["sampling"]}
    with running(store, streams=[configured]) as service:
        assert service.get(DOOR)["memory"]["blocks"] == NUM


@contextmanager
def failing_writes(folder):
    """Every write to a file below it fails, as on a disk that has gone."""
    write = os.pwrite

    def failing(file, data, offset):
        if os.readlink(f"/proc/self/fd/{file}").startswith(f"{folder}/"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(file, data, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", failing)
        yield


def test_a_disk_that_fails_under_one_stream_stops_that_stream_alone(store):
    with running(store) as service:
        service.post("/v1/streams", {**SPEC, "id": "garden"})
        with failing_writes(store / "door"):
            headers = {"X-Capture-Time": str(1.7e9 + 100)}
            service.post(f"{DOOR}/frames", content=jpeg(0), headers=headers)
            told = service.await_stream("door", lambda told: told["state"] == "error")
            assert told["error"]["code"] == "STORE_FAILED"
            assert "cannot be written: Input/output error" in told["error"]["message"]
            push(service, 1.7e9 + 100, 3, "garden")
            answer = service.ask("what is there?", "stream://garden")
            assert answer["choices"][0]["message"]["content"]
        service.await_stream("door", lambda told: told["state"] != "error")
        push(service, 1.7e9 + 200, 2)
        assert service.get(DOOR)["memory"]["damaged"] == 0
        assert service.get(DOOR)["memory"]["blocks"] >= NUM + 2
    (door, garden) = verify_stored(f"file://{store}")
    assert (door.faults, garden.faults) == ((), ())
    assert (door.blocks >= NUM + 2, garden.blocks) == (True, 3)
