"""The ingestion worker: whatever the source, stream time keeps step with the world's."""

import io
import time
from contextlib import nullcontext, suppress
from functools import partial
from itertools import pairwise
from threading import Event

import numpy as np
import pytest
import torch
from engine import open_session, stream_frames, tiny_video_llm
from PIL import Image
from rtsp_camera import RtspCamera
from synthetic_video import picture, write_video

from encoders import Frame
from vstream.errors import SourceError
from vstream.ingest import IngestWorker
from vstream.session import Session
from vstream.sources import PrivacyMask, PushedFrames, SourceConfig

CONFIG = SourceConfig(dedup_threshold=0, retry_min_s=0.1, retry_max_s=0.2, queue_frames=64)
ALL = PrivacyMask(polygons=[[(0, 0), (1, 0), (1, 1), (0, 1)]])


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


@pytest.fixture
def store(tmp_path):
    return f"file://{tmp_path}/store"


def jpeg(number):
    out = io.BytesIO()
    Image.fromarray(picture(number)).save(out, "JPEG")
    return out.getvalue()


def times_of(session):
    """Stream time and capture time of every block."""
    infos = [session.memory.info(i) for i in session.memory.visible(None)]
    return [info.end_s for info in infos], [info.captured_at for info in infos]


def steps(values):
    return [later - earlier for earlier, later in pairwise(values)]


def looked_at(num_frames):
    """A function to call with each frame, and an event that is set after so many."""
    seen, enough = [], Event()

    def look(frame):
        seen.append(frame)
        if len(seen) == num_frames:
            enough.set()

    return look, enough


def push_all(model, store, captured_at, mask=None):
    """Push one frame for each time and encode them; times and pictures of all blocks then."""
    with open_session(model, store=store) as session:
        look, enough = looked_at(len(captured_at))
        opener = partial(PushedFrames, "door", CONFIG, mask=mask)
        worker = IngestWorker(session, opener, CONFIG, on_frame=look)
        worker.start()
        for number, at in enumerate(captured_at):
            assert worker.source.push(jpeg(number), at).accepted
        assert enough.wait(20)
        worker.stop()
        worker.join()
        return *times_of(session), thumbnails(session)


def thumbnails(session):
    ids = session.memory.visible(None)
    return [np.asarray(Image.open(io.BytesIO(session.memory.thumbnail(i)))) for i in ids]


def test_what_a_client_pushes_becomes_blocks(model, store):
    began_at = time.time() - 60
    times_s, captured_at, _ = push_all(model, store, [began_at, began_at + 1.5, began_at + 7])
    assert times_s == pytest.approx([0, 1.5, 7], abs=1e-5)
    assert captured_at == [began_at, began_at + 1.5, began_at + 7]


def test_while_nobody_watches_the_time_of_a_pushed_stream_goes_on(model, store):
    now = time.time()
    push_all(model, store, [now - 3600, now - 3599])
    times_s, captured_at, _ = push_all(model, store, [now - 5, now, now + 2])
    assert len(times_s) == 5
    assert times_s[2] == pytest.approx(3595, abs=0.1)
    for step_s, passed_s in zip(steps(times_s), steps(captured_at), strict=True):
        assert step_s == pytest.approx(passed_s, abs=0.1)


def test_a_clock_that_was_ahead_does_not_turn_time_back(model, store):
    now = time.time()
    before, _, _ = push_all(model, store, [now + 10, now + 20])
    times_s, _, _ = push_all(model, store, [now + 21, now + 25])
    assert times_s[:2] == before
    assert all(step_s > 0 for step_s in steps(times_s))


def test_a_frame_that_is_kept_already_is_not_kept_twice(model, store):
    now = time.time()
    push_all(model, store, [now - 20, now - 10])
    with open_session(model, store=store) as session:
        worker = IngestWorker(session, partial(PushedFrames, "door", CONFIG), CONFIG)
        assert worker.source.push(jpeg(1), now - 10).dropped == "rate"
        assert worker.source.push(jpeg(2), now - 8).accepted
        worker.stop()


