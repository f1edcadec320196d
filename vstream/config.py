"""VStreamConfig: every setting of vstream in one frozen tree; environment VSTREAM_*, `__` nests."""

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from memory import MemoryConfig
from vstream.engine.config import EngineConfig
from vstream.errors import SettingsError
from vstream.sources.config import SourceConfig


class VStreamConfig(BaseSettings):
    """Command-line values win over the environment, the environment over the defaults here.

    `VSTREAM_MEMORY__STORE=file:///data` sets `memory.store`.
    """

    model_config = SettingsConfigDict(
        env_prefix="VSTREAM_", env_nested_delimiter="__", frozen=True, extra="forbid"
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


def load_config(**values: object) -> VStreamConfig:
    """Read the environment and put `values` (nested dicts, as the fields) over it.

    Raises SettingsError naming each bad setting, what was given and what is allowed.
    """
    try:
        return VStreamConfig(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} "
            f"(got {problem['input']!r})"
            for problem in error.errors()
        ]
        raise SettingsError("bad setting " + "; ".join(problems)) from error
