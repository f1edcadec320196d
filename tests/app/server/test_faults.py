"""All that can break is broken, and the service tells and does what docs/operations.md says."""

import io
import re
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from PIL import Image
from processes import decoder_of, until
from redis_servers import RedisServer, redis_binary
from rtsp_camera import RtspCamera, ScriptedRtspServer
from service import running_service
from synthetic_video import picture, write_video

from memory.tiers.redis.redis_keys import RedisKeys
from vstream import load_video_llm
from vstream.sources import SourceConfig

PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
SOURCE = {
    "connect_timeout_s": 1.5,
    "read_timeout_s": 1.2,
    "stall_s": 0.5,
    "retry_min_s": 0.1,
    "retry_max_s": 0.3,
}
FPS = 4
RUNNING = "running"
TRIED_AGAIN = "tried again"


@dataclass(frozen=True)
class Row:
    fault: str
    state: str
    codes: frozenset


def table():
    rows = {}
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or len(cells) != 4 or cells[0] == "fault":
            continue
        codes = frozenset(re.findall(r"`(\w+)`", cells[2]))
        assert codes or cells[2] == "none", line
        rows[cells[0]] = Row(cells[0], cells[1].strip("`"), codes or frozenset([None]))
    return rows


TABLE = table()


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("faults")
    write_video(made / "loop.mp4", num_frames=100, fps=20)
    write_video(made / "short.mp4", num_frames=10, fps=10)
    return made


@pytest.fixture(scope="module")
def service(model, folder):
    with running_service(
        model=model, source=SOURCE, allow_private=True, allow_files=[folder]
    ) as it:
        yield it


@pytest.fixture(scope="module")
def healthy(service, folder):
    """The frames sampled so far of a camera that nothing happens to."""
    with RtspCamera(folder / "loop.mp4") as camera:
        add(service, "healthy", camera.url)
        service.await_state("healthy", "running")
        yield lambda: service.get("/v1/streams/healthy")["frames"]["sampled"]
        service.delete("/v1/streams/healthy")


@dataclass
class Rig:
    """What a fault is brought about with."""

    service: object
    model: object
    folder: Path
    opened: ExitStack

    def use(self, *, bounds=None, **settings):
        """Another service, of this fault alone; `bounds` of its section source."""
        source = {**SOURCE, "retry_min_s": 1, "retry_max_s": 1}  # what passes is seen to be so
        source |= bounds or {}
        made = running_service(model=self.model, source=source, allow_private=True, **settings)
        self.service = self.opened.enter_context(made)

    def camera(self):
        return self.opened.enter_context(RtspCamera(self.folder / "loop.mp4"))

    def redis(self):
        if redis_binary() is None:
            pytest.skip("no redis-server on PATH: apt-get install redis-server")
        place = self.folder / f"redis-{time.monotonic_ns()}"
        place.mkdir()
        server = RedisServer(redis_binary(), place)
        self.opened.callback(server.stop)
        self.use(store=server.url)
        return server

    def is_running(self):
        return self.service.await_stream("broken", is_well)


def add(service, stream_id, url, **more):
    source = {"type": "push"} if url is None else {"url": url}
    return service.post(
        "/v1/streams",
        {"id": stream_id, "source": source, "sampling": {"fps": FPS, "dedup": 0}, **more},
    )


def is_well(told):
    return told["state"] == "running" and told["error"] is None


def jpeg(number=0):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


# Each fault: prepare and yield the stream's address (None: pushed), break it and yield, mend it and
# yield what it is then.


def gone(rig):
    camera = rig.camera()
    yield camera.url
    rig.is_running()
    camera.kill()
    yield
    camera.start()  # on the same port
    yield RUNNING


def frozen(rig):
    camera = rig.camera()
    yield camera.url
    rig.is_running()
    camera.stop()
    yield
    camera.cont()
    yield RUNNING


