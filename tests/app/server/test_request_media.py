"""Pictures and clips in a request: what is answered about them, what is refused, what is left."""

import gc
import io
import struct
import tempfile
import time
import weakref
import zlib
from concurrent.futures import CancelledError
from contextlib import ExitStack
from pathlib import Path

import openai
import psutil
import pytest
from loopback_http import loopback_http
from one_thing import thing_jpeg, write_thing_video
from PIL import Image
from processes import until
from service import running_service
from shown import asking, clip_part, data_url, encoded, image_part, owl_jpeg, words
from slow_web import stalling
from strange_pictures import photos

from app.server.ask_request import REQUEST
from app.server.keys import ScopedKey, new_key
from vstream.device.asker import Asker
from vstream.errors import SourceError
from vstream.service.shown_media import ShownMedia, show
from vstream.service.streams import Streams

MASTER = "correct-horse-battery"
KEYS = {name: new_key() for name in ("asks", "reads")}
SEEN = "what do you see now?"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_thing_video(tmp_path_factory.mktemp("clips") / "owl.mp4", "owl", seconds=6)


@pytest.fixture(scope="module")
def service(folder, clip):
    """Keys that may ask and read something, and a stream that has seen a burger, in files."""
    scoped = [
        ScopedKey(name="asks", hash=KEYS["asks"][1], streams=("none",), can={"ask"}),
        ScopedKey(name="reads", hash=KEYS["reads"][1], can={"read"}),
    ]
    with running_service(
        key=MASTER, scoped=scoped, store=f"file://{folder}", allow_files=[clip.parent]
    ) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        pushed = running.http.post("/v1/streams/door/frames", content=thing_jpeg("burger"))
        assert pushed.is_success
        running.await_stream("door", lambda told: told["memory"]["blocks"])
        yield running


@pytest.fixture(scope="module")
def fetching():
    """May fetch from this machine, and not much or long."""
    with running_service(allow_private=True, request_bytes="1MB", request_fetch_s=1) as running:
        yield running


def said(told):
    return told["choices"][0]["message"]["content"]


def basis(told):
    """What an answer is, and all that it rests on."""
    evidence = {name: told["vstream"][0][name] for name in ("confidence", "moments", "looked_to_s")}
    cited = told["choices"][0]["message"]["annotations"]
    moments = [(one["start_s"], one["end_s"], one["score"]) for one in cited]
    return said(told), evidence, moments, told["usage"]


def refused(service, *parts, **options):
    """Code and message of an error that is the client's."""
    told = service.http.post(CHAT, json=asking(SEEN, *parts), **options)
    assert 400 <= told.status_code < 500, told.text
    return told.json()["error"]


def as_key(name):
    return {"headers": {"Authorization": f"Bearer {KEYS[name][0]}"}}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_seen(service, kind):
    part = image_part(encoded(owl_jpeg(), kind), f"image/{kind.lower()}")
    told = service.post(CHAT, asking(SEEN, part))
    assert said(told) == "an owl"
    (cited,) = told["choices"][0]["message"]["annotations"]
    assert (cited["stream_id"], cited["frame_url"]) == (REQUEST, None)
    alone = {"type": "image_url", "image_url": part["image_url"]["url"]}
    assert basis(service.post(CHAT, asking(SEEN, alone))) == basis(told)


def test_a_picture_is_turned_and_made_smaller_as_a_pushed_one():
    """Whatever its size: as EXIF asks, and to source.max_side."""
    upright = Image.open(io.BytesIO(owl_jpeg())).resize((2400, 1800))
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    turned = Image.Exif()
    turned[0x0112] = 6
    jpegs = [io.BytesIO(), io.BytesIO()]
    upright.save(jpegs[0], "PNG")
    lying.save(jpegs[1], "PNG", exif=turned)
    with running_service() as service:
        parts = [image_part(one.getvalue(), "image/png") for one in jpegs]
        told = [basis(service.post(CHAT, asking(SEEN, part))) for part in parts]
        assert told[0] == told[1]
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        buffer = io.BytesIO()
        upright.save(buffer, "JPEG", quality=95)
        service.http.post("/v1/streams/door/frames", content=buffer.getvalue())
        service.await_stream("door", lambda told: told["memory"]["blocks"])
        pushed = basis(service.ask(SEEN, "stream://door"))
        assert basis(service.post(CHAT, asking(SEEN, image_part(buffer.getvalue())))) == pushed


