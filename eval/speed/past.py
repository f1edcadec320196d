"""Past: a few minutes of stream in, what is needed to measure a long one out.

Of a week neither all keys and values nor the time to make them are at hand, and a question needs
neither: it searches the index, and reads what it finds. So the index is of full size, and each of
the blocks that are there stands for many, with representative keys of its own: a stretch is
repeated again and again, drifts away from itself as light and season do, and no two blocks are
alike. That is harder to search than a stream that never repeats itself: the best block of the
stretch comes back as often as it does, and noise decides which of its copies are the best.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from encoders import Frame
from eval.speed.subject import session_in
from eval.stream_world import WORLD_PX, Renderer, Script, write_script
from memory import BlockHead, BlockRecord, BlockStore, HostTier, KVMemory
from memory.block_head import IndexVectors
from vstream import Session, VideoLLM, VStreamConfig, load_config, load_video_llm
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_queries

NOISE, DRIFT = 0.5, 0.1
"""So much of what two neighbouring blocks differ by is added to a key that repeats another one: for
each block by itself, of neighbours drawn at random, and as the drift of a whole repetition.
"""
NAMES = ("a dog", "a red star", "a cat", "an apple", "a car", "a blue circle", "a tree", "a cup")
_SHORT_S = 300
_AT_ONCE = 64
_ROOM_BYTES = 1 << 60
"""Blocks that stand for many take room once."""


def world_model(config: VStreamConfig) -> VideoLLM:
    """The configured model, at a frame a second and in one thread."""
    torch.set_num_threads(1)
    return load_video_llm(config.model, config.device, config.dtype, 1.0)


def world_scripts(seeds: range, seed: int, streams: int, minutes: float) -> list[Script]:
    """Those that `seed` stands for among the seeds of one measurement."""
    first = seeds.start + 1000 * seed
    return [write_script(first + number, round(60 * minutes)) for number in range(streams)]


@contextmanager
def short_past(length_s: int = _SHORT_S, store: BlockStore | None = None) -> Iterator[Session]:
    """So much of a made-up stream, a block a second, in one thread; in host RAM if in no store."""
    config = load_config()
    with session_in(store or HostTier(_ROOM_BYTES), config, world_model(config)) as session:
        show_script(session, write_script(11, length_s))
        yield session


def show_script(session: Session, script: Script) -> None:
    """A frame a second, none left out: block n shows second n."""
    renderer = Renderer(WORLD_PX)
    for first in range(0, len(script.moments), _AT_ONCE):
        moments = script.moments[first : first + _AT_ONCE]
        session.push([Frame(renderer.frame(one), float(one.time_s), 0.0) for one in moments])


@torch.inference_mode()
def queries_of(
    model: VideoLLM, questions: Iterable[str]
) -> Float32[Tensor, "questions layers features"]:
    """What questions look for blocks by."""
    prefix = prefix_kv(model.decoder, model.family.prefix())
    words = [model.family.question(question) for question in questions]
    found = [torch.stack(text_queries(model.decoder, prefix, tokens)) for tokens in words]
    return torch.stack(found)


def keys_of(memory: KVMemory) -> Float32[Tensor, "layers blocks features"]:
    return memory.representative_keys(memory.visible(None))


def drifting(
    own: Float32[Tensor, "layers some features"], size: int
) -> Iterator[Float32[Tensor, "part layers features"]]:
    """Keys of `size` blocks in parts, in stream order. The newest stand for the last of `own`."""
    generator = torch.Generator().manual_seed(0)
    keys, left_out = own.transpose(0, 1), -size % own.shape[1]
    changes = keys.diff(dim=0)

    def changed(number: int) -> Float32[Tensor, "number layers features"]:
        at, sign = torch.randint(len(changes), (2, number), generator=generator)
        drawn: Tensor = changes[at] * (1 - 2 * (sign % 2))[:, None, None]
        return drawn

    share, place = torch.linspace(0, 1, len(keys))[:, None, None], torch.zeros_like(keys[0])
    for _ in range(-(-size // len(keys))):
        step = DRIFT * changed(1)[0]
        yield (keys + place + share * step + NOISE * changed(len(keys)))[left_out:]
        place, left_out = place + step, 0


class LongPast(HostTier):
    """Holds any number of blocks. The newest are those of another store; older ones repeat them."""

    def __init__(self, store: BlockStore, num_blocks: int) -> None:
        super().__init__(_ROOM_BYTES)
        self._records = [store.read_record(number) for number in range(store.next_id)]
        self.next_id = num_blocks

    def recover(self) -> Iterator[BlockHead]:
        heads = [record.head for record in self._records]
        own = torch.stack([torch.from_numpy(head.representative_keys) for head in heads], dim=1)
        length_s = heads[-1].info.end_s - heads[0].info.start_s
        keys = (of_block for part in drifting(own, self.next_id) for of_block in part.numpy())
        for number, of_block in zip(range(self.next_id), keys, strict=True):
            before = (self.next_id - 1 - number) // len(heads)
            after_s = (-(-self.next_id // len(heads)) - 1 - before) * length_s
            yield later(self._block(number).head, number, after_s, of_block)

    def _block(self, block_id: int) -> BlockRecord:
        return self._records[(block_id - self.next_id) % len(self._records)]


def later(
    head: BlockHead, block_id: int, after_s: float, keys: Float32[np.ndarray, "layers features"]
) -> BlockHead:
    """That of the block once more, so much later and with these representative keys."""
    info = head.info
    info = replace(info, start_s=info.start_s + after_s, end_s=info.end_s + after_s)
    return replace(head, block_id=block_id, info=info, index=IndexVectors(keys[:, None]))
