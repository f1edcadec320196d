"""RedisKeys: under which names one stream lies in Redis.

vstream:streams             set of all stream ids
vstream:{ID}:meta           hash: make, note, format_version, fence, version, next_id, blocks,
                            bytes, from_s, to_s
vstream:{ID}:lease          who writes, "FENCE HOST:PID", for a few seconds at a time
vstream:{ID}:table          hash: block id -> GENERATION, newline, head of the record
vstream:{ID}:block:N:GEN    hash: "thumbnail" and one field a layer with its row
vstream:{ID}:state          hash: what a memory policy noted, each value behind its CRC32
vstream:{ID}:log            Redis Stream: which block ids changed, for those who follow

A block is there once the table says so; what lies under `block` without that has a time to live.
A stream has one writer, so its FENCE is in the names of what it writes: COUNT.NONCE, never twice
the same, whatever the server forgets.
"""

from dataclasses import dataclass

STREAMS = "vstream:streams"
THUMBNAIL = "thumbnail"


@dataclass(frozen=True)
class RedisKeys:
    """The keys of the stream `stream_id`."""

    stream_id: str

    @property
    def meta(self) -> str:
        return self._key("meta")

    @property
    def lease(self) -> str:
        return self._key("lease")

    @property
    def table(self) -> str:
        return self._key("table")

    @property
    def state(self) -> str:
        return self._key("state")

    @property
    def log(self) -> str:
        return self._key("log")

    @property
    def blocks(self) -> str:
        """What the keys of all blocks begin with."""
        return self._key("block:")

    def block(self, block_id: int, generation: str) -> str:
        return f"{self.blocks}{block_id}:{generation}"

    def _key(self, name: str) -> str:
        return f"vstream:{{{self.stream_id}}}:{name}"
