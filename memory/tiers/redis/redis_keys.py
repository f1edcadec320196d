"""RedisKeys: names the keys of one stream in Redis.

vstream:streams             set of all stream ids
vstream:log:NAME            Redis Stream: lines that services keep, such as their events
vstream:task:ID             list: the lines of one task, for some time
vstream:task:ID:by          its holder, for a few seconds at a time; :stop if nobody wants it
vstream:tasks               set: ids of the running tasks
vstream:tasks:ended         list: ids of the newest ended tasks
vstream:{ID}:meta           hash: make, note, format_version, fence, version, next_id, blocks,
                            bytes, from_s, to_s
vstream:{ID}:lease          its writer, "FENCE HOST:PID WORKER"; no WORKER in earlier versions
vstream:worker:WORKER       HOST:PID of a process that writes, for a few seconds at a time
vstream:{ID}:table          hash: block id -> GENERATION, newline, head of the record
vstream:{ID}:block:N:GEN    hash: "thumbnail" and, for each layer, a field with its row
vstream:{ID}:state          hash: the notes of a memory policy, each value behind its CRC32
vstream:{ID}:log            Redis Stream: ids of changed blocks, for readers that follow
vstream:dialogue:ID:NAME    list: the newest turns of one dialogue, for a day
vstream:dialogue_mark:ID:NAME  a random word, until something of the stream is forgotten
vstream:dialogues:ID        sorted set: the names of a day's dialogues, by their newest turn

A block exists once the table names it; a `block` key without an entry has a time to live. A stream
has one writer, so its FENCE is in the names of what it writes: COUNT.NONCE, never the same twice,
whatever the server forgets.
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
        """The prefix of the keys of all blocks."""
        self.dialogues = f"vstream:dialogues:{stream_id}"

    def dialogue(self, name: str) -> str:
        return f"vstream:dialogue:{self.stream_id}:{name}"

    def dialogue_mark(self, name: str) -> str:
        return f"vstream:dialogue_mark:{self.stream_id}:{name}"

    def block(self, block_id: int, generation: str) -> str:
        return f"{self.blocks}{block_id}:{generation}"
