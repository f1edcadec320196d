"""Past: a few minutes of stream in, what is needed to measure a long one out.

Of a day neither all keys and values nor the time to make them are at hand, and a question needs
neither: it searches the index, and reads what it finds. So the index is of full size, and each of
the blocks that are there stands for many, with representative keys of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from encoders import Frame
from eval.speed.subject import passing_session
from eval.stream_world import WORLD_PX, Renderer, Script, write_script
from memory import BlockRecord, KVMemory
from memory.block_head import IndexVectors
from vstream import Session, VideoLLM, VStreamConfig, load_config, load_video_llm
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_queries

NOISE = 0.3
"""Of a key's size, by which the keys of blocks that stand for the same one differ."""
NAMES = ("a dog", "a red star", "a cat", "an apple", "a car", "a blue circle", "a tree", "a cup")
_SHORT_S = 300
_AT_ONCE = 64


def world_model(config: VStreamConfig) -> VideoLLM:
    """The configured model, at a frame a second and in one thread."""
    torch.set_num_threads(1)
    return load_video_llm(config.model, config.device, config.dtype, 1.0)


def world_scripts(seeds: range, seed: int, streams: int, minutes: float) -> list[Script]:
    """Those that `seed` stands for among the seeds of one measurement."""
    first = seeds.start + 1000 * seed
    return [write_script(first + number, round(60 * minutes)) for number in range(streams)]


@contextmanager
def short_past() -> Iterator[Session]:
    """Five minutes of a made-up stream, a block a second, in one thread."""
    config = load_config()
    with passing_session(config, world_model(config)) as session:
        show_script(session, write_script(11, _SHORT_S))
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


def take_again(memory: KVMemory, records: Sequence[BlockRecord], num_blocks: int) -> None:
    """Fill a memory with so many blocks. The newest are `records`; older ones repeat them."""
    length_s = records[-1].head.info.end_s - records[0].head.info.start_s
    repeats = -(-num_blocks // len(records))
    for number in range(-num_blocks, 0):
        record = records[number % len(records)]
        after_s = (repeats + number // len(records)) * length_s
        keys = record.head.representative_keys
        noise = np.float32(NOISE * keys.std()) * torch.randn(keys.shape).numpy()
        take_at(memory, record, after_s, keys + noise)


def take_at(
    memory: KVMemory,
    record: BlockRecord,
    after_s: float,
    keys: Float32[np.ndarray, "layers features"],
) -> None:
    """Keep the block once more, so much later and with these representative keys."""
    info, index = record.head.info, IndexVectors(keys[:, None])
    info = replace(info, start_s=info.start_s + after_s, end_s=info.end_s + after_s)
    memory.take(replace(record, head=replace(record.head, info=info, index=index)))
