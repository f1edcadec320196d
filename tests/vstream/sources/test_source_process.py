"""A source in a process of its own gives what it gives here, and its crash harms nobody else."""

import errno
import json
import os
import pickle
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import pytest
from processes import decoder_of, until
from rtsp_camera import RtspCamera
from synthetic_video import write_video

from encoders import FrameSampler
from vstream.errors import SourceError
from vstream.sources import (
    PrivacyMask,
    SourceConfig,
    SourceState,
    decoder_process,
    open_source,
    probe_source,
    source_process,
)
from vstream.sources.decoder_child import MAX_BYTES
from vstream.sources.decoder_process import DecoderProcess
from vstream.sources.source_process import SourceProcess, open_apart, probe_apart

CONFIG = SourceConfig(
    connect_timeout_s=3, read_timeout_s=1, stall_s=0.4, retry_min_s=0.1, retry_max_s=0.3
)
PATIENT = CONFIG.model_copy(update={"queue_frames": 64})
MASK = PrivacyMask(polygons=(((0, 0), (0.5, 0), (0.5, 1)),))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("video") / "clip.mp4", num_frames=100, fps=20)
    os.utime(path, (1e9, 1e9))  # recorded long ago, or frames would be captured as they are read
    return path


@pytest.fixture(scope="module")
def camera(video):
    with RtspCamera(video) as running:
        yield running


def wants(fps=20.0):
    return FrameSampler(fps).wants


@pytest.mark.parametrize(
    "options",
    [{}, {"speed": 20}, {"start_s": 2.5}, {"mask": MASK}, {"fps": 3.0}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_file_gives_the_frames_and_counts_that_it_gives_here(video, options):
    options = dict(options)
    fps = options.pop("fps", 20.0)
    with open_source(str(video), PATIENT, wants=wants(fps), **options) as source:
        expected = list(source)
        counts = source.status.counts
    with open_apart(str(video), PATIENT, wants=wants(fps), **options) as source:
        found = list(source)
        assert source.status.state is SourceState.ENDED
        assert source.status.counts == counts
    assert len(found) > 5
    for one, other in zip(found, expected, strict=True):
        assert one.stream_s == other.stream_s
        assert one.captured_at == other.captured_at
        assert (one.pixels == other.pixels).all()


def test_a_path_begins_where_the_parent_is_now(video, monkeypatch):
    for folder in (video.parent, video.parent.parent):
        monkeypatch.chdir(folder)
        path = str(video.relative_to(folder))
        with open_apart(path, CONFIG, wants=wants()) as source:
            assert len(list(source)) == 100


def test_a_probe_reports_what_it_reports_here(camera, video):
    for url in (camera.url, str(video)):
        here = vars(probe_source(url, CONFIG))
        apart = vars(probe_apart(url, CONFIG, lambda url: None))
        assert apart | {"first_frame_ms": 0} == here | {"first_frame_ms": 0}


def test_its_errors_are_those_of_the_source(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    for path in (tmp_path / "nowhere.mp4", tmp_path / "broken.mp4"):
        for opening in (open_source, open_apart):
            with pytest.raises(SourceError) as caught:
                opening(str(path), CONFIG, wants=wants())
            if opening is open_source:
                expected = str(caught.value), caught.value.code
        assert (str(caught.value), caught.value.code) == expected


def test_the_parent_permits_every_connection(camera):
    asked = []

    def permit(url):
        asked.append(url)
        if len(asked) > 2:
            raise SourceError("no longer", "SOURCE_FORBIDDEN")

    with open_apart(camera.url, CONFIG, wants=wants(), permit=permit) as source:
        assert len(list(islice(source, 3))) == 3
        camera.kill()
        until(lambda: len(asked) > 2)
        until(
            lambda: source.status.last_error and source.status.last_error.code == "SOURCE_FORBIDDEN"
        )
        camera.start()
    assert set(asked) == {camera.url}


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGSTOP], ids=["crashed", "hung"])
def test_a_decoder_that_dies_costs_its_own_stream_a_few_seconds_and_others_nothing(
    camera, how, monkeypatch
):
    monkeypatch.setattr(source_process, "_MARGIN_S", 0.0)
    with (
        open_apart(camera.url, CONFIG, wants=wants()) as source,
        open_apart(camera.url, PATIENT, wants=wants()) as other,
    ):
        before = list(islice(source, 5))
        seen, is_over = [], threading.Event()

        def read():
            for frame in other:
                seen.append(frame.stream_s)
                if is_over.is_set():
                    return

        reader = threading.Thread(target=read)
        reader.start()
        decoder_of(source).send_signal(how)
        died_at = time.monotonic()
        until(lambda: source.status.state is SourceState.RECONNECTING)
        assert source.status.last_error.code == "DECODER_FAILED"
        while source._queue:
            before.append(next(iter(source)))
        frame = next(iter(source))
        if how is signal.SIGSEGV:
            assert time.monotonic() - died_at < 5
        passed_s = time.monotonic() - died_at
        is_over.set()
        reader.join()
        assert source.status.state is SourceState.RUNNING
        assert source.status.counts.reconnects == 1
        assert frame.stream_s - before[-1].stream_s == pytest.approx(passed_s, abs=1.5)
        assert len(seen) > 1
        assert other.status.counts.frames_stale == other.status.counts.reconnects == 0
        assert max(late - early for early, late in pairwise(seen)) < 1


def test_a_file_over_which_the_decoder_dies_has_failed(video):
    with open_apart(str(video), CONFIG, wants=wants()) as source:
        decoder_of(source).kill()
        with pytest.raises(SourceError) as caught:
            list(source)
        assert caught.value.code == "DECODER_FAILED"
        assert source.status.state is SourceState.ERROR
        assert source.status.last_error is caught.value


def test_the_process_loads_no_model(camera):
    with open_apart(camera.url, CONFIG, wants=wants()) as source:
        next(iter(source))
        assert "libtorch" not in Path(f"/proc/{decoder_of(source).pid}/maps").read_text()


def test_closing_does_not_wait_for_a_process_that_hangs(camera):
    source = open_apart(camera.url, CONFIG, wants=wants())
    next(iter(source))
    process = decoder_of(source)
    process.suspend()
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 4
    until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def test_another_forking_process_takes_the_place_of_one_that_was_killed(video):
    for _ in range(2):
        with open_apart(str(video), CONFIG, wants=wants()) as source:
            assert len(list(source)) == 100
        decoder_process._forker._process.kill()


def test_nothing_is_left_of_sources_that_were_closed(video):
    """Of these: other tests of this process have sources, threads and children of their own."""
    decoders = [opened_and_closed(video)]
    descriptors, threads = open_descriptors(), set(threading.enumerate())
    decoders += [opened_and_closed(video) for _ in range(5)]
    assert not open_descriptors() - descriptors
    assert not set(threading.enumerate()) - threads
    until(lambda: not any(one.is_running() for one in decoders))  # nor a zombie


def opened_and_closed(video):
    """The process that decoded."""
    with open_apart(str(video), CONFIG, wants=wants()) as source:
        next(iter(source))
        return decoder_of(source)


def open_descriptors():
    """How many there are of each thing that this process has open."""
    found = Counter()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing
            found[os.readlink(one)] += 1
    return found


def test_no_process_outlives_a_parent_that_is_killed(camera):
    code = (
        "import sys, time; from vstream.sources.source_process import open_apart;"
        "from vstream.sources import SourceConfig; from encoders import FrameSampler;"
        "source = open_apart(sys.argv[1], SourceConfig(), wants=FrameSampler(5.0).wants);"
        "next(iter(source)); print('seen', flush=True); time.sleep(60)"  # after lines of the log
    )
    with Popen([sys.executable, "-c", code, camera.url], stdout=PIPE) as parent:
        assert b"seen\n" in parent.stdout
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) == 2
        parent.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def hog(link):
    return len(bytearray(2 * MAX_BYTES))


