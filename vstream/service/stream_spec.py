"""StreamSpec: what a user asks of one stream, and the stream's configuration made from it."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from memory import StoreError, require_stream_id, tier_of
from memory.policies import require_policy
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.sources.address import parse_address, redacted
from vstream.sources.config import Decode, Speed

if TYPE_CHECKING:
    from vstream.sources.privacy_mask import PrivacyMask


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SourceSpec(_Part):
    """Where frames come from: an address, or a client that pushes them."""

    type: Literal["rtsp", "http", "file", "webcam", "push"] | None = None
    """Unset: derived from the address."""
    url: str | None = Field(None, max_length=4096)
    """Address of a camera, file or webcam; none for pushed frames."""
    transport: Literal["tcp", "udp", "auto"] | None = None
    speed: Speed = Field(
        1.0,
        description="Playback speed of a file: 1 is real time, and frames are dropped if encoding "
        "falls behind, as with a camera; max: as fast as it can be encoded, without loss.",
    )
    loop: bool = False
    """Start a file again when it ends."""

    @field_validator("speed", mode="wrap")
    @classmethod
    def _speed(cls, value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validated(value)
        except ValidationError:  # it lists an error for each member of the union
            raise ValueError("must be a number above 0 and up to 100, or max") from None

    @model_validator(mode="after")
    def _fits(self) -> "SourceSpec":
        """Also raises SourceError, for an address of an unknown kind."""
        if (self.url is None) != (self.type == "push"):
            raise ValueError("give a url, or the type push and no url")
        kind = self.kind
        if self.url is not None and self.type not in (None, kind):
            raise ValueError(f"{redacted(self.url)} is of type {kind}, not {self.type}")
        if kind != "file" and (self.loop or self.speed != 1):
            raise ValueError(f"speed and loop are for files; this source is of type {kind}")
        return self

    @property
    def kind(self) -> str:
        """The type, given or derived from the address."""
        return "push" if self.url is None else parse_address(self.url).kind.value


class SamplingSpec(_Part):
    """Which frames to encode. Unset fields take the service's settings."""

    fps: float | None = Field(None, gt=0, le=60)
    """Most frames per second of stream."""
    max_side: int | None = Field(None, ge=16, le=8192)
    """Longest side of a frame, in pixels."""
    dedup: float | None = Field(None, ge=0, le=255)
    """See source.dedup_threshold; 0 keeps every frame."""
    decode: Decode | None = None


def _length(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?[smhd]", value):
        raise ValueError("write a duration, e.g. 24h, 90m or 7d")
    return value


class StreamMemorySpec(_Part):
    """How long and how much one stream remembers."""

    retention: Annotated[str, BeforeValidator(_length)] | None = Field(None, max_length=20)
    """How long to remember, e.g. 24h, 90m or 7d; unset: forever."""
    max_bytes: ByteSize | None = Field(None, ge=1 << 20)
    """Budget of the store for this stream, e.g. 4GiB."""


_EXAMPLE: JsonDict = {
    "id": "door",
    "source": {"url": "rtsp://user:password@camera.example/stream1"},
    "context": "Front door of a shop. Staff wear green.",
    "timezone": "Europe/Prague",
}


class StreamSpec(_Part):
    """One stream of the service."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str = Field(max_length=100)
    """A slug, e.g. front-door."""
    source: SourceSpec
    sampling: SamplingSpec = SamplingSpec()
    policy: str | None = Field(
        None,
        max_length=64,
        description="Memory policy (see `vstream policies`); unset: the service's, or the one the "
        "stream was written under.",
    )
    policy_set: dict[str, str | float | bool] = {}
    """Settings of the policy, e.g. {retrieve_blocks: 16}; of default if none is named."""
    memory: StreamMemorySpec = StreamMemorySpec()
    stall_timeout_s: float | None = Field(None, gt=0, le=300)
    """Seconds without a frame before the stream is reported as stalled."""
    context: str = Field("", max_length=4000)
    """Background that the model needs to read the picture, put before every question."""
    timezone: str | None = Field(None, max_length=64)
    """IANA time zone for times written in words, e.g. Europe/Prague."""
    masks: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Polygons to black out in every frame, in fractions of width and height."""

    @model_validator(mode="after")
    def _fits(self) -> "StreamSpec":
        try:
            require_stream_id(self.id)
        except StoreError as error:
            raise ValueError(str(error)) from None
        require_policy(self.policy, self.policy_set)
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError):
                raise ValueError(f"unknown time zone {self.timezone!r}") from None
        self.mask()
        return self

    def mask(self) -> "PrivacyMask | None":
        """The parts of each frame to black out."""
        from vstream.sources.privacy_mask import PrivacyMask

        return PrivacyMask(polygons=self.masks) if self.masks else None

    @property
    def is_recording(self) -> bool:
        """Whether it is a file that ends, so capture times come from the file."""
        return self.source.kind == "file" and not self.source.loop


def kept_spec(document: dict[str, Any]) -> StreamSpec:
    """Read back a spec that a stream's note holds as `model_dump` wrote it; earlier versions wrote
    `real_time` instead of `speed`. Raises ValueError.
    """
    source = dict(document["source"])
    was_paced = source.pop("real_time", True)
    spec = StreamSpec.model_validate({**document, "source": source})
    if was_paced or spec.source.kind != "file":
        return spec
    return spec.model_copy(update={"source": spec.source.model_copy(update={"speed": "max"})})


def config_of(spec: StreamSpec, base: VStreamConfig, host_bytes: int) -> VStreamConfig:
    """Override `base` with what `spec` sets; `host_bytes` is this stream's share of the RAM."""
    source = base.source.model_copy(
        update=_given(
            transport=spec.source.transport,
            sample_fps=spec.sampling.fps,
            max_side=spec.sampling.max_side,
            dedup_threshold=spec.sampling.dedup,
            decode=spec.sampling.decode,
            stall_s=spec.stall_timeout_s,
        )
    )
    wanted: dict[str, Any] = _given(retain_s=spec.memory.retention)
    wanted["host_bytes"] = min(host_bytes, spec.memory.max_bytes or host_bytes)
    if spec.memory.max_bytes is not None:
        budget = tier_of(base.memory.store).budget
        if budget is not None:
            wanted[budget] = spec.memory.max_bytes
    try:
        memory = type(base.memory).model_validate({**base.memory.model_dump(), **wanted})
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"stream {spec.id}: memory: {name}: {problem['msg']}") from None
    changes: dict[str, Any] = {"source": source, "memory": memory}
    if spec.policy is not None or spec.policy_set:
        changes.update(policy=spec.policy, policy_set=spec.policy_set)
    return base.model_copy(update=changes)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
