"""The options that commands share, in groups: from the command line to a VStreamConfig.

A command names the groups it uses, so it offers no option that has no effect.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vstream.errors import SettingsError

Options = Mapping[str, tuple[str, Any]]
"""Option name -> (setting that it fills, annotation for typer)."""


def _option(panel: str, kind: Any, help_text: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_text, rich_help_panel=panel)]


_source, _model, _memory, _service = (
    functools.partial(_option, panel) for panel in ("Source", "Model", "Memory", "Service")
)
SOURCE: Options = {
    "fps": ("source.sample_fps", _source(float, "Frames to encode per second of stream.")),
    "transport": ("source.transport", _source(str, "RTSP transport: tcp, udp or auto.")),
    "connect_timeout": (
        "source.connect_timeout_s",
        _source(float, "Give up on a camera that sends no frame for this many seconds."),
    ),
}
MODEL: Options = {
    "model": ("model", _model(str, "Hub id or directory of a Video-LLM; else the embedded model.")),
    "device": ("device", _model(str, "torch device, e.g. cpu or cuda:0.")),
    "dtype": ("dtype", _model(str, "float32, bfloat16 or float16.")),
    "threads": (
        "threads",
        _model(int, "CPU threads for torch; else vstream measures what is fastest."),
    ),
}
STORE: Options = {
    "store": (
        "memory.store",
        _memory(str, "Where to keep blocks: memory://, file:///DIR, redis://HOST, s3://BUCKET."),
    )
}
POLICY: Options = {
    "policy": (
        "policy",
        _memory(str, "Memory policy (see `vstream policies`); else the stream's own."),
    ),
    "policy_set": (
        "policy_set",
        _memory(list[str], "A setting of the policy, e.g. retrieve_blocks=16; may be repeated."),
    ),
}
READ: Options = {
    **STORE,
    "host_bytes": (
        "memory.host_bytes",
        _memory(str, "RAM budget for blocks; default 4GiB."),
    ),
}
"""For commands that read a store."""
MEMORY: Options = {
    **READ,
    "file_bytes": (
        "memory.file_bytes",
        _memory(str, "Budget per stream in files or objects, e.g. 20GiB; else no limit."),
    ),
    "redis_bytes": (
        "memory.redis_bytes",
        _memory(str, "Budget per stream in Redis, e.g. 2GiB; else no limit."),
    ),
    "retain": (
        "memory.retain_s",
        _memory(str, "How long to remember, e.g. 24h, 90m or 7d; else forever."),
    ),
    "codec": (
        "memory.codec",
        _memory(str, "Compression of blocks: int8 (the default), int4, bf16 or exact."),
    ),
    **POLICY,
}
"""For commands that write a store."""
FILE: Options = {
    "file": (
        "",
        _option(
            "Settings", Path, "A YAML file of settings, streams and keys; see docs.", "--config"
        ),
    )
}
SERVICE: Options = {
    "host": ("service.host", _service(str, "Address to listen on; default 127.0.0.1.")),
    "port": ("service.port", _service(int, "Port to listen on; default 8900; 0 picks a free one.")),
    "insecure": (
        "service.insecure",
        _service(bool, "Listen beyond this machine without a key.", "--insecure"),
    ),
    "allow_files": (
        "service.allow_files",
        _service(list[Path], "Let API callers open videos in this directory; may be repeated."),
    ),
    "allow_private": (
        "service.allow_private",
        _service(bool, "Let API callers open sources on private networks.", "--allow-private"),
    ),
    **FILE,
}


@dataclass(frozen=True)
class Given:
    """The settings that were typed, as a tree, and the settings file, if there is one."""

    tree: dict[str, Any]
    file: Path | None


def with_settings(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these groups, and pass it their values as one `config`. A value
    comes from the command line, else the environment (VSTREAM_*), else the file, else the default.
    With FILE or SERVICE, `config` is ServiceSettings; without, VStreamConfig, and there is no file.
    """

    def load(given: Given, has_file: bool) -> Any:
        if has_file:
            from app.server.settings import load_settings

            return load_settings(given.file, **given.tree)
        from vstream.config import load_config

        return load_config(**given.tree)

    return functools.partial(_with, _union(groups), load)


def with_given(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like `with_settings`, but `config` is Given: what was typed, not yet validated."""
    return functools.partial(_with, _union(groups), lambda given, has_file: given)


def _union(groups: tuple[Options, ...]) -> Options:
    return {name: option for group in groups for name, option in group.items()}


def _with(
    options: Options, load: Callable[[Given, bool], Any], command: Callable[..., None]
) -> Callable[..., None]:
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
        file = given.pop("file", None)
        config = load(Given(_tree(given, options), file), "file" in options)
        command(config=config, **values)

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


def _tree(given: dict[str, Any], options: Options) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == []:
            continue
        *sections, field = options[name][0].split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[field] = _assigned(value) if name == "policy_set" else value
    return tree


def _assigned(pairs: list[str]) -> dict[str, str]:
    """Raises SettingsError if a pair is not NAME=VALUE."""
    for pair in pairs:
        if "=" not in pair:
            raise SettingsError(f"policy-set: {pair!r}: write NAME=VALUE, e.g. retrieve_blocks=16")
    return dict(pair.split("=", 1) for pair in pairs)
