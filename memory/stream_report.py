"""StreamReport: what reading everything that is kept of a stream has found."""

from collections.abc import Mapping
from dataclasses import dataclass

from memory.block_store import Changes, FollowedSource
from memory.errors import BlockCorruptError, BlockNotFoundError, StoreAwayError, StoreError
from memory.fault import Fault


@dataclass(frozen=True)
class StreamReport:
    """`blocks` counts those that can be read as they were written. The stream is sound if it has no
    faults.
    """

    id: str
    is_live: bool
    """Whether a process was writing it: then only its blocks were compared with their CRC32s."""
    blocks: int
    faults: tuple[Fault, ...]
    set_aside: str | None = None
    """The folder with its damaged files that were set aside, if there are any."""

    @property
    def lost(self) -> int:
        """How many blocks are lost, at most."""
        return sum(fault.blocks for fault in self.faults)


def read_through(stream_id: str, source: FollowedSource, is_live: bool) -> StreamReport:
    """Read everything of a stream, which the caller closes. Raises what `recover` raises."""
    num_blocks = 0
    layers_of = {head.block_id: head.provenance.layers for head in source.recover()}
    faults = [*source.damage(), *([] if is_live else source.harmless_faults())]
    while layers_of:
        damaged, moved = _damaged(source, layers_of)
        changes = source.changes() if moved else Changes()
        again = {head.block_id for head in changes.heads} & moved.keys()
        gone = [Fault(str(moved[i]), 1) for i in moved if i not in again and i not in changes.gone]
        num_blocks += len(layers_of) - len(moved) - sum(fault.blocks for fault in damaged)
        faults += [*damaged, *gone]
        layers_of = {block_id: layers_of[block_id] for block_id in sorted(again)}
    try:
        source.state()
    except (BlockCorruptError, StoreError) as error:
        faults.append(Fault(str(error)))
    return StreamReport(stream_id, is_live, num_blocks, tuple(faults))


def _damaged(
    source: FollowedSource, layers_of: Mapping[int, int]
) -> tuple[list[Fault], dict[int, BlockNotFoundError]]:
    """Read these blocks; return what is damaged, and which were not where they had been."""
    found: list[Fault] = []
    moved: dict[int, BlockNotFoundError] = {}
    for block_id, layers in layers_of.items():
        try:
            source.read_record(block_id)
        except BlockNotFoundError as error:
            moved[block_id] = error
        except (BlockCorruptError, StoreError) as error:
            if isinstance(error, StoreAwayError):
                raise
            found.append(Fault(str(error), 0 if _has_rows(source, block_id, layers) else 1))
    return found, moved


def _has_rows(source: FollowedSource, block_id: int, layers: int) -> bool:
    """Return whether its keys and values can be read, so that only its picture or its head, which
    an index has as well, is damaged.
    """
    try:
        for layer in range(layers):
            source.read_rows(layer, (block_id,))
    except (BlockCorruptError, StoreError):
        return False
    return True
