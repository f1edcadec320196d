"""VStreamConfig: every setting of vstream in one frozen tree; environment VSTREAM_*, `__` nests."""

import difflib
import os
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from memory import MemoryConfig, store_name
from vstream.engine.config import EngineConfig
from vstream.errors import SettingsError
from vstream.sources.config import SourceConfig

_PREFIX = "VSTREAM_"
_OTHERS = {"rekv_fixture", "api_key", "api_key_file", "service"}
"""Variables with the prefix that are not settings here: where a test finds its data, what only a
service reads (`app/server/settings.py`), and its secret, which is no part of a tree that is shown
(`app/server/keys.py`).
"""
Settings = TypeVar("Settings", bound="VStreamConfig")


class VStreamConfig(BaseSettings):
    """Command-line values win over the environment, the environment over the defaults here.

    `VSTREAM_MEMORY__STORE=file:///data` sets `memory.store`.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
    )

    model: str | None = Field(
        None, description="Hub id or directory of a Video-LLM; unset is the embedded model."
    )
    device: str = Field("auto", description="torch device; auto is CUDA where there is a card.")
    dtype: str = Field("auto", description="auto, float32, bfloat16 or float16.")
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads of torch; unset measures at start."
    )
    source: SourceConfig = SourceConfig()
    memory: MemoryConfig = MemoryConfig()
    engine: EngineConfig = EngineConfig()


def load_config(**values: Any) -> VStreamConfig:
    """Read the environment and put `values` (nested dicts, as the fields) over it.

    Raises SettingsError naming each bad setting, what was given and what is allowed.
    """
    return read_settings(VStreamConfig, values)


def read_settings(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """As `load_config`, for a tree of settings that has more."""
    _refuse_unknown_variables()
    try:
        return kind(**values)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} "
            f"(got {store_name(repr(problem['input']))})"
            for problem in error.errors()
        ]
        raise SettingsError("bad setting " + "; ".join(problems)) from error


def _refuse_unknown_variables() -> None:
    """A misspelt variable would otherwise be ignored: the user would lose what it was to set."""
    known = set(VStreamConfig.model_fields)
    for variable in os.environ:
        name = variable.removeprefix(_PREFIX).split("__")[0].lower()
        if variable.startswith(_PREFIX) and name not in known | _OTHERS:
            names = _all_variables()
            near = [full for full in names if full.endswith(f"__{name.upper()}")]
            near += difflib.get_close_matches(variable, names, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable} is no setting of vstream{hint}")


def _all_variables() -> list[str]:
    names = []
    for field, info in VStreamConfig.model_fields.items():
        if isinstance(info.default, BaseModel):
            names += [f"{field}__{part}" for part in type(info.default).model_fields]
        else:
            names.append(field)
    return [f"{_PREFIX}{name}".upper() for name in names]
