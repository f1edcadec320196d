"""Page: what visitors do in, what they are shown out; every call goes through the ServiceClient."""

import io
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from app.client import ServiceClient, ServiceError
from app.page.status_line import status_line
from app.page.timeline_strip import timeline_strip
from app.page.visitors import CAMERA, Exchange, Visitor, Visitors
from app.page.words import clock, wall

LOOK_S = 1.0
"""How often the picture and the state are looked at."""
CAMERA_S = 0.2
"""A frame of this browser's camera is sent so often."""
_PICTURES = 8
_JPEG_QUALITY = 85
_OWN = "my camera"


class Page:
    """What happens on the page. Gradio calls from many threads; each visitor has a session."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._visitors = Visitors()

    def choices(self, request: gr.Request) -> Any:
        """The streams to choose from: those of the service, and the visitor's own camera."""
        visitor = self._visitors.of(request.session_hash)
        try:
            ids = [one.id for one in self._client.streams()]
        except ServiceError:
            ids = []
        shown = [stream_id for stream_id in ids if not stream_id.startswith(CAMERA)]
        if visitor.has_camera:
            shown.insert(0, _OWN)
        return gr.update(choices=shown, value=shown[0] if shown else None)

    def look(
        self, name: str | None, begin_s: float, end_s: float, request: gr.Request
    ) -> tuple[Any, str, str]:
        """The newest picture, the status line and the timeline."""
        visitor = self._visitors.of(request.session_hash)
        stream_id = _id_of(name, visitor)
        if stream_id is None:
            return gr.skip(), status_line(None), timeline_strip(None)
        try:
            told = self._client.stream(stream_id)
            picture = _picture(self._client.frame(stream_id)) if told.last_frame_at else gr.skip()
            strip = self._strip(stream_id, visitor, _span(begin_s, end_s))
        except ServiceError as error:
            if error.code in ("frame_not_found",):
                return gr.skip(), status_line(told), timeline_strip(None)
            return gr.skip(), status_line(None, f"{error} — trying again"), gr.skip()
        return picture, status_line(told), strip

    def camera(self, pixels: np.ndarray | None, request: gr.Request) -> None:
        """A frame of this browser's camera, on to the service."""
        if pixels is None:
            return
        visitor = self._visitors.of(request.session_hash)
        jpeg = _jpeg(pixels)
        try:
            if not visitor.has_camera:
                self._client.create_stream(
                    visitor.camera_id, {"type": "push"}, memory={"retention": "6h"}
                )
                visitor.has_camera = True
            self._client.push(visitor.camera_id, jpeg)
        except ServiceError as error:
            if error.code == "stream_exists":
                visitor.has_camera = True
            elif error.code == "stream_not_found":
                visitor.has_camera = False  # the service was started anew: begin again

    def add(self, name: str, url: str, file: str | None) -> tuple[Any, str]:
        """Have the service watch an address or an uploaded file."""
        source = {"url": url.strip()} if url.strip() else {"url": file or ""}
        if not source["url"]:
            return gr.skip(), "Give an address, or choose a video file."
        try:
            made = self._client.create_stream(name.strip(), source)
        except ServiceError as error:
            return gr.skip(), f"**Not added**: {error}"
        ids = [one.id for one in self._client.streams() if not one.id.startswith(CAMERA)]
        return gr.update(choices=ids, value=made.id), f"watching **{made.id}**"

    def ask(
        self, text: str, name: str | None, begin_s: float, end_s: float, request: gr.Request
    ) -> Iterator[tuple[Any, Any]]:
        """The chat and the pictures of the evidence, again and again while the answer comes."""
        visitor = self._visitors.of(request.session_hash)
        stream_id = _id_of(name, visitor)
        if not text.strip():
            yield gr.skip(), gr.skip()
            return
        exchange = visitor.ask(text.strip(), stream_id or "")
        if stream_id is None:
            exchange.note, exchange.is_running = "There is no stream to ask about yet.", False
            yield visitor.shown(), gr.skip()
            return
        yield visitor.shown(), gr.skip()
        messages = [*visitor.dialogue(stream_id), {"role": "user", "content": exchange.question}]
        answers = self._client.ask(messages, [_address(stream_id, _span(begin_s, end_s))])
        try:
            for answer in answers:
                if exchange.is_stopped:
                    break
                exchange.answer, exchange.citations = answer.text, answer.citations
                exchange.note = _note(answer.evidence)
                yield visitor.shown(), gr.skip()
        except ServiceError as error:
            exchange.note = f"⚠ {error}"
        finally:
            answers.close()  # type: ignore[attr-defined]
            exchange.is_running = False
        if exchange.is_stopped:
            exchange.note = "stopped"
        yield visitor.shown(), self._gallery(exchange)

    def stop(self, request: gr.Request) -> None:
        """End what is being answered to this visitor."""
        self._visitors.of(request.session_hash).stop()

    def search(self, words: str, name: str | None, request: gr.Request) -> tuple[Any, str]:
        """The moments of a stream most like some words."""
        stream_id = _id_of(name, self._visitors.of(request.session_hash))
        if stream_id is None or not words.strip():
            return [], "Choose a stream and write what you look for."
        try:
            found = self._client.search(words.strip(), [stream_id], limit=_PICTURES)
            pictures = [
                (_picture(self._client.picture(one.frame_url)), _caption(one.to_s, one.captured_at))
                for one in found
            ]
        except ServiceError as error:
            return [], f"⚠ {error}"
        return pictures, f"{len(pictures)} moments, the most alike first" if pictures else "nothing"

    def add_watch(self, condition: str, name: str | None, request: gr.Request) -> tuple[str, Any]:
        """Watch for something on a stream."""
        stream_id = _id_of(name, self._visitors.of(request.session_hash))
        if stream_id is None or not condition.strip():
            return "Choose a stream and write what to wait for.", gr.skip()
        try:
            self._client.add_watch(stream_id, condition.strip())
        except ServiceError as error:
            return f"⚠ {error}", gr.skip()
        return "", self.watches(name, request)

    def watches(self, name: str | None, request: gr.Request) -> list[list[Any]]:
        """The watches on a stream, row by row."""
        stream_id = _id_of(name, self._visitors.of(request.session_hash))
        try:
            found = self._client.watches()
        except ServiceError:
            return []
        return [
            [
                one.condition,
                one.fired,
                "never" if one.last_fired_at is None else wall(one.last_fired_at),
                f"{max(one.last_probability.values(), default=0.0):.2f}",
            ]
            for one in found
            if stream_id in one.stream_ids
        ]

    def about(self) -> str:
        """Which model answers, and what it can do."""
        try:
            (model, *_) = [one for one in self._client.models() if one["id"] != "default"]
        except (ServiceError, ValueError) as error:
            return f"⚠ {error}"
        text = f"**{model['id']}** answers, {model['sample_fps']:g} frames a second are encoded."
        if model["id"] == "embedded":
            text += (
                " It is the small model that comes with vstream, trained on a made-up world of "
                "drawn objects: it names some hundred things, colours and places of that world, "
                "and **nothing of a real scene**. For real scenes start the service with a real "
                "Video-LLM: `vstream serve llava-hf/llava-onevision-qwen2-7b-ov-hf`."
            )
        return text

    def leave(self, request: gr.Request) -> None:
        """The page was closed: its camera's stream is nobody's any more."""
        visitor = self._visitors.leave(request.session_hash)
        if visitor is not None and visitor.has_camera:
            try:
                self._client.delete_stream(visitor.camera_id, purge=True)
            except ServiceError:
                return

    def _gallery(self, exchange: Exchange) -> Any:
        try:
            return [
                (
                    _picture(self._client.picture(one.frame_url)),
                    f"{clock(one.end_s)} · {one.score:.2f}",
                )
                for one in exchange.citations[:_PICTURES]
            ]
        except ServiceError:
            return gr.skip()

    def _strip(self, stream_id: str, visitor: Visitor, asked: tuple[float, float] | None) -> str:
        newest = visitor.newest
        cited = newest.citations if newest and newest.stream_id == stream_id else []
        return timeline_strip(self._client.timeline(stream_id), cited, (), asked)


def _id_of(name: str | None, visitor: Visitor) -> str | None:
    return visitor.camera_id if name == _OWN else name


def _span(begin_s: float, end_s: float) -> tuple[float, float] | None:
    """The range that was picked; None while it is all or nothing."""
    return (begin_s, end_s) if end_s > begin_s else None


def _address(stream_id: str, span: tuple[float, float] | None) -> str:
    if span is None:
        return f"stream://{stream_id}"
    return f"stream://{stream_id}?from_s={span[0]}&to_s={span[1]}"


def _note(evidence: list[dict[str, Any]]) -> str:
    if not evidence:
        return ""
    (one,) = evidence
    age = one["newest_frame_age_s"]
    parts = [f"first token {one['ttft_ms']:.0f} ms", f"{one['moments']} moments read"]
    if age is not None:
        parts.append(f"newest frame {age:.1f} s old")
    if one["unsure"]:
        parts.insert(0, f"unsure ({one['confidence']:.0%})")
    return " · ".join(parts)


def _caption(stream_s: float, captured_at: float) -> str:
    return f"{clock(stream_s)} · {wall(captured_at)}"


def _picture(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