def test_a_picture_of_another_world_is_told(service):
    buffer = io.BytesIO()
    Image.fromarray(photos()["cheetah1.jpg"]).save(buffer, "JPEG")
    told = service.post(CHAT, asking(SEEN, image_part(buffer.getvalue())))
    assert said(told).endswith("not of its world.")
    assert told["vstream"][0]["confidence"] == 0


def test_pictures_come_in_the_order_of_the_conversation(service):
    burger, owl = image_part(thing_jpeg("burger")), image_part(owl_jpeg())
    before = {"role": "user", "content": [burger, words("and this?")]}
    nothing = {"role": "assistant"}
    last = asking(SEEN, owl)["messages"][0]
    for messages, moments in (([before, nothing, last], 2), ([before, before, last], 3)):
        told = service.post(CHAT, {"messages": messages})
        assert said(told) == "an owl"
        assert told["vstream"][0]["moments"] == moments


def test_times_in_the_words_are_not_those_of_pictures(service):
    parts = [image_part(thing_jpeg("burger")), image_part(owl_jpeg())]
    text = f"Frame captured at 0:00:00. {SEEN}"
    (told,) = service.post(CHAT, asking(text, *parts))["vstream"]
    assert told["moments"] == 2
    assert told["looked_to_s"] is None


def test_a_clip_says_what_its_file_says_as_a_stream(service, clip):
    """To the last digit, as it is the same way from frame to answer."""
    source = {"url": str(clip), "speed": "max"}
    service.post("/v1/streams", {"id": "file", "source": source})
    service.await_state("file", "ended")
    part = clip_part(clip.read_bytes())
    for text in (SEEN, "at 0:02, what do you see?", "when did you see an owl?"):
        assert basis(service.post(CHAT, asking(text, part))) == basis(
            service.ask(text, "stream://file")
        )
    service.delete("/v1/streams/file?purge=true")


def test_what_is_shown_stands_beside_streams(service):
    stream = {"type": "video_url", "video_url": {"url": "stream://door"}}
    told = service.post(CHAT, asking(SEEN, image_part(owl_jpeg()), stream))
    assert said(told) == "door: a burger\n(request): an owl"
    urls = {
        one["stream_id"]: one["frame_url"] for one in told["choices"][0]["message"]["annotations"]
    }
    assert urls[REQUEST] is None
    assert service.http.get(urls["door"]).status_code == 200


def test_the_openai_sdk_shows_pictures_and_a_clip(service, clip):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=MASTER, max_retries=0) as client:
        for part in (image_part(owl_jpeg()), clip_part(clip.read_bytes())):
            messages = asking(SEEN, part)["messages"]
            told = client.chat.completions.create(model="default", messages=messages)
            assert told.choices[0].message.content == "an owl"
            chunks = client.chat.completions.create(model="default", messages=messages, stream=True)
            deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
            assert "".join(deltas) == "an owl"
        shown = {"type": "input_image", "image_url": data_url("image/jpeg", owl_jpeg())}
        question = {"role": "user", "content": [shown, {"type": "input_text", "text": SEEN}]}
        asked = client.responses.create(model="default", input=[question])
        assert asked.output_text == "an owl"
        assert asked.output[0].content[0].annotations == []
        later = client.responses.create(model="default", input=[question], background=True)
        while later.status in ("queued", "in_progress"):
            time.sleep(0.05)
            later = client.responses.retrieve(later.id)
        assert later.output_text == "an owl"


