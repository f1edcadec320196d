"""The options that every command shares: from the command line to a VStreamConfig."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vstream.errors import SettingsError

Options = Mapping[str, tuple[str, Any]]
"""Option name -> where its value goes in the configuration, and how typer shows it."""


def _option(kind: Any, help_text: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_text)]


_SHARED: Options = {
    "model": ("model", _option(str, "Hub id or directory of a Video-LLM; else the embedded.")),
    "policy": (
        "policy",
        _option(str, "Memory policy, see `vstream policies`; else the stream's, or default."),
    ),
    "policy_set": (
        "policy_set",
        _option(list[str], "A setting of the policy, as retrieve_blocks=16; may be repeated."),
    ),
    "store": (
        "memory.store",
        _option(str, "Where blocks are kept: memory://, file:///DIR or redis://HOST."),
    ),
    "host_bytes": (
        "memory.host_bytes",
        _option(str, "Budget of host RAM for blocks, as 4GiB; default 4GiB."),
    ),
    "file_bytes": (
        "memory.file_bytes",
        _option(str, "Budget of each stream's files, as 20GiB; else the disk."),
    ),
    "redis_bytes": (
        "memory.redis_bytes",
        _option(str, "Budget of each stream's blocks in Redis, as 2GiB; else the server."),
    ),
    "retain": (
        "memory.retain_s",
        _option(str, "How long to remember, as 24h, 90m or 7d; else always."),
    ),
    "codec": ("memory.codec", _option(str, "How: int8 (default), int4, bf16 or exact.")),
    "device": ("device", _option(str, "torch device, as cpu or cuda:0.")),
    "dtype": ("dtype", _option(str, "float32, bfloat16 or float16.")),
    "threads": ("threads", _option(int, "CPU threads of torch; else measured at start.")),
    "fps": ("source.sample_fps", _option(float, "Frames encoded per second of stream.")),
    "transport": ("source.transport", _option(str, "How RTSP travels: tcp, udp or auto.")),
    "connect_timeout": (
        "source.connect_timeout_s",
        _option(float, "Give up if no first frame of a camera came within these seconds."),
    ),
}
_SERVICE: Options = {
    "host": ("service.host", _option(str, "Address to listen on; default 127.0.0.1.")),
    "port": ("service.port", _option(int, "Port to listen on; default 8900, 0: any.")),
    "insecure": (
        "service.insecure",
        _option(bool, "Listen beyond this machine without a key.", "--insecure"),
    ),
    "allow_files": (
        "service.allow_files",
        _option(list[Path], "A directory whose videos the API may name; may be repeated."),
    ),
    "allow_private": (
        "service.allow_private",
        _option(bool, "Let the API name sources on private networks.", "--allow-private"),
    ),
}
_FILE: Options = {
    "file": ("", _option(Path, "A YAML file of settings, streams and keys; see docs.", "--config"))
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the shared options and, in their place, a `config` argument. What is not on
    the command line comes from the environment (VSTREAM_*) or the defaults.
    """
    return _with(_SHARED, command)


def with_settings_file(command: Callable[..., None]) -> Callable[..., None]:
    """As `with_settings`, with a file of settings under all others; `config` is ServiceSettings."""
    return _with({**_SHARED, **_FILE}, command)


def with_service_settings(command: Callable[..., None]) -> Callable[..., None]:
    """As `with_settings_file`, with the options of a service as well."""
    return _with({**_SHARED, **_SERVICE, **_FILE}, command)


def _with(options: Options, command: Callable[..., None]) -> Callable[..., None]:
    own = {name: p for name, p in inspect.signature(command).parameters.items() if name != "config"}
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=keyword) for one in own.values()] + [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, (_, annotation) in options.items()
        if name not in own
    ]

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        command(config=_load(given, options), **values)

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


def _load(given: dict[str, Any], options: Options) -> Any:
    has_file, file = "file" in given, given.pop("file", None)
    tree: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        *sections, field = options[name][0].split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[field] = _assigned(value) if name == "policy_set" else value
    if has_file:
        from app.server.settings import load_settings

        return load_settings(file, **tree)
    from vstream.config import load_config

    return load_config(**tree)


def _assigned(pairs: list[str]) -> dict[str, str]:
    """Raises SettingsError for one that is not NAME=VALUE."""
    for pair in pairs:
        if "=" not in pair:
            raise SettingsError(f"policy-set: {pair!r}: write NAME=VALUE, as retrieve_blocks=16")
    return dict(pair.split("=", 1) for pair in pairs)
