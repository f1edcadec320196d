"""The options that every command shares: from the command line to a VStreamConfig."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vstream.errors import SettingsError


def _option(kind: type, help_text: str) -> Any:
    return Annotated[kind | None, typer.Option(help=help_text)]


_SHARED: dict[str, tuple[tuple[str, ...], Any]] = {
    "model": (("model",), _option(str, "Hub id or directory of a Video-LLM; else the embedded.")),
    "policy": (
        ("policy",),
        _option(str, "Memory policy, see `vstream policies`; else the stream's, or default."),
    ),
    "policy_set": (
        ("policy_set",),
        Annotated[
            list[str] | None,
            typer.Option(help="A setting of the policy, as retrieve_blocks=16; may be repeated."),
        ],
    ),
    "store": (
        ("memory", "store"),
        _option(str, "Where blocks are kept: memory://, file:///DIR or redis://HOST."),
    ),
    "host_bytes": (
        ("memory", "host_bytes"),
        _option(str, "Budget of host RAM for blocks, as 4GiB; default 4GiB."),
    ),
    "file_bytes": (
        ("memory", "file_bytes"),
        _option(str, "Budget of each stream's files, as 20GiB; else the disk."),
    ),
    "redis_bytes": (
        ("memory", "redis_bytes"),
        _option(str, "Budget of each stream's blocks in Redis, as 2GiB; else the server."),
    ),
    "retain": (
        ("memory", "retain_s"),
        _option(str, "How long to remember, as 24h, 90m or 7d; else for ever."),
    ),
    "codec": (("memory", "codec"), _option(str, "How: int8 (default), int4, bf16 or exact.")),
    "device": (("device",), _option(str, "torch device, as cpu or cuda:0.")),
    "dtype": (("dtype",), _option(str, "float32, bfloat16 or float16.")),
    "threads": (("threads",), _option(int, "CPU threads of torch; else measured at start.")),
    "fps": (("source", "sample_fps"), _option(float, "Frames encoded per second of stream.")),
    "transport": (("source", "transport"), _option(str, "How RTSP travels: tcp, udp or auto.")),
    "connect_timeout": (
        ("source", "connect_timeout_s"),
        _option(float, "Give up if no first frame of a camera came within these seconds."),
    ),
}
"""Option name -> where its value goes in the configuration, and how typer shows it."""

_SERVICE: dict[str, tuple[tuple[str, ...], Any]] = {
    "host": (("service", "host"), _option(str, "Address to listen on; default 127.0.0.1.")),
    "port": (("service", "port"), _option(int, "Port to listen on; default 8900, 0: any.")),
    "insecure": (
        ("service", "insecure"),
        Annotated[
            bool | None,
            typer.Option("--insecure", help="Listen beyond this machine without a key."),
        ],
    ),
    "allow_files": (
        ("service", "allow_files"),
        Annotated[
            list[Path] | None,
            typer.Option(help="A directory whose videos the API may name; may be repeated."),
        ],
    ),
    "allow_private": (
        ("service", "allow_private"),
        Annotated[
            bool | None,
            typer.Option("--allow-private", help="Let the API name sources on private networks."),
        ],
    ),
}
_FILE: tuple[tuple[str, ...], Any] = (
    (),
    Annotated[
        Path | None,
        typer.Option("--config", help="A YAML file of settings, streams and keys; see docs."),
    ],
)


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the shared options and, in their place, a `config` argument.

    What is not on the command line comes from the environment (VSTREAM_*) or the defaults.
    """

    def load(given: Mapping[str, Any]) -> Any:
        from vstream.config import load_config

        return load_config(**_nested(given, _SHARED))

    return _with(_SHARED, command, load)


def with_service_settings(command: Callable[..., None]) -> Callable[..., None]:
    """As `with_settings_file`, with the options of a service as well."""
    return _with_file({**_SHARED, **_SERVICE}, command)


def with_settings_file(command: Callable[..., None]) -> Callable[..., None]:
    """As `with_settings`, with a file of settings under all others; `config` is ServiceSettings."""
    return _with_file(_SHARED, command)


def _with_file(
    options: Mapping[str, tuple[tuple[str, ...], Any]], command: Callable[..., None]
) -> Callable[..., None]:
    def load(given: Mapping[str, Any]) -> Any:
        from app.server.settings import load_settings

        others = {name: value for name, value in given.items() if name != "file"}
        return load_settings(given["file"], **_nested(others, options))

    return _with({**options, "file": _FILE}, command, load)


def _with(
    options: Mapping[str, tuple[tuple[str, ...], Any]],
    command: Callable[..., None],
    load: Callable[[Mapping[str, Any]], Any],
) -> Callable[..., None]:
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
    taken = {p.name for p in own}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, (_, annotation) in options.items()
        if name not in taken
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        command(config=load(given), **values)

    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapped.__signature__ = inspect.Signature([*keywords, *shared])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*keywords, *shared)}
    return wrapped


def _nested(
    given: Mapping[str, Any], options: Mapping[str, tuple[tuple[str, ...], Any]]
) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        *sections, field = options[name][0]
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[field] = _assigned(value) if name == "policy_set" else value
    return nested


def _assigned(pairs: list[str]) -> dict[str, str]:
    """Raises SettingsError for one that is not NAME=VALUE."""
    settings = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise SettingsError(f"policy-set: {pair!r}: write NAME=VALUE, as retrieve_blocks=16")
        settings[name] = value
    return settings
