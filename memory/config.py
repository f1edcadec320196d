"""MemoryConfig: how blocks are stored."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: Any) -> Any:
    """Parse `24h` into seconds; pass other values through."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)):
        return float(match[1]) * _UNIT_S[match[2]]
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value):
        raise ValueError("write seconds, or a length as 24h, 90m or 7d")
    return value


class MemoryConfig(BaseModel):
    """What the memory keeps of each block, and where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(
        "memory://",
        repr=False,  # it may hold a password
        description="Where blocks are kept: memory:// (this process), file:///DIR, "
        "redis://[USER:PASSWORD@]HOST[:PORT][/DB], Redis with failover: "
        "sentinel://[USER:PASSWORD@]HOST:PORT,.../NAME[/DB], or an object store: "
        "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, object:///DIR.",
    )
    codec: str = Field(
        "int8",
        description="How keys and values are kept: int8, int4, int2, fp4, int4_token and "
        "int2_token (blocks of few tokens), bf16, exact (the model's own dtype), or as another "
        "package does.",
    )
    host_bytes: ByteSize = Field(
        ByteSize(4 << 30),
        ge=1 << 20,
        description="Budget of host RAM for encoded blocks, in bytes: of all blocks with "
        "memory://, of copies of those in files or Redis otherwise.",
    )
    file_bytes: ByteSize | None = Field(
        None,
        ge=1 << 20,
        description="Budget of each stream in files or an object store, in bytes; unset: what "
        "there is. Over a budget old blocks become coarser, then sparser, then go.",
    )
    redis_bytes: ByteSize | None = Field(
        None,
        ge=1 << 20,
        description="Budget of each stream's blocks in Redis, in bytes as records; it needs "
        "some percent more. Unset: what the server has.",
    )
    buffer_bytes: ByteSize = Field(
        ByteSize(256 << 20),
        ge=1 << 20,
        description="How much of each stream may wait in host RAM while Redis is away, in bytes; "
        "then ingestion waits, and a live source drops frames.",
    )
    picture_bytes: ByteSize | None = Field(
        None,
        ge=1 << 20,
        description="Budget of the pictures that each stream keeps beside its blocks, in bytes, a "
        "part of the budgets above; unset: they stay as long as their blocks. Over it the oldest "
        "pictures go and their blocks stay.",
    )
    index_bytes: ByteSize | None = Field(
        None,
        ge=1 << 20,
        description="How much of each stream's index may lie on the model's device, in bytes; that "
        "of the oldest blocks lies in host RAM then. Unset: all of it is on the device.",
    )
    segment_bytes: ByteSize = Field(
        ByteSize(16 << 20),
        ge=1 << 16,
        description="About the size of one file of blocks, or of one object, in bytes.",
    )
    ack: Literal["local", "replicated"] = Field(
        "local",
        description="When a block counts as acknowledged with an object store: local, once it is "
        "in a file of this machine, whose death costs what is not sealed yet; replicated, once "
        "the object store has it.",
    )
    retain_s: Annotated[float, BeforeValidator(_seconds)] | None = Field(
        None,
        gt=0,
        description="How long blocks are kept, in seconds of stream time or as 24h, 90m, 7d; "
        "unset: always.",
    )
