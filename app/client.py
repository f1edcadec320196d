"""ServiceClient: a typed client for a service's streams, answers, searches and alerts."""

import json
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from app.server.documents import (
    AlertDocument,
    Citation,
    FiringList,
    FoundMoment,
    Marked,
    ModelDocument,
    Pushed,
    StreamDocument,
    Timeline,
)
from app.server.keys import PAGE_TOKEN
from app.server.moment_documents import FindingProgress, FoundSpanDocument, FoundSpans
from app.server.recap_documents import RecapDocument, RecapEntryDocument, RecapProgress
from memory.closing import Closing
from vstream.errors import VStreamError

Document = TypeVar("Document", bound=BaseModel)
_TIMEOUT_S = 30.0
_ANSWER_S = 900.0
"""A large model on a CPU sends nothing for this long while a question waits and is read."""
_FINDING: dict[str, type[FoundSpanDocument] | type[FindingProgress] | type[FoundSpans]] = {
    "span": FoundSpanDocument,
    "progress": FindingProgress,
    "done": FoundSpans,
}
_TELLING: dict[str, type[RecapEntryDocument] | type[RecapProgress] | type[RecapDocument]] = {
    "entry": RecapEntryDocument,
    "progress": RecapProgress,
    "done": RecapDocument,
}


class ServiceError(VStreamError):
    """The service refused a request, or is unreachable (`status` 0). `code` is the API's."""

    def __init__(self, message: str, code: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Picture:
    """A JPEG and when it was captured, in stream time and epoch seconds; None: unknown."""

    jpeg: bytes
    stream_s: float | None
    captured_at: float | None


@dataclass(frozen=True)
class Clip:
    """An MP4 and when it was captured; see Picture. Each picture is shown at one of `times_s`."""

    mp4: bytes
    stream_s: float | None
    captured_at: float | None
    times_s: list[float]


@dataclass
class StreamedAnswer:
    """An answer as it comes: the `text` so far; citations and evidence arrive at the end."""

    model: str = ""
    text: str = ""
    is_truncated: bool = False
    citations: list[Citation] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)