def watch(model, store, url, num_frames):
    """Encode so many frames of a camera; when the last was looked at."""
    with open_session(model, store=store) as session:
        look, enough = looked_at(num_frames)
        worker = IngestWorker(session, url, CONFIG, keep_trying=True, on_frame=look)
        worker.start()
        assert enough.wait(20)
        worker.stop()
        worker.join()
        return times_of(session)


def test_a_camera_that_nobody_watched_for_a_while_has_a_gap_as_long(model, store, tmp_path):
    video = write_video(tmp_path / "loop.mp4", num_frames=100, fps=10)
    with RtspCamera(video) as camera:
        watch(model, store, camera.url, 2)
        camera.kill()
        time.sleep(1.5)  # the time that must not be lost
        camera.start()
        times_s, captured_at = watch(model, store, camera.url, 2)
    assert len(times_s) == 4
    assert times_s[2] - times_s[1] > 2
    for step_s, passed_s in zip(steps(times_s), steps(captured_at), strict=True):
        assert step_s == pytest.approx(passed_s, abs=0.5)


def test_a_file_goes_on_where_it_was_left_however_long_ago(model, store, tmp_path):
    video = str(write_video(tmp_path / "clip.mp4", num_frames=60, fps=10))
    with open_session(model, store=store) as session:
        IngestWorker(session, video, CONFIG, until_s=2.5).run()
        assert times_of(session)[0] == [0, 1, 2]
    with open_session(model, store=store) as session:
        IngestWorker(session, video, CONFIG, until_s=4.5, speed=1).run()
        assert times_of(session)[0] == [0, 1, 2, 3, 4]
    with open_session(model, store=store) as session:
        IngestWorker(session, video, CONFIG).run()
        assert times_of(session)[0] == [0, 1, 2, 3, 4, 5]


