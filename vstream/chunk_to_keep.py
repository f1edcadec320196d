"""ChunkToKeep: keys and values as the decoder made them in, blocks of a memory out.

In two steps: `make` encodes, on the device and then for the host, and changes nothing; the work
`keep` gives the encoded blocks to the memory, in a round of the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from encoders import Frame, thumbnail
from memory import BlockInfo, BlockRecord, KVBlock, KVMemory, MemoryPolicy
from memory.policy_hooks import NewBlock, Tokens
from memory.policy_state import UNCHANGED, StateChange, changed
from vstream.device.stage_clock import StageClock
from vstream.engine.passes import Work
from vstream.engine.window_kv import LayerKV, Mass


@dataclass(frozen=True, eq=False)
class ChunkToKeep:
    """One chunk of one stream: a newest frame, tokens, keys and values for each block."""

    memory: KVMemory
    policy: MemoryPolicy
    clock: StageClock
    newest: Sequence[Frame]
    tokens: Sequence[Tokens]
    layers: Sequence[LayerKV]
    mass: Sequence[Mass]
    """Of each block, where it is wanted."""
    made: torch.cuda.Event | None
    """What a card passes once the keys and values are there."""
    _records: list[BlockRecord] = field(default_factory=list)
    _noted: list[StateChange] = field(default_factory=list)

    def make(self) -> None:
        """Encode all blocks, and let the policy note what it wants. Raises BlockRejectedError.

        All blocks before these are in the memory.
        """
        self._noted.extend(self._notes())
        for frame, tokens, layers in zip(self.newest, self.tokens, self.layers, strict=True):
            with self.clock.stage("thumbnail"):
                picture = thumbnail(frame)
            with self.clock.stage("encode"):
                self._records.append(self.memory.encoded(_block(frame, tokens, layers, picture)))

    def keep(self) -> Work[None]:
        """Put the blocks into the memory, in order. Raises what `KVMemory.take` raises."""
        with self.clock.stage("store"):
            for record, noted in zip(self._records, self._noted, strict=True):
                self.memory.take(record, noted)
        return
        yield  # it wants nothing of the model

    def _notes(self) -> list[StateChange]:
        if not self.policy.has("note"):
            return [UNCHANGED] * len(self.tokens)
        state, notes, first = self.memory.state, [], self.memory.num_blocks
        for block_id, tokens in enumerate(self.tokens, first):
            mass = self.mass[block_id - first] if self.mass else {}
            noted = self.policy.note(NewBlock(block_id, tokens, mass), state)
            state = changed(state, noted)
            notes.append(noted)
        return notes


def _block(newest: Frame, tokens: Tokens, kv: LayerKV, picture: bytes) -> KVBlock:
    info = BlockInfo(
        start_s=tokens.start_s,
        end_s=tokens.end_s,
        captured_at=newest.captured_at,
        positions=tokens.positions,
        advance=tokens.advance,
    )
    return KVBlock(
        info,
        keys=torch.stack([keys for keys, _ in kv]),
        values=torch.stack([values for _, values in kv]),
        thumbnail=picture,
    )
