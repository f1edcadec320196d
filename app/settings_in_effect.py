"""`vstream config`: show every setting in effect and where it comes from; needs no torch."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from app.server.settings import ServiceSettings, load_settings, read_file
from app.settings_options import Given
from app.terminal import Terminal, table_of
from memory import store_name

DEFAULT = "default"
_KEY_VARIABLES = ("VSTREAM_API_KEY", "VSTREAM_API_KEY_FILE")


class Setting(NamedTuple):
    """A setting's dotted name, its value with secrets hidden, and where it comes from."""

    name: str
    value: Any
    origin: str


def show_settings(terminal: Terminal, given: Given, *, as_json: bool) -> None:
    """Print a table, or one JSON document. Raises SettingsError for invalid settings."""
    settings = load_settings(given.file, **given.tree)
    origins = (
        (lambda path: "command line", given.tree),
        (_variable, EnvSettingsSource(ServiceSettings)()),
        (lambda path: str(given.file), {} if given.file is None else read_file(given.file)),
    )

    def origin_of(path: tuple[str, ...]) -> str:
        said = (name(path) for name, tree in origins if _has(tree, path))
        return next(said, DEFAULT)

    shown = [
        Setting(".".join(path), _hidden(value), origin_of(path))
        for path, value in _leaves(settings)
    ]
    shown += [Setting("key", "set", name) for name in _KEY_VARIABLES if os.environ.get(name)]
    if as_json:
        told = {one.name: {"value": one.value, "from": one.origin} for one in shown}
        terminal.document(json.dumps(told))
    else:
        rows = ((one.name, _in_words(one.value), one.origin) for one in shown)
        terminal.out.print(table_of(("setting", "value", "from"), rows))


def _variable(path: tuple[str, ...]) -> str:
    return f"VSTREAM_{'__'.join(path)}".upper()


def _leaves(part: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), value


def _has(tree: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    part: Any = tree
    for name in path:
        if not isinstance(part, Mapping) or name not in part:
            return False
        part = part[name]
    return True


def _hidden(value: Any) -> Any:
    """Make a value JSON-able and hide secrets: show only the names of streams, keys and so on."""
    if isinstance(value, tuple | list):
        return [_hidden(one) for one in value]
    if isinstance(value, BaseModel):
        return getattr(value, "id", None) or getattr(value, "name", None)
    if isinstance(value, Mapping):
        return {name: _hidden(one) for name, one in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    return store_name(str(value))


def _in_words(value: Any) -> str:
    return (
        "-"
        if value is None or value == []
        else value
        if isinstance(value, str)
        else json.dumps(value)
    )
