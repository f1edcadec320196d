"""The options that every command shares: from the command line to a VStreamConfig."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from vstream.config import VStreamConfig, load_config


def _option(kind: type, help_text: str) -> Any:
    return Annotated[kind | None, typer.Option(help=help_text)]


_SHARED: dict[str, tuple[tuple[str, ...], Any]] = {
    "model": (("model",), _option(str, "Hub id or directory of a Video-LLM; else the embedded.")),
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


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the shared options and, in their place, a `config` argument.

    What is not on the command line comes from the environment (VSTREAM_*) or the defaults.
    """
    own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, (_, annotation) in _SHARED.items()
    ]

    @functools.wraps(command)
    def wrapped(**values: object) -> None:
        given = {name: values.pop(name) for name in _SHARED}
        command(config=_config(given), **values)

    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    wrapped.__signature__ = inspect.Signature([*keywords, *shared])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*keywords, *shared)}
    return wrapped


def _config(given: dict[str, object]) -> VStreamConfig:
    nested: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        *sections, field = _SHARED[name][0]
        section = nested
        for part in sections:
            section = section.setdefault(part, {})
        section[field] = value
    return load_config(**nested)