def crashing(rig):
    yield rig.camera().url
    rig.is_running()
    keeper, is_over = rig.service.service_of("broken").loaded.streams.get("broken"), Event()

    def kill():
        while not is_over.wait(0.02):
            with suppress(psutil.Error, OSError, AttributeError):
                decoder_of(keeper._worker.source).kill()

    killer = Thread(target=kill)
    killer.start()
    try:
        yield
        is_over.set()
        yield RUNNING
    finally:
        is_over.set()
        killer.join()


def scripted(behaviour):
    def fault(rig):
        server = rig.opened.enter_context(ScriptedRtspServer(behaviour))
        yield f"rtsp://bob:hunter2@127.0.0.1:{server.port}/door"
        yield
        yield TRIED_AGAIN

    return fault


def ended(rig):
    yield str(rig.folder / "short.mp4")
    yield
    rig.service.post("/v1/streams/broken/restart")
    yield "ended"


def no_video(rig):
    video = rig.folder / "broken.mp4"
    video.write_text("this is no video")
    yield str(video)
    yield
    video.write_bytes((rig.folder / "short.mp4").read_bytes())
    rig.service.post("/v1/streams/broken/restart")
    yield "ended"


HUGE = {"max_pixels": 10_000}
"""Less than the 160 x 96 of the videos here."""


def huge_camera(rig):
    rig.use(bounds=HUGE)
    yield rig.camera().url
    yield
    yield TRIED_AGAIN


def huge_file(rig):
    rig.use(bounds=HUGE, allow_files=[rig.folder])
    yield str(rig.folder / "short.mp4")
    yield
    yield None


def huge_push(rig):
    rig.use(bounds={"max_pixels": 160 * 96})
    yield None
    with pushing(rig):
        rig.is_running()
    buffer = io.BytesIO()
    Image.new("RGB", (160, 97)).save(buffer, "JPEG")
    answer = rig.service.http.post("/v1/streams/broken/frames", content=buffer.getvalue())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "FRAME_INVALID")
    yield
    rig.opened.enter_context(pushing(rig))
    yield RUNNING


def silent_client(rig):
    yield None
    with pushing(rig):
        rig.is_running()
    yield
    rig.opened.enter_context(pushing(rig))
    yield RUNNING


def bad_client(rig):
    yield None
    with pushing(rig):
        rig.is_running()
    answer = rig.service.http.post("/v1/streams/broken/frames", content=b"no picture")
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "FRAME_INVALID")
    yield
    rig.opened.enter_context(pushing(rig))
    yield RUNNING


@contextmanager
def pushing(rig):
    """One frame after the other, so that what is looked at meanwhile has not stalled again."""
    ended, answers = threading.Event(), []

    def push():
        while not ended.wait(SOURCE["stall_s"] / 5):
            answers.append(rig.service.http.post("/v1/streams/broken/frames", content=jpeg()))

    client = threading.Thread(target=push)
    client.start()
    try:
        yield
    finally:
        ended.set()
        client.join()
    assert {answer.status_code for answer in answers} == {200}


def small_budget(rig):
    rig.use(memory={"host_bytes": 1 << 20, "codec": "exact"}, max_streams=1)
    yield rig.camera().url
    yield
    yield None


def redis_away(rig):
    server = rig.redis()
    yield rig.camera().url
    rig.is_running()
    server.kill()
    yield
    ready = rig.service.http.get("/ready")
    assert (ready.status_code, ready.json()["store"]) == (503, "away")
    assert rig.service.figure("vstream_store_up") == 0
    assert rig.service.get("/v1/streams/broken")["memory"]["waiting_blocks"] > 0
    question = [{"role": "user", "content": "what do you see?"}]
    asked = rig.service.http.post("/v1/chat/completions", json={"messages": question})
    assert asked.status_code in (200, 503), asked.text
    purged = rig.service.http.delete("/v1/streams/broken", params={"purge": True})
    assert (purged.status_code, purged.json()["error"]["code"]) == (503, "store_away")
    server.start()
    rig.service.await_stream("broken", lambda told: told["memory"]["waiting_blocks"] == 0)
    assert rig.service.http.get("/ready").status_code == 200
    assert rig.service.figure("vstream_store_up") == 1
    yield RUNNING


