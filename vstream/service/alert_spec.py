"""AlertSpec: what a user wants of one standing question."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from memory import UnknownNameError
from vstream.speaking import SPEAKING


class WebhookSpec(BaseModel):
    """Where a firing is posted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: Literal["webhook"] = "webhook"
    url: str = Field(max_length=2048)
    secret: str | None = Field(None, max_length=200)
    """Signs what is sent; made up and told once if unset."""


def _signed(actions: tuple[WebhookSpec, ...]) -> tuple[WebhookSpec, ...]:
    if any(action.secret is None for action in actions):
        raise ValueError("give each webhook a secret: there is nobody to tell one that is made")
    return actions


DeclaredActions = Annotated[tuple[WebhookSpec, ...], Field(max_length=4), AfterValidator(_signed)]
"""Of what a configuration file declares."""


def _known(rule: str) -> str:
    try:
        SPEAKING.find(rule)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None
    return rule


class AlertSpec(BaseModel):
    """A standing question."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        min_length=1, max_length=64
    )
    condition: str = Field(min_length=1, max_length=1000)
    """As `tell me when a parcel is at the door`."""
    every_s: float = Field(1.0, ge=0.2, le=3600)
    """How often it is judged."""
    rule: Annotated[str, AfterValidator(_known)] | None = Field(None, max_length=64)
    """When to tell: `k_of_n`, `silence`; unset: as the model recommends."""
    threshold: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="How probable it must be; unset: as the model recommends. It is told once, and "
        "again only after it has become less probable than this, or than what the model "
        "recommends if that is lower.",
    )
    confirmations: int | None = Field(None, ge=1, le=20)
    """Judgements in a row; unset: as the model recommends."""
    cooldown_s: float = Field(5.0, ge=0, le=86_400)
    """Seconds between two firings."""
    until: float | None = None
    """It ends then, in seconds since the epoch."""
    actions: tuple[WebhookSpec, ...] = Field((), max_length=4)
    told_as: Literal["alert", "watch"] = "alert"
    """`watch`, until 0.3: its events and webhooks are called as they were when an alert was called
    a watch, and have its id as `watch_id` as well. So is one that was set by that name.
    """

    @property
    def speaking(self) -> tuple[Any, ...]:
        """When to tell: equal if that is the same."""
        return self.rule, self.threshold, self.confirmations, self.cooldown_s


class DeclaredAlert(AlertSpec):
    """One that a configuration file declares."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """A slug, as parcel. Whatever else the file says of it changes: it stays this alert."""
    actions: DeclaredActions = ()

    @property
    def spec(self) -> AlertSpec:
        """Without the id."""
        return AlertSpec.model_validate(self.model_dump(exclude={"id"}))
