"""The options that commands share, by group: from the command line to a VStreamConfig.

A command names the groups that matter to it; all others would be options without effect.
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
"""Option name -> where its value goes in the configuration, and how typer shows it."""


def _option(panel: str, kind: Any, help_text: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_text, rich_help_panel=panel)]


_source, _model, _memory, _service = (
    functools.partial(_option, panel) for panel in ("Source", "Model", "Memory", "Service")
)
SOURCE: Options = {
    "fps": ("source.sample_fps", _source(float, "Frames encoded per second of stream.")),
    "transport": ("source.transport", _source(str, "How RTSP travels: tcp, udp or auto.")),
    "connect_timeout": (
        "source.connect_timeout_s",
        _source(float, "Give up a camera that sends no frame within these seconds."),
    ),
}
MODEL: Options = {
    "model": ("model", _model(str, "Hub id or directory of a Video-LLM; else the embedded.")),
    "device": ("device", _model(str, "torch device, as cpu or cuda:0.")),
    "dtype": ("dtype", _model(str, "float32, bfloat16 or float16.")),
    "threads": ("threads", _model(int, "CPU threads of torch; else measured at the start.")),
}
STORE: Options = {
    "store": (
        "memory.store",
        _memory(str, "Where blocks are kept: memory://, file:///DIR, redis://HOST, s3://BUCKET."),
    )
}
POLICY: Options = {
    "policy": (
        "policy",
        _memory(str, "Memory policy, as `vstream policies` lists; else the stream's."),
    ),
    "policy_set": (
        "policy_set",
        _memory(list[str], "A setting of the policy, as retrieve_blocks=16; may be repeated."),
    ),
}
READ: Options = {
    **STORE,
    "host_bytes": (
        "memory.host_bytes",
        _memory(str, "Most RAM for blocks; 4GiB unless you say otherwise."),
    ),
}
"""What reads a store needs."""
MEMORY: Options = {
    **READ,
    "file_bytes": (
        "memory.file_bytes",
        _memory(str, "Most bytes of each stream in files or objects, as 20GiB; else all there is."),
    ),
    "redis_bytes": (
        "memory.redis_bytes",
        _memory(str, "Most bytes of each stream in Redis, as 2GiB; else all it has."),
    ),
    "retain": (
        "memory.retain_s",
        _memory(str, "How long to remember, as 24h, 90m or 7d; else without end."),
    ),
    "codec": (
        "memory.codec",
        _memory(str, "How blocks are compressed: int8, unless int4, bf16 or exact."),
    ),
    **POLICY,
}
"""What writes a store needs."""
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
    "port": ("service.port", _service(int, "Port to listen on; default 8900, 0: any.")),
    "insecure": (
        "service.insecure",
        _service(bool, "Listen beyond this machine without a key.", "--insecure"),
    ),
    "allow_files": (
        "service.allow_files",
        _service(list[Path], "A directory whose videos the API may name; may be repeated."),
    ),
    "allow_private": (
        "service.allow_private",
        _service(bool, "Let the API name sources on private networks.", "--allow-private"),
    ),
    **FILE,
}


@dataclass(frozen=True)
class Given:
    """What was typed: settings as a tree, and the file of others; None: there is none."""

    tree: dict[str, Any]
    file: Path | None


def with_settings(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these groups and, in their place, an argument `config`. What is
    not on the command line comes from the environment (VSTREAM_*) or the defaults. With FILE or
    SERVICE `config` is ServiceSettings, and the file comes last but for the defaults.
    """

    def load(given: Given, has_file: bool) -> Any:
        if has_file:
            from app.server.settings import load_settings

            return load_settings(given.file, **given.tree)
        from vstream.config import load_config

        return load_config(**given.tree)

    return functools.partial(_with, _union(groups), load)


def with_given(*groups: Options) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `with_settings`, with what was given, unread, as `config`."""
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
    """Raises SettingsError for one that is not NAME=VALUE."""
    for pair in pairs:
        if "=" not in pair:
            raise SettingsError(f"policy-set: {pair!r}: write NAME=VALUE, as retrieve_blocks=16")
    return dict(pair.split("=", 1) for pair in pairs)