class ServiceClient(Closing):
    """Thread-safe. Every call may raise ServiceError."""

    def __init__(self, url: str, key: str | None = None, page_token: str | None = None) -> None:
        """`url` is e.g. http://127.0.0.1:8900; `page_token` is for the page of the same process.
        Raises ServiceError for an invalid URL.
        """
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {PAGE_TOKEN: page_token} if page_token else {}
        self.url = url.rstrip("/")
        self.has_key = bool(key)
        if not self.url.startswith(("http://", "https://")):
            raise _no_address(url)
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=headers, timeout=_TIMEOUT_S, trust_env=False
            )
        except httpx.InvalidURL:
            raise _no_address(url) from None

    def ready(self) -> dict[str, Any]:
        try:
            document: dict[str, Any] = self._http.get("/ready").json()
        except (httpx.HTTPError, ValueError) as error:
            raise _unreachable(self.url, error) from error
        return document

    def model(self) -> ModelDocument:
        return self._all(ModelDocument, "GET", "/v1/models")[-1]  # the first is `default`

    def streams(self) -> list[StreamDocument]:
        return self._all(StreamDocument, "GET", "/v1/streams")

    def stream(self, stream_id: str) -> StreamDocument:
        return self._one(StreamDocument, "GET", f"/v1/streams/{_part(stream_id)}")

    def create_stream(self, stream_id: str, source: dict[str, Any], **more: Any) -> StreamDocument:
        document = {"id": stream_id, "source": source, **more}
        return self._one(StreamDocument, "POST", "/v1/streams", json=document)

    def delete_stream(self, stream_id: str, *, purge: bool = False) -> None:
        self._answer("DELETE", f"/v1/streams/{_part(stream_id)}", params={"purge": purge})

    def pause(self, stream_id: str) -> StreamDocument:
        """Close the stream's source until `resume`; it can still be asked about."""
        return self._told_to(stream_id, "pause")

    def resume(self, stream_id: str) -> StreamDocument:
        return self._told_to(stream_id, "resume")

    def restart(self, stream_id: str) -> StreamDocument:
        return self._told_to(stream_id, "restart")

    def push(self, stream_id: str, jpeg: bytes) -> bool:
        """Push a frame captured just now; return whether it was accepted."""
        headers = {"Content-Type": "image/jpeg"}
        path = f"/v1/streams/{_part(stream_id)}/frames"
        return self._one(Pushed, "POST", path, content=jpeg, headers=headers).accepted

    def frame(self, stream_id: str, t_s: float | None = None, t: str | None = None) -> Picture:
        """The newest frame; or the small picture kept of a moment. `t` is clock time."""
        moment = {"t_s": t_s, "t": t}
        return self.picture(f"/v1/streams/{_part(stream_id)}/frame.jpg", **moment)

    def picture(self, frame_url: str, **moment: float | str | None) -> Picture:
        params = {name: value for name, value in moment.items() if value is not None} or None
        found = self._answer("GET", frame_url, params=params)
        return Picture(
            found.content, _time_in(found, "X-Stream-Time"), _time_in(found, "X-Capture-Time")
        )

    def clip(self, stream_id: str, from_s: float, to_s: float) -> Clip:
        """The kept pictures of up to a minute, as a video."""
        path = f"/v1/streams/{_part(stream_id)}/clip.mp4"
        found = self._answer("GET", path, params={"from_s": from_s, "to_s": to_s})
        times_s = [float(one) for one in found.headers.get("X-Picture-Times", "0").split(",")]
        when = _time_in(found, "X-Stream-Time"), _time_in(found, "X-Capture-Time")
        return Clip(found.content, *when, times_s)

    def timeline(
        self,
        stream_id: str,
        parts: int = 120,
        from_s: float | None = None,
        to_s: float | None = None,
    ) -> Timeline:
        """The history of a stream, or a range of it, in at most `parts` parts."""
        bounds = {"parts": parts, "from_s": from_s, "to_s": to_s}
        params = {name: value for name, value in bounds.items() if value is not None}
        path = f"/v1/streams/{_part(stream_id)}/timeline"
        return self._one(Timeline, "GET", path, params=params)

    def search(
        self, words: str, stream_ids: list[str], limit: int = 8, **span: Any
    ) -> list[FoundMoment]:
        """Find the moments that best match some words; `span` takes from, to, from_s and to_s."""
        document = {"query": words, "stream_ids": stream_ids, "limit": limit, **span}
        return self._all(FoundMoment, "POST", "/v1/search", json=document)

    def find(
        self, statement: str, stream_ids: list[str], **more: Any
    ) -> Generator[FoundSpanDocument | FindingProgress | FoundSpans]:
        """Find every span in which a statement is true. Yields spans as they are found, progress in
        between, and the whole result at the end. Close the iterator to stop the service. `more`
        takes from_s, to_s, effort and so on.
        """
        document = {"statement": statement, "stream_ids": stream_ids, "stream": True, **more}
        with closing(self._events("/v1/moments", document)) as events:
            for kind, one in events:
                yield _FINDING[kind].model_validate(one)

    def recap(
        self, stream_ids: list[str], **more: Any
    ) -> Generator[RecapEntryDocument | RecapProgress | RecapDocument]:
        """Recap streams. Yields entries as they are found, progress in between, and the whole recap
        at the end. Close the iterator to stop the service. `more` takes from, to, from_s, to_s and
        effort.
        """
        document = {"stream_ids": stream_ids, "stream": True, **more}
        with closing(self._events("/v1/recaps", document)) as events:
            for kind, one in events:
                yield _TELLING[kind].model_validate(one)

    def alerts(self) -> list[AlertDocument]:
        return self._all(AlertDocument, "GET", "/v1/alerts")

    def add_alert(self, stream_id: str, condition: str, **more: Any) -> AlertDocument:
        document = {"stream_ids": [stream_id], "condition": condition, **more}
        return self._one(AlertDocument, "POST", "/v1/alerts", json=document)

    def change_alert(self, alert_id: str, **wanted: Any) -> AlertDocument:
        """Change fields, e.g. condition="a dog", cooldown_s=60; the others stay."""
        return self._one(AlertDocument, "PATCH", f"/v1/alerts/{_part(alert_id)}", json=wanted)

    def delete_alert(self, alert_id: str) -> None:
        self._answer("DELETE", f"/v1/alerts/{_part(alert_id)}")

    def firings(self, **wanted: Any) -> FiringList:
        """List firings, newest first; `wanted` takes unseen=True, before=ID, limit, stream_id."""
        return self._one(FiringList, "GET", "/v1/firings", params=wanted)

    def see_firings(self, ids: list[int]) -> Marked:
        """Mark firings as seen, for everyone who may see their streams."""
        return self._one(Marked, "POST", "/v1/firings/seen", json={"ids": ids})

    def ask(
        self, messages: list[dict[str, Any]], stream_urls: list[str], **wishes: Any
    ) -> Generator[StreamedAnswer]:
        """Ask about streams. Yields the answer so far, repeatedly, until it is complete. `messages`
        are earlier turns and the question, as {role, content}. Close the iterator to stop the
        service.
        """
        *before, last = messages
        urls = [{"type": "video_url", "video_url": {"url": url}} for url in stream_urls]
        content = [*urls, {"type": "text", "text": last["content"]}]
        document = {
            "model": "default",
            "stream": True,
            "messages": [*before, {"role": "user", "content": content}],
            **wishes,
        }
        answer = StreamedAnswer()
        with closing(self._events("/v1/chat/completions", document)) as events:
            for _, chunk in events:
                if _take(answer, chunk):
                    yield answer

    def close(self) -> None:
        self._http.close()

    def _told_to(self, stream_id: str, deed: str) -> StreamDocument:
        return self._one(StreamDocument, "POST", f"/v1/streams/{_part(stream_id)}/{deed}")

    def _one(self, kind: type[Document], method: str, path: str, **options: Any) -> Document:
        return kind.model_validate(self._answer(method, path, **options).json())

    def _all(self, kind: type[Document], method: str, path: str, **options: Any) -> list[Document]:
        found = self._answer(method, path, **options).json()["data"]
        return [kind.model_validate(one) for one in found]

    def _events(self, path: str, document: dict[str, Any]) -> Generator[tuple[str, dict[str, Any]]]:
        """Yield each server-sent event's kind ("" if it has none) and document, as they come."""
        patience, kind = httpx.Timeout(_TIMEOUT_S, read=_ANSWER_S), ""
        try:
            with self._http.stream("POST", path, json=document, timeout=patience) as response:
                if not response.is_success:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if line.startswith("event: "):
                        kind = line[7:]
                    if line.startswith("data: {"):
                        document = json.loads(line[6:])
                        if "error" in document:
                            error = document["error"]
                            raise ServiceError(error["message"], error["code"] or "error")
                        yield kind, document
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from error

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise _unreachable(self.url, error) from error
        if not response.is_success:
            raise _refused(response)
        return response


