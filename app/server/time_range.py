"""TimeRange: the stretch of a stream that a request means."""

from pydantic import BaseModel, ConfigDict, Field

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
        return self == TimeRange()


class QuestionSpan(TimeRange):
    """The stretch that a question is about; nothing after `as_of_s` counts."""

    as_of_s: float | None = Field(None, ge=0, le=1e10)

    def at_s(self, to_s: float | None) -> float | None:
        """Return the moment of the question if the stretch ends at `to_s`; None is now."""
        return min((one for one in (to_s, self.as_of_s) if one is not None), default=None)
