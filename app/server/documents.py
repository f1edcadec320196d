"""Documents: what the service holds in, what its API tells of it out, as JSON-able models."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from vstream.service.webhook_delivery import shown_receiver
from vstream.sources.address import redacted

if TYPE_CHECKING:  # a client knows documents alone, and needs no torch
    from vstream.service.alert_record import AlertRecord
    from vstream.service.inquiry import StreamAnswer
    from vstream.service.past_firing import PastFiring
    from vstream.service.stream_keeper import StreamKeeper
    from vstream.service.stream_status import StreamStatus

_URL_PARTS = 1_000_000
"""A time in an address is told to a millionth of a second."""


class Deleted(BaseModel):
    """What is no longer there."""

    id: str
    object: str
    deleted: Literal[True] = True


class Pushed(BaseModel):
    """What became of a frame. Dropped for the `rate`: it is not needed; `busy`: an older one was
    dropped in its favour.
    """

    accepted: bool
    dropped: str | None
    stream_s: float


class Problem(BaseModel):
    code: str
    message: str
    since: float


class MemoryDocument(BaseModel):
    """What a stream remembers. `from_s` and `to_s` are stream time, in seconds.

    `bytes` and `seconds` are by tier: how large what lies there is, and how much stream time it
    stands for, each block for the time since the one before it, a minute at most.
    """

    from_s: float
    to_s: float
    blocks: int
    waiting_blocks: int
    bytes: dict[str, int]
    seconds: dict[str, float]
    blocks_by_codec: dict[str, int]
    damaged: int = Field(
        0,
        description="Places where blocks were found damaged or missing since it was opened.",
    )


class StreamDocument(BaseModel):
    """One stream. Times are seconds since the epoch, `stream_s` seconds of the stream."""

    id: str
    object: Literal["stream"] = "stream"
    state: str
    error: Problem | None
    source: dict[str, Any]
    context: str
    timezone: str | None
    policy: str
    stream_s: float
    last_frame_at: float | None
    last_frame_age_s: float | None
    sampled_fps: float
    frames: dict[str, int]
    dropped: dict[str, int]
    reconnects: int
    restarts: int
    memory: MemoryDocument


class ModelDocument(BaseModel):
    """`default`, the model's own name and its aliases mean the same. `max_model_len` are the tokens
    of one question with all that it reads; what a stream holds has no such bound. `knows` is what
    it was trained to see, as `drawings only`, where that is not the world.
    """

    id: str
    object: str = "model"
    created: int
    owned_by: str = "vstream"
    fingerprint: str
    max_model_len: int
    input_modalities: list[str]
    output_modalities: list[str] = ["text"]
    sample_fps: float
    reads_context: bool
    reads_dialogue: bool
    knows: str | None
    real_model: str | None = Field(
        None,
        description="Where this model does not know the world: one of real scenes that fits the "
        "service's machine, and the command that gets it; null: none that is known fits.",
    )


class TimelinePart(BaseModel):
    """A stretch of stream time. `change` is how unlike the picture before the most unlike one is:
    1 less the cosine of their representative keys, averaged over the layers. Of a long part only
    some pictures are compared, each with the one compared before; `blocks` counts all.
    """

    from_s: float
    to_s: float
    captured_at: float
    blocks: int
    change: float
    change_s: float


class Timeline(BaseModel):
    """`parts` are of equal length, at least a second; where nothing is kept there are none.

    `from_s` and `to_s` bound what is kept of the stretch that was asked for, `kept_from_s` and
    `kept_to_s` all that is kept. Of nothing all are 0.
    """

    object: Literal["timeline"] = "timeline"
    stream_id: str
    from_s: float
    to_s: float
    part_s: float
    parts: list[TimelinePart]
    kept_from_s: float = 0.0
    kept_to_s: float = 0.0


class CitedMoment(BaseModel):
    """One moment that an answer is computed from, best `score` first."""

    type: str
    stream_id: str
    start: str = Field(description="RFC 3339, by the clock of the capture.")
    end: str
    start_s: float = Field(description="Seconds of stream time.")
    end_s: float
    captured_at: float = Field(description="Seconds since the epoch, of the newest frame of it.")
    score: float = Field(description="How like the question it is, to rank by.")
    frame_url: str | None = Field(
        description="Its picture, under this service's address; null of what a request shows."
    )


class Citation(CitedMoment):
    """As /v1/chat/completions cites."""

    type: Literal["video_citation"] = "video_citation"


class LinkCitation(CitedMoment):
    """As /v1/responses cites: OpenAI's clients know a fixed set of kinds there, so it is a link to
    the picture with the rest beside. `start_index` and `end_index` bound the text it is about.
    """

    type: Literal["url_citation"] = "url_citation"
    url: str
    title: str
    start_index: int
    end_index: int


class FoundMoment(BaseModel):
    """A stretch of a stream. `score` ranks; it is no measure of certainty.

    `text` is what its memory policy noted of it, if that was found; of one that is kept as text
    alone there is no picture. `strange` says why being found means nothing, where its picture is
    none that the model knows.
    """

    stream_id: str
    from_s: float
    to_s: float
    captured_at: float
    at: str
    score: float
    text: str
    strange: str | None
    frame_url: str | None


class FiringDocument(BaseModel):
    """What an alert waited for was the case. Times are seconds since the epoch, `at_s` stream time.

    `frame_url` is the picture of the frame that decided it, which was captured at `at`, `clip_url`
    an animated one of the seconds around it.
    """

    id: int = Field(description="The later, the higher.")
    alert_id: str
    condition: str
    stream_id: str
    at: float
    at_s: float
    probability: float
    is_seen: bool = Field(description="By somebody who may see the stream.")
    sentence: str | None = Field(
        description="What the model says of it, empty if nothing; null: not yet, or forgotten."
    )
    frame_url: str
    clip_url: str


class FiringList(BaseModel):
    object: str = "list"
    data: list[FiringDocument]
    has_more: bool = Field(description="Ask for what is `before` the last one.")
    unseen: int = Field(description="Of all that this key may see, on whatever page.")


class Marked(BaseModel):
    object: str = "firings.seen"
    marked: int
    unseen: int = Field(description="Of all that this key may see, after this.")


class AlertDocument(BaseModel):
    """A standing question. Times are seconds since the epoch."""

    id: str
    object: Literal["alert"] = "alert"
    stream_ids: list[str]
    condition: str
    rule: str | None
    every_s: float
    cooldown_s: float
    until: float | None
    created_at: float
    fired: int
    judged: int
    skipped: int
    last_fired_at: float | None
    last_probability: dict[str, float]
    firings: list[FiringDocument] = Field(description="The newest 50, newest first.")
    error: str | None
    actions: list[dict[str, Any]]
    told_as: Literal["alert", "watch"]
    secret: str | None = Field(None, description="Told once, when it was made up.")


def stream_document(keeper: "StreamKeeper") -> StreamDocument:
    """Without its secrets."""
    spec, status, source = keeper.spec, keeper.status, keeper.spec.source
    with keeper.model.turn:
        stats = keeper.session.memory.stats()
    told = {
        "source": {
            "type": source.kind,
            "url": None if source.url is None else redacted(source.url),
            "transport": source.transport,
            "speed": source.speed,
            "loop": source.loop,
        },
        "error": status.problem and vars(status.problem),
        "policy": keeper.session.policy.name,
        "sampled_fps": keeper.model.sample_fps,
        "frames": frames_of(status),
        "dropped": dropped_of(status),
        "reconnects": status.counts.reconnects,
        "memory": {
            **vars(stats),
            "waiting_blocks": stats.waiting,
            "bytes": stats.bytes_by_tier,
            "seconds": stats.seconds_by_tier,
        },
    }
    return StreamDocument.model_validate({**vars(spec), **vars(status), **told})


def frames_of(status: "StreamStatus") -> dict[str, int]:
    return {
        "received": status.counts.frames_received,
        "sampled": status.frames_sampled,
        "encoded": status.frames_encoded,
    }


def dropped_of(status: "StreamStatus") -> dict[str, int]:
    return {
        "stale": status.counts.frames_stale,
        "corrupt": status.counts.frames_corrupt,
        "duplicate": status.frames_duplicate,
        "rate": status.counts.frames_not_wanted,
    }


def alert_document(record: "AlertRecord", secret: str | None = None) -> AlertDocument:
    """Without the secrets of its webhooks, but for one that was made up just now."""
    told = {
        "judged": record.judged,
        "skipped": record.skipped,
        "fired": record.fired,
        "last_fired_at": record.last_fired_at,
        "firings": [firing_document(record, one) for one in record.firings.copy()],
        "error": record.problem,
        "actions": [
            {"type": one.type, "url": shown_receiver(one.url)} for one in record.spec.actions
        ],
        "secret": secret,
    }
    return AlertDocument.model_validate({**vars(record.spec), **vars(record), **told})


def firing_document(record: "AlertRecord", past: "PastFiring") -> FiringDocument:
    of = {"alert_id": record.id, "condition": record.spec.condition, "sentence": past.sentence}
    return FiringDocument.model_validate(pictured({**vars(past), **of}))


def citations(found: "StreamAnswer") -> list[Citation]:
    return [
        Citation(
            stream_id=found.stream_id,
            start=rfc3339(one.captured_at - (one.end_s - one.start_s)),
            end=rfc3339(one.captured_at),
            start_s=one.start_s,
            end_s=one.end_s,
            captured_at=one.captured_at,
            score=one.score,
            frame_url=None if found.is_passing else frame_url(found.stream_id, one.end_s),
        )
        for one in found.answer.evidence
    ]


def link_citations(found: "StreamAnswer", span: tuple[int, int]) -> list[LinkCitation]:
    """The same, about the letters in `span` of the whole answer; without what cannot be shown."""
    return [
        LinkCitation(
            **cited.model_dump(exclude={"type"}),
            url=cited.frame_url,
            title=f"{cited.stream_id} {cited.end}",
            start_index=span[0],
            end_index=span[1],
        )
        for cited in citations(found)
        if cited.frame_url is not None
    ]


def frame_url(stream_id: str, at_s: float) -> str:
    """Of the newest picture at `at_s`. The time is rounded up: a picture that was taken at that
    very time is not newer than it.
    """
    return _picture_url(stream_id, "frame.jpg", at_s)


def pictured(firing: dict[str, Any]) -> dict[str, Any]:
    """With the addresses of its pictures."""
    of = firing["stream_id"], firing["at_s"]
    clip_url = _picture_url(of[0], "clip.webp", of[1])
    return {**firing, "frame_url": frame_url(*of), "clip_url": clip_url}


def _picture_url(stream_id: str, name: str, at_s: float) -> str:
    t_s = math.ceil(at_s * _URL_PARTS) / _URL_PARTS
    return f"/v1/streams/{quote(stream_id)}/{name}?t_s={t_s:.6f}"


def rfc3339(epoch_s: float) -> str:
    """In UTC, to the millisecond."""
    try:
        moment = datetime.fromtimestamp(epoch_s, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
