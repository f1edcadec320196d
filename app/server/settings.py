"""ServiceSettings: all settings of a service, from flags, the environment and a file."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import tzlocal
import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from app.server.keys import ScopedKey
from app.server.old_names import with_new_names
from app.server.origin_guard import Origin
from vstream.config import VStreamConfig, read_settings
from vstream.errors import SettingsError
from vstream.service.alert_spec import DeclaredAlert
from vstream.service.recap_spec import RecapSpec
from vstream.service.stream_spec import StreamSpec

Named = TypeVar("Named", StreamSpec, DeclaredAlert, RecapSpec)
_REFERENCE = re.compile(r"\$\{(\w+)\}")


class ServiceConfig(BaseModel):
    """Limits of one service, and who may use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8900, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    insecure: bool = Field(False, description="Listen beyond this machine without a key.")
    keys: tuple[ScopedKey, ...] = ()
    allow_origins: tuple[str, ...] = Field(
        (), description="Sites whose pages may call with a key, e.g. https://panel.example.org."
    )
    allow_files: tuple[Path, ...] = Field(
        (), description="Directories whose videos API callers may open."
    )
    allow_private: bool = Field(
        False, description="Let API callers use sources and webhooks on private networks."
    )
    allow_webcams: bool = Field(False, description="Let API callers open this machine's webcams.")
    public_url: str | None = Field(
        None,
        description="Address of this service for others, e.g. https://cameras.example.org. Links "
        "in webhooks begin with it; unset: they are paths.",
    )
    timezone: str = Field(
        default_factory=lambda: tzlocal.get_localzone_name() or "UTC",
        description="IANA time zone for times written in words, for streams without their own.",
    )
    max_streams: int = Field(
        16,
        ge=1,
        le=1000,
        description="Most streams at a time. They share memory.host_bytes, or half of it when the "
        "store holds other streams too.",
    )
    max_alerts: int = Field(64, ge=0, le=10_000, description="Most alerts at a time.")
    max_running: int = Field(16, ge=1, le=256, description="Most answers decoded at a time.")
    max_waiting: int = Field(64, ge=0, le=10_000, description="Most questions that may wait.")
    max_listeners: int = Field(64, ge=1, le=10_000, description="Most clients of /v1/events.")
    max_body_bytes: ByteSize = Field(ByteSize(8 << 20), ge=1 << 10, description="Largest body.")
    request_bytes: ByteSize = Field(
        ByteSize(32 << 20),
        ge=1 << 10,
        description="Largest body of a question with pictures or clips, and most bytes to fetch.",
    )
    request_pictures: int = Field(96, ge=0, le=10_000, description="Most pictures in a question.")
    request_pixels: int = Field(40_000_000, ge=1, description="Most pixels of such a picture.")
    request_fetch_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Longest time to fetch a question's pictures and read its clips, in seconds.",
    )
    request_media: int = Field(8, ge=1, le=256, description="Most questions with any at a time.")
    model_aliases: tuple[str, ...] = Field(
        (), description="More names for the model, besides `default` and its own."
    )
    uploads_bytes: ByteSize = Field(
        ByteSize(10 << 30), ge=0, description="Budget for all videos uploaded through the page."
    )
    answer_log: Path | None = Field(
        None,
        description="A file of what is asked and answered, as lines of JSON; in a cluster they are "
        "kept in the store instead. Unset: nothing is.",
    )
    requests_per_minute: int = Field(
        6000, ge=1, description="Most requests of one caller, not counting pushed frames."
    )
    grace_s: float = Field(
        20.0, ge=0, le=600, description="Seconds that running answers may take after SIGTERM."
    )

    @field_validator("allow_origins")
    @classmethod
    def _as_browsers_write_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        found = {text: Origin.parse(text) for text in origins}
        if wrong := [text for text, origin in found.items() if origin is None]:
            raise ValueError(f"{wrong[0]!r} is no origin: write e.g. https://panel.example.org")
        return tuple(str(origin) for origin in found.values())

    @field_validator("public_url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("write e.g. https://cameras.example.org")
        if parts.query or parts.fragment:
            raise ValueError("leave out everything from ? or # on")
        return url.rstrip("/")


class ServiceSettings(VStreamConfig):
    """All settings of `vstream serve` and of `vstream ingest --config`."""

    service: ServiceConfig = ServiceConfig()
    streams: tuple[StreamSpec, ...] = ()
    alerts: tuple[DeclaredAlert, ...] = ()
    recaps: tuple[RecapSpec, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _by_new_names(cls, given: Any) -> Any:
        return with_new_names(given) if isinstance(given, dict) else given

    @field_validator("streams", "alerts", "recaps")
    @classmethod
    def _named_once(cls, specs: tuple[Named, ...]) -> tuple[Named, ...]:
        counts = Counter(spec.id for spec in specs)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"id used twice: {', '.join(twice)}")
        return specs


def load_settings(path: Path | None, **values: Any) -> ServiceSettings:
    """Read the file and the environment; `values` (nested dicts) override both. `${NAME}` in the
    file stands for an environment variable. Raises SettingsError.
    """
    found = {} if path is None else read_file(path)

    class WithFile(ServiceSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Flags win over the environment, the environment over the file."""
            return init_settings, env_settings, InitSettingsSource(settings_cls, found)

    return read_settings(WithFile, values)


def read_file(path: Path) -> dict[str, Any]:
    """The settings of a YAML file. Raises SettingsError."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not valid YAML: it is not UTF-8 ({error.reason})") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {_place_of(error)}") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise SettingsError(
            f"{path}: expected settings by name, e.g. `model: ...` and `streams: [...]`"
        )
    filled: dict[str, Any] = _filled(found, path)
    return filled


def _place_of(error: yaml.YAMLError) -> str:
    """Say where and why, but leave out the line itself, which may hold a password."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return "it holds a character that is not allowed"
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"


def _filled(value: Any, path: Path) -> Any:
    """Replace each `${NAME}` in `value` by its environment variable."""
    if isinstance(value, dict):
        return {name: _filled(part, path) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, path) for part in value]
    return (
        _REFERENCE.sub(lambda match: _variable(match[1], path), value)
        if isinstance(value, str)
        else value
    )


def _variable(name: str, path: Path) -> str:
    if name not in os.environ:
        raise SettingsError(f"{path}: ${{{name}}} is not in the environment: set {name}")
    return os.environ[name]
