"""Stream URLs: `stream://ID?from=...&to=...` in, a stream's id and a stretch of time out."""

from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.server.api_errors import ApiError

_WHEN = "RFC 3339, seconds since the epoch, or relative, as `-10m`."


class TimeRange(BaseModel):
    """A stretch by the clock (`from`, `to`) or of stream time (`from_s`, `to_s`)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    from_: str | None = Field(None, alias="from", max_length=64, description=_WHEN)
    to: str | None = Field(None, max_length=64, description=_WHEN)
    from_s: float | None = Field(None, ge=0, le=1e10, description="Seconds of stream time.")
    to_s: float | None = Field(None, ge=0, le=1e10, description="Seconds of stream time.")

    @property
    def is_open(self) -> bool:
        """Whether it bounds nothing."""
        return self == TimeRange()


class NamedStream(BaseModel):
    """What `stream://ID?from=...&to=...` names."""

    model_config = ConfigDict(frozen=True)

    stream_id: str
    span: TimeRange


def parse_stream_url(url: str) -> NamedStream:
    """Raises ApiError for anything but a stream's address."""
    try:
        parts = urlsplit(url)
        span = TimeRange.model_validate(dict(parse_qsl(parts.query, keep_blank_values=False)))
    except (ValueError, ValidationError):
        raise _no_stream(url) from None
    stream_id = unquote(parts.netloc + parts.path.rstrip("/"))
    if parts.scheme != "stream" or not stream_id or "/" in stream_id:
        raise _no_stream(url)
    return NamedStream(stream_id=stream_id, span=span)


def _no_stream(url: str) -> ApiError:
    return ApiError(
        400,
        f"{url[:80]!r} is no stream: name one that is watched, as stream://ID or "
        "stream://ID?from=-10m; POST /v1/streams begins to watch a source",
        "stream_url_invalid",
        param="video_url",
    )
