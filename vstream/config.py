"""VStreamConfig: every setting of vstream in one frozen tree, also set by VSTREAM_* variables."""

import difflib
import os
import sys
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from memory import MemoryConfig, store_name
from memory.policies import DEFAULT, require_policy
from memory.policies.default import DefaultSettings
from vstream.engine.config import EngineConfig
from vstream.errors import SettingsError
from vstream.sources.config import SourceConfig

_PREFIX = "VSTREAM_"
_SECRETS = ("api_key", "mqtt_password", "onvif_password")
_OTHERS = {"rekv_fixture", "fixtures", "service", *_SECRETS, *(f"{one}_file" for one in _SECRETS)}
"""Variables with the prefix that are no settings here: test data, what only a service reads
(`app/server/settings.py`) and secrets, which must not be shown with the settings
(`app/server/keys.py`).
"""
_WERE_ENGINE_S = {
    "rekv_window_tokens": "window_tokens",
    **{name: name for name in DefaultSettings.model_fields},
}
_REKV_S = ("window_tokens", "retrieve_blocks", "retrieve_runs_of", "similarity", "drop_similarity")
Settings = TypeVar("Settings", bound="VStreamConfig")


class VStreamConfig(BaseSettings):
    """The command line overrides the environment, and the environment these defaults.

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
        None, description="Hub id or directory of a Video-LLM; unset: the embedded model."
    )
    device: str = Field("auto", description="torch device; auto: CUDA if there is a GPU.")
    dtype: str = Field("auto", description="auto, float32, bfloat16 or float16.")
    threads: int | None = Field(
        None, ge=1, le=256, description="CPU threads for torch; unset: measured at start."
    )
    policy: str | None = Field(
        None,
        description="Memory policy (see `vstream policies`); unset: the one the stream was written "
        "under, else default.",
    )
    policy_set: dict[str, Any] = Field(
        {}, description="Settings of the policy, or of default, e.g. {retrieve_blocks: 16}."
    )
    source: SourceConfig = SourceConfig()
    memory: MemoryConfig = MemoryConfig()
    engine: EngineConfig = EngineConfig()

    @property
    def named_policy(self) -> str | None:
        """The policy to use for every stream; None: each stream's own."""
        return self.policy or (DEFAULT if self.policy_set else None)

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        """Accept, until 0.3, policy settings under their old names in `engine`."""
        engine = values.get("engine") if isinstance(values, dict) else None
        old = [name for name in engine or () if name in _WERE_ENGINE_S]
        if not isinstance(engine, dict) or not old:
            return values
        values = {**values, "engine": {k: v for k, v in engine.items() if k not in old}}
        moved = {_WERE_ENGINE_S[name]: engine[name] for name in old}
        if "rekv_window_tokens" in old:  # with it set, most others never had an effect
            values.setdefault("policy", "rekv")
            moved = {name: value for name, value in moved.items() if name in _REKV_S}
        for name in old:
            new = _WERE_ENGINE_S[name]
            sys.stderr.write(
                f"vstream: engine.{name} is now policy_set.{new} (VSTREAM_POLICY_SET__"
                f"{new.upper()}); the old name works until 0.3\n"
            )
        return {**values, "policy_set": {**moved, **values.get("policy_set", {})}}

    @field_validator("policy")
    @classmethod
    def _policy_exists(cls, name: str | None) -> str | None:
        require_policy(name, {})
        return name

    @field_validator("policy_set")
    @classmethod
    def _policy_takes(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "policy" in info.data:
            require_policy(info.data["policy"], settings)
        return settings


def load_config(**values: Any) -> VStreamConfig:
    """Read the environment; `values` (nested dicts of fields) override it.

    Raises SettingsError naming each bad setting, what was given and what is allowed.
    """
    return read_settings(VStreamConfig, values)


def read_settings(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """Like `load_config`, for a subclass with more settings."""
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
    """Refuse misspelt variables, which pydantic would silently ignore."""
    known = set(VStreamConfig.model_fields)
    for variable in os.environ:
        name = variable.removeprefix(_PREFIX).split("__")[0].lower()
        if variable.startswith(_PREFIX) and name not in known | _OTHERS:
            names = _all_variables()
            near = [full for full in names if full.endswith(f"__{name.upper()}")]
            near += difflib.get_close_matches(variable, names, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable} is not a vstream setting{hint}")


def _all_variables() -> list[str]:
    names = []
    for field, info in VStreamConfig.model_fields.items():
        if isinstance(info.default, BaseModel):
            names += [f"{field}__{part}" for part in type(info.default).model_fields]
        else:
            names.append(field)
    return [f"{_PREFIX}{name}".upper() for name in names]
