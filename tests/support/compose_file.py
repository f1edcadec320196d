"""Compose files without Docker: text and variables in, what of it is no compose file out.

The models allow what our files use, as the Compose specification has it, and nothing else: a
misspelt key, a value of another kind or a service that names what is not there is an error.
`docker compose config` is the full check, where there is a docker.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Duration = Annotated[str, StringConstraints(pattern=r"^(\d+(\.\d+)?(us|ms|s|m|h))+$")]
Bytes = Annotated[str, StringConstraints(pattern=r"^\d+[kmg]b?$")]
Port = Annotated[str, StringConstraints(pattern=r"^(\d+\.){3}\d+:\d+:\d+$")]
Mount = Annotated[str, StringConstraints(pattern=r"^[^:]+:/[^:]*(:ro)?$")]
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Build(_Part):
    context: str
    dockerfile: str
    target: str
    args: dict[str, str] = {}


class EnvFile(_Part):
    path: str
    required: bool = True


class Condition(_Part):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


class Bind(_Part):
    create_host_path: bool = True


class LongMount(_Part):
    type: Literal["bind"]
    source: str
    target: str
    read_only: bool = False
    bind: Bind = Bind()


class Healthcheck(_Part):
    test: list[str] = []
    interval: Duration | None = None
    timeout: Duration | None = None
    start_period: Duration | None = None
    retries: int | None = None
    disable: bool = False


class Device(_Part):
    driver: str
    count: int
    capabilities: list[str]


class Reservations(_Part):
    devices: list[Device]


class Resources(_Part):
    reservations: Reservations


class Deploy(_Part):
    resources: Resources | None = None
    replicas: Annotated[str, StringConstraints(pattern=r"^\d+$")] = "1"


class Service(_Part):
    image: str
    build: Build | None = None
    profiles: list[str] = []
    entrypoint: list[str] = []
    command: list[str] = []
    user: str | None = None
    environment: dict[str, str] = {}
    env_file: list[EnvFile] = []
    depends_on: dict[str, Condition] | list[str] = []
    deploy: Deploy | None = None
    ports: list[Port] = []
    networks: list[str] = []
    network_mode: Literal["none"] | None = None
    volumes: list[Mount | LongMount] = []
    healthcheck: Healthcheck | None = None
    restart: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    stop_grace_period: Duration | None = None
    init: bool = False
    read_only: bool = False
    tmpfs: list[str] = []
    shm_size: Bytes | None = None
    mem_limit: Bytes | None = None
    pids_limit: int | None = None
    cap_drop: list[str] = []
    security_opt: list[str] = []
    stdin_open: bool = False
    tty: bool = False


class Network(_Part):
    internal: bool = False


class ComposeFile(_Part):
    name: str
    services: dict[str, Service]
    networks: dict[str, Network | None] = Field(default={})
    volumes: dict[str, None] = {}


def load_compose(
    *texts: str, variables: Mapping[str, str], files: Mapping[str, str] | None = None
) -> ComposeFile:
    """The first file with the others over it; what `x-` keys hold is only for use by name. A
    service may extend one of `files`.
    """
    merged: dict[str, Any] = {}
    for text in texts:
        merged = _over(merged, _filled_in(yaml.safe_load(text), variables))
    for name, service in merged["services"].items():
        if extended := service.pop("extends", None):
            other = _filled_in(yaml.safe_load((files or {})[extended["file"]]), variables)
            merged["services"][name] = _over(other["services"][extended["service"]], service)
    return ComposeFile.model_validate({k: v for k, v in merged.items() if not k.startswith("x-")})


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """`text` with ${NAME} and ${NAME:-default} filled in; the default also for an empty one."""
    return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2] or "", text)


def _filled_in(node: Any, variables: Mapping[str, str]) -> Any:
    """Every string of a document interpolated; it stays a string, as Compose has it."""
    if isinstance(node, dict):
        return {key: _filled_in(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled_in(value, variables) for value in node]
    return interpolated(node, variables) if isinstance(node, str) else node


def variables_of(text: str) -> set[str]:
    return {found[1] for found in _VARIABLE.finditer(text)}


def _over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _over(under[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(under.get(key), dict)
    }
    return under | over | both
