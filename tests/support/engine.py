"""Tiny models behind the engine, and streams of frames to feed them."""

import copy

import numpy as np
import torch
from tiny_checkpoints import TEXT_MODELS, VIDEO_FAMILIES, tiny_family, tiny_model
from token_family import TokenFamily

from encoders import Frame
from memory import MemoryConfig, open_memory
from vstream.device.scheduler import Scheduler
from vstream.engine import Decoder, EngineConfig, view_at
from vstream.models.video_llm import VideoLLM
from vstream.session import Session

FAMILIES = [*TEXT_MODELS, *VIDEO_FAMILIES]


def tiny_video_llm(name, dtype=torch.float32):
    """A tiny random model behind the hook, and the same model as transformers made it."""
    plain = tiny_model(name).to(dtype)
    driven = copy.deepcopy(plain)
    decoder = Decoder(driven)
    if name in TEXT_MODELS:
        family = TokenFamily(decoder.embed, driven.config.vocab_size)
    else:
        family = tiny_family(name, driven)
    model = VideoLLM(
        name=name,
        fingerprint=f"tiny-{name}",
        family=family,
        decoder=decoder,
        sample_fps=1.0,
        scheduler=Scheduler(decoder),
    )
    return model, plain


def stream_frames(count, start=0, seed=0):
    """Frames of noise, one a second, each different."""
    frames = []
    for number in range(start, start + count):
        random = np.random.default_rng([seed, number])
        pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        frames.append(Frame(pixels, float(number), 1_700_000_000.0 + number))
    return frames


def open_session(model, *, store="memory://", codec="int8", host_bytes=1 << 30, **engine):
    """A session over a memory of its own (or of `store`)."""
    decoder = model.decoder
    memory = open_memory(
        MemoryConfig(store=store, codec=codec, host_bytes=host_bytes),
        stream_id="test",
        fingerprint=model.fingerprint,
        layers=decoder.num_layers,
        kv_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        device=decoder.device,
    )
    return Session(model, memory, EngineConfig(**engine))


def answer_of(session, question, **options):
    """What an answer consists of, without its timings."""
    answer = session.ask(question, **options).answer
    return answer.token_ids, [
        (e.block_id, e.start_s, e.end_s, e.score, e.num_layers) for e in answer.evidence
    ]


def all_logits(session, text, at_s=None):
    """The logits of a question's tokens over the session's memory."""
    view = view_at(session.memory, at_s, session.settings.recent_blocks)
    with torch.inference_mode():
        return session.questions.run(session.model.family.question(text), view).logits
