"""A stream of the drawn world in which an owl comes and goes and a cup stays: frames, a
video or a stream of a service.
"""

import io

import av
from PIL import Image

from encoders import Frame
from eval.stream_world.moment import Backdrop, Item, Kind, Moment
from eval.stream_world.renderer import Renderer

LENGTH_S = 40
VISITS = (range(8, 16), range(28, 36))
"""The seconds in which the owl is in view."""


def owl_frames():
    """One frame a second."""
    return [Frame(picture, float(second), 0.0) for second, picture in enumerate(_pictures(96))]


def push_owl(running, began_at=1_700_000_000.0, **more):
    """Into a new stream `door` of a running service, a block a second."""
    wanted = {"source": {"type": "push"}, "sampling": {"fps": 1, "dedup": 0}, **more}
    running.post("/v1/streams", {"id": "door", **wanted})
    for second, frame in enumerate(owl_frames()):
        buffer = io.BytesIO()
        Image.fromarray(frame.pixels).save(buffer, "JPEG", quality=95)
        headers = {"X-Capture-Time": str(began_at + second)}
        path = "/v1/streams/door/frames"
        pushed = running.http.post(path, content=buffer.getvalue(), headers=headers)
        assert pushed.json()["accepted"]
        running.await_stream("door", lambda told: told["memory"]["blocks"] > second)  # noqa: B023


def write_owl_video(path):
    """The same as an mp4 of one frame a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 384, 384, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in _pictures(384):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def _pictures(side_px):
    renderer = Renderer(side_px)
    backdrop = Backdrop("room", variant=1, left_px=8, top_px=8, is_flipped=False)
    cup = _item("cup", 1, x=0.75, y=0.7)
    for second in range(LENGTH_S):
        visit = sum(second >= visit.start for visit in VISITS)
        owl = [_item("owl", 1 + visit, x=0.3, y=0.4)] if any(second in v for v in VISITS) else []
        yield renderer.frame(Moment(second, backdrop, (cup, *owl)))


def _item(name, track, x, y):
    return Item(
        track=track,
        name=name,
        kind=Kind.EMOJI,
        style="noto",
        x=x,
        y=y,
        size=0.38,
        rotation=0.0,
        is_flipped=False,
    )
