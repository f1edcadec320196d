"""EncodedDay: the script of a long stream in, its KV blocks out, exact and on disk, made once.

Blocks are kept in the model's own dtype, so that each memory can encode them in its own codec as
if it had been there, and so that a run which goes on after a kill sees its local window as it was.
It is given back the other thing that a session loses with its process, too: what the dropping of
still tokens compares with. What is left is the order of sums in chunks that the kill cut in two.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from encoders import Frame
from eval.stream_benchmark.policy import DROP_SIMILARITY
from eval.stream_world import Renderer, Script
from memory import BlockRecord, MemoryConfig, stored_records
from vstream import Session, VideoLLM, VStreamConfig, open_session

DROPPING = {"drop_similarity": DROP_SIMILARITY}
"""How the day is encoded and asked about: as recommended, with still tokens dropped."""
STREAM_ID = "day"
_BATCH_FRAMES = 64
_LEAST_HOST_BYTES = 1 << 20


class EncodedDay:
    """The blocks of the whole stream in `path`."""

    def __init__(
        self, path: Path, script: Script, model: VideoLLM, config: VStreamConfig, renderer: Renderer
    ) -> None:
        self._script = script
        self._model = model
        self._renderer = renderer
        self._memory = MemoryConfig(
            store=path.resolve().as_uri(), codec="exact", host_bytes=_LEAST_HOST_BYTES
        )
        self._config = config.model_copy(update={"policy_set": DROPPING, "memory": self._memory})

    @property
    def length_s(self) -> int:
        return len(self._script.moments)

    def encode(self, advance: Callable[[int], None]) -> None:
        """Encode the frames that have no block yet; `advance` is told how many came to be done."""
        with open_session(self._config, self._model, STREAM_ID) as session:
            done = session.memory.num_blocks * self._model.family.frames_per_block
            advance(done)
            if done < self.length_s:
                self._recall_kept_tokens(session)
            while done < self.length_s:  # in batches that begin where they would have begun
                end = min(done - done % _BATCH_FRAMES + _BATCH_FRAMES, self.length_s)
                session.push(self._frames(done, end))
                advance(end - done)
                done = end

    def records(self) -> Iterator[BlockRecord]:
        """The blocks in stream order, one in memory at a time."""
        return stored_records(self._memory, STREAM_ID)

    @torch.inference_mode()
    def _recall_kept_tokens(self, session: Session) -> None:
        """Show the dropper what it has seen since the last block that was kept whole."""
        assert session.token_dropper is not None
        size, end = self._model.family.frames_per_block, session.memory.num_blocks
        first = end - end % session.encoding.whole_every
        for block in range(first, end, session.chunk_blocks):
            blocks = range(block, min(block + session.chunk_blocks, end))
            groups = [self._frames(i * size, (i + 1) * size) for i in blocks]
            session.token_dropper.drop(self._model.family.encode(groups))

    def _frames(self, first: int, end: int) -> list[Frame]:
        """Frames [first, end), one for each second."""
        return [
            Frame(self._renderer.frame(moment), float(moment.time_s), 0.0)
            for moment in self._script.moments[first:end]
        ]
