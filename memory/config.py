"""MemoryConfig: how blocks are kept."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MemoryConfig(BaseModel):
    """What the memory keeps of each block and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(
        "memory://",
        description="Where blocks are kept: memory:// (this process) or file:///DIR.",
    )
    codec: Literal["int8", "int4", "bf16", "exact"] = Field(
        "int8", description="How keys and values are kept; exact is the model's own dtype."
    )
    host_bytes: int = Field(
        4 << 30,
        ge=1 << 20,
        description="Budget of the host-RAM tier for encoded blocks, in bytes.",
    )