def _part(name: str) -> str:
    return quote(name, safe="")


def _take(answer: StreamedAnswer, chunk: dict[str, Any]) -> bool:
    """Add a chunk to the answer; return whether it brought anything new."""
    answer.model = chunk.get("model", answer.model)
    answer.evidence = chunk.get("vstream", answer.evidence)
    is_news = "vstream" in chunk
    for choice in chunk["choices"]:
        delta = choice["delta"]
        text, cited = delta.get("content") or "", delta.get("annotations", [])
        answer.text += text
        answer.is_truncated = choice["finish_reason"] == "length"
        answer.citations += [Citation.model_validate(one) for one in cited]
        is_news = is_news or bool(text or cited)
    return is_news


def _time_in(response: httpx.Response, name: str) -> float | None:
    try:
        return float(response.headers[name])
    except (KeyError, ValueError):
        return None


def _refused(response: httpx.Response) -> ServiceError:
    try:
        problem = response.json()["error"]
        return ServiceError(problem["message"], problem["code"] or "error", response.status_code)
    except (ValueError, KeyError, TypeError):
        status = response.status_code
        return ServiceError(f"the service answered {status}", "error", status)


def _no_address(url: str) -> ServiceError:
    return ServiceError(f"{url} is not a service's URL; write e.g. http://HOST:8900", "address")


def _unreachable(url: str, error: Exception) -> ServiceError:
    return ServiceError(f"the service at {url} cannot be reached", type(error).__name__)
