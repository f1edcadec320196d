"""Documents: the API's view of what the service holds, as JSON-able models."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from app.server.keys import Action, Caller
from vstream.service.webhook_delivery import shown_receiver
from vstream.sources.address import redacted

if TYPE_CHECKING:  # a client imports only documents, and needs no torch
    from vstream.service.alert_record import AlertRecord
    from vstream.service.inquiry import StreamAnswer
    from vstream.service.past_firing import PastFiring
    from vstream.service.stream_keeper import StreamKeeper
    from vstream.service.stream_status import StreamStatus

_DAMAGE_SHOWN = 10
_URL_PARTS = 1_000_000
"""Times in URLs have microseconds."""


class Deleted(BaseModel):
    id: str
    object: str
    deleted: Literal[True] = True


class Pushed(BaseModel):
    """What happened to a pushed frame. `dropped` is `rate` if the frame came sooner than needed,
    and `busy` if it replaced an older one that was still waiting.
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

    For each tier, `bytes` is the size of its blocks and `seconds` the stream time they cover: each
    block covers the time since the one before it, up to a minute.
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
        description="Places with damaged or missing blocks, found since the stream was opened.",
    )
    lost: int = Field(0, description="Blocks lost there, at most.")
    damage: list[str] = Field(
        [],
        description="The first 10 of these places, with their files, for keys that may manage the "
        "stream. `vstream verify` looks for all.",
    )


class StreamDocument(BaseModel):
    """One stream. Times are seconds since the epoch; `stream_s` is stream time, in seconds."""

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
    can: list[Action] = Field([], description="What the caller's key may do with this stream.")


class ModelDocument(BaseModel):
    """The model, under one of its names: `default`, its own name or an alias. `max_model_len` is
    the limit for one question with everything it reads, in tokens; streams may hold more. `knows`
    says what the model was trained on, e.g. `drawings only`; null: real scenes.
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
        description="If this model does not know real scenes: one that does and fits this machine, "
        "with the command to download it; null: none is known to fit.",
    )


class TimelinePart(BaseModel):
    """A stretch of stream time. `change` is the largest change from one picture to the next, seen
    at `change_s`: 1 minus the cosine of their representative keys, averaged over layers. In a long
    part only some of the pictures are compared; `blocks` counts all.
    """

    from_s: float
    to_s: float
    captured_at: float
    blocks: int
    change: float
    change_s: float


class Timeline(BaseModel):
    """A stream's history in `parts` of equal length, at least a second each; gaps have no part.

    `from_s` and `to_s` bound what is kept of the requested range, `kept_from_s` and `kept_to_s`
    everything that is kept. If nothing is kept, all are 0.
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
    """A moment that an answer is based on; the best `score` comes first."""

    type: str
    stream_id: str
    start: str = Field(description="Capture time, RFC 3339.")
    end: str
    start_s: float = Field(description="Seconds of stream time.")
    end_s: float
    captured_at: float = Field(description="When its newest frame was captured, in epoch seconds.")
    score: float = Field(description="Similarity to the question; use it only to rank.")
    frame_url: str | None = Field(
        description="Path of its picture on this service; null for media sent with the request."
    )


class Citation(CitedMoment):
    """A citation in /v1/chat/completions."""

    type: Literal["video_citation"] = "video_citation"


class LinkCitation(CitedMoment):
    """A citation in /v1/responses. OpenAI's clients accept only a fixed set of types there, so it
    is a link to the picture, with extra fields. It covers the text from `start_index` to
    `end_index`.
    """

    type: Literal["url_citation"] = "url_citation"
    url: str
    title: str
    start_index: int
    end_index: int


class FoundMoment(BaseModel):
    """A stretch of a stream. `score` ranks moments; it is not a probability.

    `text` is the memory policy's description of it, if that is what matched; a moment kept only as
    text has no picture. `strange` is set if the model does not know pictures like this one, which
    makes the match meaningless.
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
    """An alert's condition came true. Times are seconds since the epoch; `at_s` is stream time.

    `frame_url` is the picture of the deciding frame, captured at `at`; `clip_url` is an animation
    of the seconds around it.
    """

    id: int = Field(description="Later firings have higher ids.")
    alert_id: str
    condition: str
    stream_id: str
    at: float
    at_s: float
    probability: float
    is_seen: bool = Field(description="Whether somebody has marked it as seen.")
    sentence: str | None = Field(
        description="The model's description, which may be empty; null: not made yet, or forgotten."
    )
    frame_url: str
    clip_url: str


class FiringList(BaseModel):
    object: str = "list"
    data: list[FiringDocument]
    has_more: bool = Field(description="For the next page, pass the last id as `before`.")
    unseen: int = Field(description="Unseen firings on all pages that this key may see.")


class Marked(BaseModel):
    object: str = "firings.seen"
    marked: int
    unseen: int = Field(description="Unseen firings left that this key may see.")


class AlertDocument(BaseModel):
    """An alert. Times are seconds since the epoch."""

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
    secret: str | None = Field(None, description="A generated webhook secret; returned once.")


def stream_document(keeper: "StreamKeeper", caller: Caller) -> StreamDocument:
    """Describe a stream to a caller, without its secrets."""
    spec, status, source = keeper.spec, keeper.status, keeper.spec.source
    with keeper.model.turn:
        stats = keeper.session.memory.stats()
    can = [action for action in Action if caller.may(action, spec.id)]
    damage = stats.damage[:_DAMAGE_SHOWN] if Action.MANAGE in can else ()
    facts = {
        "source": {
            "type": source.kind,
            "url": None if source.url is None else redacted(source.url),
            "transport": source.transport,
            "speed": source.speed,
            "loop": source.loop,
        },
        "error": status.problem and vars(status.problem),
        "can": can,
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
            "damaged": stats.damaged,
            "lost": stats.lost,
            "damage": list(map(str, damage)),
        },
    }
    return StreamDocument.model_validate({**vars(spec), **vars(status), **facts})


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
    """Describe an alert, without its webhooks' secrets except a `secret` just generated."""
    facts = {
        "judged": record.judged,
        "skipped": record.skipped,
        "fired": record.fired,
        "last_fired_at": record.last_fired_at,
        "firings": [firing_document(record, one) for one in record.firings.copy()],
        "error": record.problem,
        "actions": [
            {"type": one.type, "url": shown_receiver(one.url), "picture": one.picture}
            for one in record.spec.actions
        ],
        "secret": secret,
    }
    return AlertDocument.model_validate({**vars(record.spec), **vars(record), **facts})


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
    """Cite moments that have a picture as links, for the characters in `span` of the answer."""
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
    """URL of the newest picture at `at_s`. The time is rounded up, so that the URL also finds a
    picture taken at exactly that time.
    """
    return _picture_url(stream_id, "frame.jpg", at_s)


def pictured(firing: dict[str, Any], base: str = "") -> dict[str, Any]:
    """Add the URLs of a firing's pictures, which begin with `base`."""
    of = firing["stream_id"], firing["at_s"]
    clip_url = _picture_url(of[0], "clip.webp", of[1])
    return {**firing, "frame_url": base + frame_url(*of), "clip_url": base + clip_url}


def _picture_url(stream_id: str, name: str, at_s: float) -> str:
    t_s = math.ceil(at_s * _URL_PARTS) / _URL_PARTS
    return f"/v1/streams/{quote(stream_id)}/{name}?t_s={t_s:.6f}"


def rfc3339(epoch_s: float) -> str:
    """Format a time in UTC, with milliseconds."""
    try:
        moment = datetime.fromtimestamp(epoch_s, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