def test_a_key_must_be_good_for_asking_about_some_stream(service):
    assert said(service.post(CHAT, asking(SEEN, image_part(owl_jpeg())), **as_key("asks")))
    assert refused(service, image_part(owl_jpeg()), **as_key("reads"))["code"] == "not_permitted"
    for key in ("asks", "reads"):  # one sees no stream, the other one that it may not ask about
        told = service.http.post(CHAT, json=asking("Hi"), **as_key(key))
        assert told.status_code == {"asks": 200, "reads": 403}[key]


def at(url):
    return {"type": "image_url", "image_url": {"url": url}}


def png_head(side):
    """Of a PNG of `side` x `side` pixels, which are not there."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


BAD = {
    "a bomb": (image_part(png_head(100_000), "image/png"), "FRAME_INVALID"),
    "a large picture": (image_part(png_head(7_000), "image/png"), "FRAME_INVALID"),
    "no picture": (image_part(b"hello"), "FRAME_INVALID"),
    "half a picture": (image_part(owl_jpeg()[:2000]), "FRAME_INVALID"),
    "a gif": (image_part(encoded(owl_jpeg(), "GIF"), "image/gif"), "FRAME_INVALID"),
    "no clip": (clip_part(b"hello" * 100), "FILE_NOT_VIDEO"),
    "an empty clip": (clip_part(b""), "FILE_EMPTY"),
    "a playlist": (clip_part(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "FILE_NOT_VIDEO"),
    "no base64": (at("data:image/png;base64,%%%"), "SOURCE_UNSUPPORTED"),
    "no type": (at("data:" + "a" * (1 << 20)), "SOURCE_UNSUPPORTED"),
    "a file": (
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        "SOURCE_FORBIDDEN",
    ),
    "another scheme": (at("gopher://x/"), "SOURCE_FORBIDDEN"),
    "nothing": (at(None), "invalid_value"),
    "too many": (
        {
            "type": "video_url",
            "video_url": {"url": "data:video/jpeg;base64," + ",".join(["AAAA"] * 97)},
        },
        "too_many_pictures",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_good_is_the_clients_error(service, what):
    part, code = BAD[what]
    told = refused(service, part)
    assert told["code"] == code
    assert "/tmp" not in told["message"]
    assert all(one.showing._taken == [] for one in service.services)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/x.jpg",
        "http://localhost:{port}/x.jpg",
        "http://[::1]:{port}/",
        "http://0x7f000001:{port}/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
    ],
)
def test_no_private_address_is_reached(service, url):
    with loopback_http(lambda request: (200, {}, owl_jpeg())) as server:
        named = url.format(port=server.url.rpartition(":")[2])
        for part in (at(named), {"type": "input_video", "video_url": named}):
            told = refused(service, part)
            assert told["code"] in ("SOURCE_FORBIDDEN", "STREAM_NOT_FOUND")
            assert named not in told["message"]
        assert server.requests == []


def test_what_lies_on_a_server_is_fetched_within_bounds(fetching, clip):
    files = {"/owl.jpg": owl_jpeg(), "/owl.mp4": clip.read_bytes(), "/large": b"x" * (2 << 20)}

    def answer(request):
        if request.path == "/moved":
            return 302, {"Location": "/owl.jpg"}, b""
        if request.path in files:
            return 200, {}, files[request.path]
        return 404, {}, b""

    with loopback_http(answer) as server:
        image = at(f"{server.url}/owl.jpg")
        video = {"type": "input_video", "video_url": f"{server.url}/owl.mp4"}
        for part in (image, video):
            assert said(fetching.post(CHAT, asking(SEEN, part))) == "an owl"
        for path, code in {
            "/moved": "STREAM_NOT_FOUND",
            "/else": "STREAM_NOT_FOUND",
            "/large": "SOURCE_TOO_LARGE",
        }.items():
            part = at(server.url + path)
            assert refused(fetching, part)["code"] == code
        assert [request.path for request in server.requests].count("/owl.jpg") == 1
    with stalling(owl_jpeg(), 1000) as url:
        assert refused(fetching, at(url))["code"] == "STREAM_TIMEOUT"


def test_so_many_are_shown_at_a_time(service):
    most = service.service.settings.service.request_media
    with ExitStack() as held:
        for one in service.services * most:
            held.enter_context(one.showing.held(None))
        assert refused(service, image_part(owl_jpeg()))["code"] == "busy"
        assert said(service.ask(SEEN, "stream://door")) == "a burger"
    assert said(service.post(CHAT, asking(SEEN, image_part(owl_jpeg())))) == "an owl"


def test_only_a_question_may_be_so_large(service):
    noise = Image.effect_noise((3200, 3200), 90)
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    body = asking(SEEN, image_part(buffer.getvalue(), "image/png"))
    assert len(buffer.getvalue()) > 8 << 20
    assert service.post(CHAT, body)["choices"]
    for path, size in (("/v1/search", 9), ("/v1/alerts", 9), (CHAT, 33), ("/v1/responses", 33)):
        told = service.http.post(path, content=b"x" * (size << 20))
        assert told.status_code == 413


def test_a_clip_ends_with_its_time_and_with_its_asker(service, clip):
    shown = [ShownMedia("clip 1", clip.read_bytes(), is_clip=True)]
    streams, config = service.service.loaded.streams, service.service.settings.source
    with pytest.raises(SourceError, match="request_fetch_s") as failure:
        show(streams.passing(), shown, config, 1, -1, Asker())
    assert failure.value.code == "STREAM_TIMEOUT"
    gone = Asker()
    gone.leave()
    with pytest.raises(CancelledError):
        show(streams.passing(), shown, config, 1, 60, gone)


def files_in(folder):
    return {str(path): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def all_gone(references):
    gc.collect()
    return not any(one() for one in references)


def test_nothing_is_left_of_what_is_shown(service, folder, clip, monkeypatch):
    """No stream, block, file or thread; of events the answer's own, which has no words."""
    passing, made = Streams.passing, []

    def noted(streams):
        session = passing(streams)
        made.extend([weakref.ref(session), weakref.ref(session.memory)])
        return session

    monkeypatch.setattr(Streams, "passing", noted)
    parts = [image_part(owl_jpeg()), clip_part(clip.read_bytes())]
    listed, threads = service.get("/v1/streams"), psutil.Process().num_threads()
    stored = {path for path in files_in(folder) if "events" not in path}
    for wishes in ({}, {"stream": True}):
        answered = service.http.post(CHAT, json=asking("a secret word?", *parts, **wishes))
        assert answered.is_success
    content = [part | {"type": "input_image"} for part in parts[:1]]
    content.append({"type": "input_text", "text": "a secret word?"})
    service.post("/v1/responses", {"input": [{"role": "user", "content": content}]})
    refused(service, parts[0], image_part(b"bad"))
    until(lambda: all_gone(made))
    assert len(made) == 8
    now = service.get("/v1/streams")
    assert [one["id"] for one in now["data"]] == [one["id"] for one in listed["data"]]
    assert {path for path in files_in(folder) if "events" not in path} == stored
    assert not list(Path(tempfile.gettempdir()).glob("vstream-clip-*"))
    told = [one for one in service.events._ring if one.stream_id == REQUEST]
    assert {one.kind.value for one in told} == {"answer.done"}
    assert "secret" not in str([one.data for one in told])
    assert psutil.Process().num_threads() <= threads + 2


def test_no_redis_key_is_left(redis_server):
    with running_service(store=redis_server.url) as service:
        client = redis_server.client()
        body = asking(SEEN, image_part(owl_jpeg()))
        service.post(CHAT, body)
        time.sleep(0.2)
        keys = set(client.keys())
        assert not [key for key in keys if b"request" in key]
        service.post(CHAT, body)
        assert set(client.keys()) == keys


def test_many_requests_take_no_more_memory_than_few(service):
    """A small count of what a soak test does a hundred times."""
    body = asking(SEEN, *[image_part(owl_jpeg(part / 4)) for part in range(3)])
    process = psutil.Process()
    for _ in range(4):
        service.post(CHAT, body)
    gc.collect()
    before = process.memory_info().rss
    for _ in range(12):
        service.post(CHAT, body)
    gc.collect()
    assert process.memory_info().rss - before < 20 << 20
