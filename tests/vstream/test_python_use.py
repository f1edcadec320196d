"""What Python gives and a notebook shows: pictures of other kinds, sources, answers, blocks."""

import io
from base64 import b64encode

import numpy as np
import pytest
import torch
from engine import configured, open_session, tiny_video_llm
from PIL import Image
from synthetic_video import number_in, write_video
from video_frames import frames_of

import vstream
from encoders import Frame
from memory import BlockNotFoundError
from vstream.errors import BusyError, SourceError
from vstream.ingest import IngestWorker
from vstream.sources import PushedFrames, SourceConfig

QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
SMALL = SourceConfig(dedup_threshold=0, max_side=80)
KINDS = {
    "array": lambda pixels: pixels,
    "strided array": lambda pixels: np.asfortranarray(pixels),
    "PIL": Image.fromarray,
    "tensor": torch.from_numpy,
    "channels first": lambda pixels: torch.from_numpy(pixels).permute(2, 0, 1),
}


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("qwen2_5_vl")[0]


@pytest.fixture
def session(model):
    return open_session(model, codec="exact", max_answer_tokens=2, **QUICK)


@pytest.fixture(scope="module")
def pushed(model):
    """A session that was given Frames, as sources make them."""
    session = open_session(model, codec="exact", max_answer_tokens=2, **QUICK)
    session.push(frames_of(6, step_s=1 / model.sample_fps))
    return session


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return write_video(path, num_frames=60, creation_time="2024-05-06T07:08:09Z")


def blocks_of(session):
    return [session.memory.block(i) for i in session.memory.visible(None)]


def require_same_blocks(session, other):
    found, wanted = blocks_of(session), blocks_of(other)
    assert len(found) == len(wanted) > 1
    for one, like in zip(found, wanted, strict=True):
        assert one.span == like.span
        assert one.thumbnail == like.thumbnail
        assert torch.equal(one.keys, like.keys)
        assert torch.equal(one.values, like.values)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_any_kind_makes_the_blocks_of_its_frame(session, pushed, kind):
    pictures = [KINDS[kind](frame.pixels) for frame in frames_of(6)]
    session.push(pictures[0])
    session.push(pictures[1:4])
    session.push(one for one in pictures[4:])
    require_same_blocks(session, pushed)


def test_an_array_of_pictures_is_pushed_one_after_the_other(session, pushed):
    session.push(np.stack([frame.pixels for frame in frames_of(6)]))
    require_same_blocks(session, pushed)


def test_pictures_stand_where_they_are_put(session):
    step_s = 1 / session.model.sample_fps
    first, second, third, fourth = frames_of(4)
    session.push([first.pixels, second.pixels], at_s=10.0)
    session.push([Frame(third.pixels, 20.0, 0.0), fourth.pixels])
    assert [one.span for one in blocks_of(session)] == [(10.0, 10 + step_s), (20.0, 20 + step_s)]


def test_a_buffer_may_be_used_again_while_its_picture_waits_for_a_block(session, pushed):
    buffer = np.empty_like(frames_of(1)[0].pixels)
    for frame in frames_of(6):
        buffer[:] = frame.pixels
        session.push(buffer)
    require_same_blocks(session, pushed)


def test_a_picture_of_pillow_is_turned_as_it_says(session):
    out, lying = io.BytesIO(), Image.fromarray(frames_of(1)[0].pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    lying.save(out, "PNG", exif=exif)
    with Image.open(out) as turned:
        session.push([turned, turned])
    shown = Image.open(io.BytesIO(session.memory.block(0).thumbnail))
    assert shown.size == lying.size[::-1]


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (torch.rand(3, 8, 9), "float32"),
        (np.zeros((8, 9, 3), np.int64), "int64"),
        (np.zeros((8, 9), np.uint8), r"\(8, 9\)"),
        (np.zeros((3, 8, 9), np.uint8), r"\(3, 8, 9\)"),
        (np.zeros((8, 9, 4), np.uint8), r"\(8, 9, 4\)"),
        (np.zeros((0, 9, 3), np.uint8), r"\(0, 9, 3\)"),
        (torch.zeros((3, 8, 3), dtype=torch.uint8), r"\(3, 8, 3\) may be"),
        (Image.new("F", (9, 8)), "'F'"),
        (Image.new("I;16", (9, 8)), "'I;16'"),
        (["picture.png"], "str"),
    ],
)
def test_what_may_be_misread_is_refused_and_says_why(session, picture, why):
    with pytest.raises(SourceError, match=why) as refused:
        session.push(picture)
    assert refused.value.code == "FRAME_INVALID"