def test_its_memory_is_bounded():
    with (
        DecoderProcess(1, lambda: None, hog) as process,
        pytest.raises(RuntimeError, match="MemoryError"),
    ):
        process.hear(30)


def babble(link, opening, *given):
    """What a decoder might send whose memory is overwritten."""
    sent = {
        "bytes": b"\x80\x04garbage",
        "pickle": pickle.dumps(("frame", 0)),
        "long": bytes(2 << 20),
        "frame": json.dumps(["frame", 99, [1 << 40, 1, 3], 0.0, 0.0]).encode(),
        "status": json.dumps(["status", "dreaming", {}, None, None, 0.0]).encode(),
        "log": json.dumps(["log", "__class__", {}]).encode(),
    }
    link.send("opened")
    link._connection.send_bytes(sent[opening])
    threading.Event().wait(30)


@pytest.mark.parametrize("said", ["bytes", "pickle", "long", "frame", "status", "log"])
def test_a_process_that_makes_no_sense_is_ended_like_one_that_crashed(said, video, monkeypatch):
    monkeypatch.setattr(source_process, "_serve", babble)
    source = SourceProcess(video.name, said, CONFIG, 0.0, lambda: None, "max", False)
    with source, pytest.raises(SourceError) as caught:
        list(source)
    assert caught.value.code == "DECODER_FAILED"


def test_a_decoder_that_cannot_be_started_is_a_fault_of_its_source(video, monkeypatch):
    def full(descriptors):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(decoder_process._forker, "fork", full)
    with pytest.raises(SourceError, match="Too many open files") as caught:
        open_apart(str(video), CONFIG, wants=wants())
    assert caught.value.code == "DECODER_FAILED"


def end(link):
    os._exit(3)


def test_a_probe_over_which_the_decoder_dies_says_so(monkeypatch, video):
    monkeypatch.setattr(source_process, "_probe", lambda *given: None)
    monkeypatch.setattr(source_process, "DecoderProcess", partial(_ending, DecoderProcess))
    with pytest.raises(SourceError) as caught:
        probe_apart(str(video), CONFIG, lambda url: None)
    assert caught.value.code == "DECODER_FAILED"


def _ending(make, shared_bytes, permit, function, *given):
    return make(shared_bytes, permit, end)