def redis_empty(rig):
    server = rig.redis()
    yield rig.camera().url
    rig.is_running()
    with server.client() as client:
        client.flushall()
    yield
    yield RUNNING


def fenced(rig):
    server = rig.redis()
    yield rig.camera().url
    rig.is_running()
    with server.client() as client:
        client.hset(RedisKeys("broken").meta, "fence", "another's")
    yield
    rig.service.post("/v1/streams/broken/restart")
    yield RUNNING


FAULTS = {
    "camera is gone": gone,
    "camera freezes": frozen,
    "camera stays frozen": frozen,
    "camera never answers": scripted("silent"),
    "wrong password": scripted("wrong_password"),
    "no such path": scripted("not_found"),
    "unknown codec": scripted("unknown_codec"),
    "no video track": scripted("no_video"),
    "camera sends huge pictures": huge_camera,
    "decoder crashes or hangs": crashing,
    "file has ended": ended,
    "file is no video": no_video,
    "file has huge pictures": huge_file,
    "client pushes no more": silent_client,
    "client pushes no JPEGs": bad_client,
    "client pushes huge JPEGs": huge_push,
    "budget is too small": small_budget,
    "Redis is away": redis_away,
    "Redis came back empty": redis_empty,
    "another process writes the stream": fenced,
}


def test_every_row_of_the_page_is_brought_about():
    assert set(TABLE) == set(FAULTS)


def test_the_page_tells_the_seconds_that_are_configured():
    told = re.findall(r"`(\w+_s)` \(([\d.]+) s\)", PAGE)
    assert len({name for name, _ in told}) >= 5
    for name, seconds in told:
        assert getattr(SourceConfig(), name) == float(seconds), name


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_mended(service, model, folder, healthy, fault):
    row = TABLE[fault]
    with ExitStack() as opened:
        rig = Rig(service, model, folder, opened)
        steps = FAULTS[fault](rig)
        url = next(steps)
        add(rig.service, "broken", url)
        opened.callback(lambda: rig.service.http.delete("/v1/streams/broken"))
        next(steps)
        rig.service.await_stream("broken", lambda told: is_it(told, row))
        require_figures(rig.service, row)
        sampled = healthy()
        until(lambda: healthy() >= sampled + FPS / 2)  # a broken stream holds up no other
        outcome = next(steps)
        if outcome == TRIED_AGAIN:
            before = rig.service.get("/v1/streams/broken")["reconnects"]
            rig.service.await_stream("broken", lambda told: told["reconnects"] >= before + 2)
        elif outcome is not None:
            rig.service.await_stream(
                "broken", lambda told: told["state"] == outcome and told["error"] is None
            )
            until(lambda: is_figured(rig.service, outcome))


def is_figured(service, state):
    """Whether the figures tell of this state, and of no error."""
    told = service.figure("vstream_stream_state", stream_id="broken", state=state)
    return told and service.figure("vstream_stream_error", stream_id="broken") is None


def is_it(told, row):
    code = None if told["error"] is None else told["error"]["code"]
    return told["state"] == row.state and code in row.codes


def require_figures(service, row):
    def figure(name, **labels):
        return service.figure(name, stream_id="broken", **labels)

    def are_told():
        if not figure("vstream_stream_state", state=row.state):
            return False
        told = [figure("vstream_stream_error", code=code) for code in row.codes - {None}]
        is_up = figure("vstream_stream_up") == (row.state == "running")
        return is_up and (not told or 1 in told)

    until(are_told)  # a stream that is tried again is in many states
    if row.state in ("stalled", "reconnecting"):
        age = figure("vstream_stream_last_frame_age_seconds")
        if age is not None:
            time.sleep(0.1)
            assert figure("vstream_stream_last_frame_age_seconds") > age
