"""Tiny models behind the engine, and streams of frames to feed them."""

import copy
import os

import numpy as np
import torch
from tiny_checkpoints import TEXT_MODELS, VIDEO_FAMILIES, tiny_family, tiny_model
from token_family import TokenFamily

from encoders import Frame
from memory import MemoryConfig, MemoryPolicy, open_memory, policy_named
from memory.policies.rekv import RekvSettings
from vstream.device.scheduler import Scheduler
from vstream.engine import Decoder, EngineConfig, view_at
from vstream.models.video_llm import VideoLLM
from vstream.policy import shape_of
from vstream.session import Session

FAMILIES = os.environ.get("FAMILIES", "").split() or [*TEXT_MODELS, *VIDEO_FAMILIES]
"""Over which tests of the engine run: all, unless `make quick` names a few."""


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


def open_session(
    model,
    *,
    store="memory://",
    codec="int8",
    host_bytes=1 << 30,
    file_bytes=None,
    retain_s=None,
    **engine,
):
    """A session over a memory of its own (or of `store`).

    `engine` are settings of the engine or of the memory policy: `rekv` where it is told its window.
    """
    decoder = model.decoder
    policy, config = policy_and_config(model, **engine)
    memory = open_memory(
        MemoryConfig(
            store=store,
            codec=codec,
            host_bytes=host_bytes,
            file_bytes=file_bytes,
            retain_s=retain_s,
        ),
        stream_id="test",
        fingerprint=model.fingerprint,
        layers=decoder.num_layers,
        kv_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        device=decoder.device,
        policy=policy,
    )
    return Session(model, memory, policy, config)


def configured(**engine):
    """The same settings as parts of a VStreamConfig."""
    general = {name: engine.pop(name) for name in EngineConfig.model_fields if name in engine}
    return {"engine": general, "policy_set": engine}


def policy_and_config(model, **engine):
    """A memory policy and an EngineConfig of settings given together."""
    general = {name: engine.pop(name) for name in EngineConfig.model_fields if name in engine}
    config = EngineConfig(**general)
    name = engine.pop("policy", None) or "default"
    if isinstance(name, MemoryPolicy):
        return name, config
    if "rekv_window_tokens" in engine:
        name, engine["window_tokens"] = "rekv", engine.pop("rekv_window_tokens")
        engine = {key: engine[key] for key in RekvSettings.model_fields if key in engine}
    return policy_named(name, shape_of(model, config.max_answer_tokens), engine), config


def answer_of(session, question, **options):
    """What an answer consists of, without its timings."""
    return parts_of(session.ask(question, **options).answer)


def parts_of(answer):
    return answer.token_ids, [
        (e.block_id, e.start_s, e.end_s, e.score, e.num_layers) for e in answer.evidence
    ]


def all_logits(session, text, at_s=None):
    """The logits of a question's tokens over the session's memory."""
    view = view_at(session.memory, at_s, session.policy.recent_blocks())
    with torch.inference_mode():
        return session.questions.run(session.model.family.question(text), view).logits
