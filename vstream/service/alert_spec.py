"""AlertSpec: what a user asks of one alert."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from memory import UnknownNameError
from vstream.speaking import SPEAKING

ALL = "*"


class WebhookSpec(BaseModel):
    """Where to post a firing."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: Literal["webhook"] = "webhook"
    url: str = Field(max_length=2048)
    secret: str | None = Field(None, max_length=200)
    """Signs each request; if unset, one is generated and returned once."""
    picture: bool = False
    """Send the picture that decided along, as a `data:` URL."""


def _signed(actions: tuple[WebhookSpec, ...]) -> tuple[WebhookSpec, ...]:
    if any(action.secret is None for action in actions):
        raise ValueError("give each webhook a secret: a generated one would never be shown")
    return actions


DeclaredActions = Annotated[tuple[WebhookSpec, ...], Field(max_length=4), AfterValidator(_signed)]
"""Webhooks declared in a settings file, each with a secret."""


def _known(rule: str) -> str:
    try:
        SPEAKING.find(rule)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return rule


class AlertSpec(BaseModel):
    """A condition to watch for on some streams."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        min_length=1, max_length=64, description="`*`: all streams, also those added later."
    )
    condition: str = Field(min_length=1, max_length=1000)
    """For example `tell me when a parcel is at the door`."""
    every_s: float = Field(1.0, ge=0.2, le=3600)
    """Seconds between two judgements."""
    rule: Annotated[str, AfterValidator(_known)] | None = Field(None, max_length=64)
    """When to fire: `k_of_n` or `silence`; unset: what the model recommends."""
    threshold: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Lowest probability that counts; unset: what the model recommends. After a "
        "firing, the alert is armed again once the probability falls below this, or below what the "
        "model recommends if that is lower.",
    )
    confirmations: int | None = Field(None, ge=1, le=20)
    """Judgements in a row that must agree; unset: what the model recommends."""
    cooldown_s: float = Field(5.0, ge=0, le=86_400)
    """Fewest seconds between two firings."""
    until: float | None = None
    """When the alert ends, in seconds since the epoch."""
    actions: tuple[WebhookSpec, ...] = Field((), max_length=4)
    told_as: Literal["alert", "watch"] = "alert"
    """`watch`, until 0.3: events and webhooks use the names from when alerts were called watches,
    and carry the id as `watch_id` too. Alerts created under the old name default to this.
    """

    def is_on(self, stream_id: str) -> bool:
        """Whether it is about that stream."""
        return ALL in self.stream_ids or stream_id in self.stream_ids

    @property
    def speaking(self) -> tuple[Any, ...]:
        """What decides when to fire; equal for two specs that fire at the same times."""
        return self.rule, self.threshold, self.confirmations, self.cooldown_s


class DeclaredAlert(AlertSpec):
    """An alert declared in a settings file."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """A slug, e.g. parcel. It identifies the alert even if the file changes everything else."""
    actions: DeclaredActions = ()

    @property
    def spec(self) -> AlertSpec:
        """This alert without its id."""
        return AlertSpec.model_validate(self.model_dump(exclude={"id"}))