def test_a_file_that_has_ended_goes_on_as_a_loop(model, store, tmp_path):
    video = str(write_video(tmp_path / "clip.mp4", num_frames=30, fps=10))
    for loop in (False, True):
        with open_session(model, store=store) as session:
            IngestWorker(session, video, CONFIG, until_s=7.5, loop=loop).run()
            times_s, _ = times_of(session)
    assert times_s == pytest.approx([0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("speed", ["max", 1])
def test_no_picture_under_a_mask_is_ever_kept(model, tmp_path, speed):
    video = str(write_video(tmp_path / "clip.mp4", num_frames=25, fps=10))
    with open_session(model) as session:
        IngestWorker(session, video, CONFIG, mask=ALL, speed=speed).run()
        assert len(thumbnails(session)) == 3
        assert not any(picture.any() for picture in thumbnails(session))


def test_no_pushed_picture_under_a_mask_is_ever_kept(model, store):
    assert not any(picture.any() for picture in push_all(model, store, [None], mask=ALL)[2])
    assert all(picture.any() for picture in push_all(model, store + "2", [None])[2])


def test_a_mask_that_nobody_would_apply_is_refused(model):
    with open_session(model) as session, pytest.raises(ValueError, match="mask"):
        IngestWorker(session, partial(PushedFrames, "door", CONFIG), CONFIG, mask=ALL)


def test_live_frames_that_wait_are_encoded_together_into_the_same_blocks(model, monkeypatch):
    sizes = []
    with (
        open_session(model, codec="exact") as session,
        open_session(model, codec="exact") as one_by_one,
    ):
        look, enough = looked_at(7)
        push = session.push_ahead
        monkeypatch.setattr(
            session, "push_ahead", lambda some, stop: sizes.append(len(some)) or push(some, stop)
        )
        worker = IngestWorker(session, partial(PushedFrames, "door", CONFIG), CONFIG, on_frame=look)
        with session.model.turn:  # the device is busy while seven frames come
            worker.start()
            worker.source.push(jpeg(0), 1e9)
            while worker.source.has_waiting:
                time.sleep(0.001)
            for number in range(1, 7):
                worker.source.push(jpeg(number), 1e9 + number)
        assert enough.wait(20)
        worker.stop()
        worker.join()
        assert len([size for size in sizes if size]) <= 2

        with PushedFrames("door", CONFIG) as source:
            for number in range(7):
                source.push(jpeg(number), 1e9 + number)
                one_by_one.push([next(iter(source))])
        assert times_of(session) == times_of(one_by_one)
        for layer in range(model.decoder.num_layers):
            torch.testing.assert_close(
                kept_rows(session, layer), kept_rows(one_by_one, layer), atol=1e-5, rtol=1e-4
            )


def kept_rows(session, layer):
    decoder = session.model.decoder
    return session.memory.read(layer, session.memory.visible(None), decoder.dtype, decoder.device)


class ReadyFrames(PushedFrames):
    """All frames wait from the start; then the source fails, or ends."""

    def __init__(self, frames, failure, *_):
        super().__init__("door", CONFIG)
        self._ready, self._failure = list(frames), failure

    @property
    def has_waiting(self):
        return True

    def __iter__(self):
        yield from self._ready
        if self._failure is not None:
            raise self._failure


@pytest.mark.parametrize("failure", [None, SourceError("door: gone", "STREAM_DISCONNECTED")])
def test_every_frame_is_told_of_once_its_block_is_kept_and_what_came_before_a_failure_too(
    model, failure
):
    frames = stream_frames(21)
    told = []
    with open_session(model, chunk_frames=4) as session:

        def look(frame):
            told.append((frame.stream_s, frame.captured_at, session.memory.newest_s))

        worker = IngestWorker(session, partial(ReadyFrames, frames, failure), CONFIG, on_frame=look)
        with suppress(SourceError) if failure else nullcontext():
            worker.run()
        assert session.memory.num_blocks == worker.progress.frames_encoded == 21
    assert [seen[:2] for seen in told] == [(one.stream_s, one.captured_at) for one in frames]
    assert all(stream_s <= kept_to_s for stream_s, _, kept_to_s in told)


@pytest.mark.parametrize("seed", range(4))
def test_frames_are_told_of_in_order_whether_or_not_more_wait(model, monkeypatch, seed):
    """Each picture is shown a few times; what makes blocks of them is slow."""
    random = np.random.default_rng(seed)
    shown = [one.pixels for one in stream_frames(8) for _ in range(random.integers(1, 4))]
    frames = [Frame(pixels, float(i), 1e9 + i) for i, pixels in enumerate(shown)]
    is_new = [i == 0 or pixels is not shown[i - 1] for i, pixels in enumerate(shown)]
    new_s = [max(j for j in range(i + 1) if is_new[j]) for i in range(len(shown))]
    waits = iter(random.random(1000) < 0.7)
    monkeypatch.setattr(ReadyFrames, "has_waiting", property(lambda self: bool(next(waits))))
    store = Session._store
    monkeypatch.setattr(
        Session, "_store", lambda session, chunk: time.sleep(0.03) or store(session, chunk)
    )
    told = []
    with open_session(model, chunk_frames=2) as session:
        config = CONFIG.model_copy(update={"dedup_threshold": 1.5})
        opener = partial(ReadyFrames, frames, None)
        IngestWorker(
            session,
            opener,
            config,
            on_frame=lambda frame: told.append((frame.stream_s, session.memory.newest_s)),
        ).run()
        assert session.memory.num_blocks == 8
    assert [stream_s for stream_s, _ in told] == [frame.stream_s for frame in frames]
    assert all(new_s[int(stream_s)] <= kept_to_s for stream_s, kept_to_s in told)


def test_whoever_looks_at_frames_and_fails_leaves_nothing_on_its_way(model):
    def fail(_):
        raise RuntimeError("no more")

    with open_session(model, chunk_frames=4) as session:
        opener = partial(ReadyFrames, stream_frames(16), None)
        with pytest.raises(RuntimeError, match="no more"):
            IngestWorker(session, opener, CONFIG, on_frame=fail).run()
        num_blocks = session.memory.num_blocks
        assert num_blocks == 8
        session.push(stream_frames(4, start=num_blocks))
        assert session.memory.num_blocks == 12
