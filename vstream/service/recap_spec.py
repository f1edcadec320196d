"""RecapSpec: what a user wants of one report of every day."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vstream.errors import QuestionError
from vstream.service.alert_spec import DeclaredActions
from vstream.times.zone import zone_of

ALL = "*"


class RecapSpec(BaseModel):
    """A report of every day."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str = Field("daily", min_length=1, max_length=100)
    """By this it is known; what was made before is noted under it."""
    at: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """As 07:30, of a clock in the zone; it tells of the day up to then."""
    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] = Field((ALL,), min_length=1)
    """`*` are all that are watched."""
    timezone: str | None = Field(None, max_length=64)
    """IANA name; unset: that of the streams, or the service's where they have none or several."""
    effort: Literal["quick", "default", "thorough"] = "default"
    actions: DeclaredActions = ()
    """Where it is sent. Each needs a secret."""

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        try:
            return name and zone_of(name).key
        except QuestionError as error:
            raise ValueError(str(error)) from None
