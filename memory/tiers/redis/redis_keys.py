"""RedisKeys: under which names one stream lies in Redis.

vstream:streams             set of all stream ids
vstream:log:NAME            Redis Stream: lines that services keep, as their events
vstream:task:ID             list: what was told of one task, for some time
vstream:task:ID:by          who does it, for a few seconds at a time; :stop where nobody wants it
vstream:tasks               set: ids of the tasks that are being done
vstream:tasks:ended         list: ids of the newest of the others
vstream:{ID}:meta           hash: make, note, format_version, fence, version, next_id, blocks,
                            bytes, from_s, to_s
vstream:{ID}:lease          who writes, "FENCE HOST:PID WORKER"; without WORKER an earlier version
vstream:worker:WORKER       HOST:PID of a process that writes, for a few seconds at a time
vstream:{ID}:table          hash: block id -> GENERATION, newline, head of the record
vstream:{ID}:block:N:GEN    hash: "thumbnail" and one field a layer with its row
vstream:{ID}:state          hash: what a memory policy noted, each value behind its CRC32
vstream:{ID}:log            Redis Stream: which block ids changed, for those who follow
vstream:dialogue:ID:NAME    list: the newest turns of one dialogue, for a day
vstream:dialogues:ID        sorted set: the names of the dialogues of a day, by their newest turn

A block is there once the table says so; what lies under `block` without that has a time to live.
A stream has one writer, so its FENCE is in the names of what it writes: COUNT.NONCE, never twice
the same, whatever the server forgets.
"""

STREAMS = "vstream:streams"
THUMBNAIL = "thumbnail"


def lines_key(name: str) -> str:
    return f"vstream:log:{name}"


def worker_key(worker: str) -> str:
    return f"vstream:worker:{worker}"


class RedisKeys:
    """The keys of the stream `stream_id`."""

    def __init__(self, stream_id: str) -> None:
        self.stream_id = stream_id
        begin = f"vstream:{{{stream_id}}}:"
        self.meta, self.lease = f"{begin}meta", f"{begin}lease"
        self.table, self.state, self.log = f"{begin}table", f"{begin}state", f"{begin}log"
        self.blocks = f"{begin}block:"
        """What the keys of all blocks begin with."""
        self.dialogues = f"vstream:dialogues:{stream_id}"

    def dialogue(self, name: str) -> str:
        return f"vstream:dialogue:{self.stream_id}:{name}"

    def block(self, block_id: int, generation: str) -> str:
        return f"{self.blocks}{block_id}:{generation}"