def test_a_watched_file_is_what_a_worker_reads_and_what_its_frames_are(model, video):
    worked = open_session(model, codec="exact", **QUICK)
    IngestWorker(worked, str(video), SMALL).run()
    given = open_session(model, codec="exact", **QUICK)
    given.push(vstream.frames(video, model.sample_fps, SMALL))
    memory = {"store": "memory://", "codec": "exact"}
    config = vstream.VStreamConfig(source=SMALL, memory=memory, **configured(**QUICK))
    watching = vstream.open_session(config, model, "clip")
    worker = watching.watch(video)
    worker.join()
    require_same_blocks(watching, worked)
    require_same_blocks(given, worked)
    assert "not running" in repr(worker)
    assert f"{worker.progress.frames_encoded} frames" in repr(worker)


def test_frames_come_at_the_rate_that_was_asked_for(video):
    found = list(vstream.frames(str(video), fps=2))
    assert [frame.stream_s for frame in found] == pytest.approx([i / 2 for i in range(12)])
    assert [number_in(frame.pixels) for frame in found] == list(range(0, 60, 5))
    assert found[1].captured_at - found[0].captured_at == pytest.approx(0.5)
    with pytest.raises(SourceError):
        next(vstream.frames("nothing.mp4"))


def test_a_session_watches_one_source_until_it_closes(monkeypatch, session, video):
    camera = {}

    def opened(url, config, *, start_s, wants, **how):
        camera[url] = PushedFrames(url, config, start_s, wants)
        return camera[url]

    monkeypatch.setattr("vstream.ingest.open_apart", opened)
    worker = session.watch("rtsp://door")
    assert "running" in repr(worker)
    for refused in (lambda: session.watch(video), lambda: session.push(frames_of(1))):
        with pytest.raises(BusyError, match="rtsp://door"):
            refused()
    worker.stop()
    worker.join()
    session.push(frames_of(2))
    again = session.watch("rtsp://gate")
    session.close()
    assert not again.is_running


def lost(url):
    class Lost(PushedFrames):
        def __iter__(self):
            raise SourceError("clip: lost", "FILE_CORRUPT")

    return Lost(str(url), SMALL, 0.0, lambda stream_s: True)


def test_a_source_that_fails_is_told_by_its_worker(monkeypatch, session, video, tmp_path):
    with pytest.raises(SourceError):
        session.watch(tmp_path / "nothing.mp4")
    monkeypatch.setattr("vstream.ingest.open_apart", lambda url, config, **how: lost(url))
    worker = session.watch(video)
    with pytest.raises(SourceError, match="lost"):
        worker.join()
    assert "failed: clip: lost" in repr(worker)
    assert session.push(frames_of(2)) == 1
    session.close()


def test_a_block_is_what_the_memory_reads(pushed):
    memory, cpu = pushed.memory, torch.device("cpu")
    block = memory.block(1)
    for layer in range(memory.provenance.layers):
        keys, values = memory.read(layer, [1], torch.float32, cpu)
        assert torch.equal(block.keys[layer], keys)
        assert torch.equal(block.values[layer], values)
    assert block.span == (memory.info(1).start_s, memory.info(1).end_s)
    with pytest.raises(BlockNotFoundError):
        memory.block(99)


def test_nothing_is_shown_as_bytes_or_numbers_of_a_tensor(pushed):
    answer = pushed.ask("what is there?").answer
    block = pushed.memory.block(0)
    shown = [answer, answer.evidence[0], frames_of(1)[0], block, block.info, pushed, pushed.memory]
    for one in shown:
        assert repr(one).startswith(f"{type(one).__name__}(")
        assert len(repr(one)) < 250
        assert not any(part in repr(one) for part in ("\\x", "tensor", "array"))


def test_an_answer_in_a_notebook_has_its_pictures_and_its_words_escaped(pushed):
    answer = pushed.ask("what is there?").answer
    told = vstream.Answer(**{**vars(answer), "text": "<script>alert('x')</script>"})
    html = told._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    for one in answer.evidence:
        assert b64encode(one.thumbnail).decode() in html
    assert b64encode(answer.evidence[0].thumbnail).decode() in answer.evidence[0]._repr_html_()
    many = vstream.Answer(**{**vars(answer), "evidence": answer.evidence * 20})
    assert many._repr_html_().count("<img") == 12
