"""RecapSpec: what a user asks of a daily recap."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from vstream.errors import QuestionError
from vstream.service.alert_spec import ALL, DeclaredActions, WebhookSpec
from vstream.times.zone import zone_of


class RecapSpec(BaseModel):
    """A recap made once a day."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: str = Field("daily", min_length=1, max_length=100)
    """Identifies the recap; past runs are recorded under it."""
    at: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Clock time in the zone, e.g. 07:30; the recap covers the day up to then."""
    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] = Field((ALL,), min_length=1)
    """`*`: all streams of this service."""
    timezone: str | None = Field(None, max_length=64)
    """IANA name; unset: the streams' zone, or the service's if they have none or several."""
    effort: Literal["quick", "default", "thorough"] = "default"
    actions: DeclaredActions = ()
    """Webhooks to send it to. Each needs a secret."""

    @field_validator("actions")
    @classmethod
    def _without_picture(cls, actions: tuple[WebhookSpec, ...]) -> tuple[WebhookSpec, ...]:
        if any(action.picture for action in actions):
            raise ValueError("a recap has many pictures: follow the frame_url of each entry")
        return actions

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str | None) -> str | None:
        try:
            return name and zone_of(name).key
        except QuestionError as error:
            raise ValueError(str(error)) from None
