"""The memory policy of a stream: finds out which one is meant and makes it for a model."""

from contextlib import suppress
from functools import lru_cache

import torch

from encoders import EmbedsPictures
from encoders.sentence_encoder import SentenceEncoder
from memory import (
    KVMemoryError,
    MemoryPolicy,
    ModelShape,
    PolicyError,
    find_stream,
    policy_named,
    written_under,
)
from memory.policies import DEFAULT
from vstream.config import VStreamConfig
from vstream.models.video_llm import VideoLLM
from vstream.sentences import sentence_vectors


def shape_of(model: VideoLLM, max_answer_tokens: int) -> ModelShape:
    """Return what a policy may know about a model."""
    family = model.family
    recommended = family.recommended
    return ModelShape(
        frames_per_block=family.frames_per_block,
        block_tokens=lambda: _block_tokens(model),
        rotary_axes=model.decoder.num_axes,
        prefix_tokens=lambda: len(family.prefix().embeddings),
        max_answer_tokens=max_answer_tokens,
        window_frames=recommended.window_frames,
        window_stride=recommended.window_stride,
        recent_frames=recommended.recent_frames,
        retrieve_blocks=recommended.retrieve_blocks,
        similarity=recommended.similarity,  # type: ignore[arg-type]
        rotate=model.decoder.rope.on_host().rotate,
        sample_fps=model.sample_fps,
        describe_prompt=recommended.describe_prompt,
        sentence_vectors=sentence_vectors if SentenceEncoder.is_installed() else None,
        text_vector=family.embed_text if isinstance(family, EmbedsPictures) else None,
    )


def policy_for(
    config: VStreamConfig, model: VideoLLM, provenance: str | None = None
) -> MemoryPolicy:
    """Return the configured policy; if none is, the one that a stream was written under, or
    default. `provenance` is the stream's fingerprint. Raises UnknownNameError, PolicyError.
    """
    if config.named_policy is None:
        return policy_of_blocks(config, model, provenance or "")
    shape = shape_of(model, config.engine.max_answer_tokens)
    return policy_named(config.named_policy, shape, config.policy_set)


def policy_of_blocks(config: VStreamConfig, model: VideoLLM, provenance: str) -> MemoryPolicy:
    """Return the policy that wrote blocks of this fingerprint. Raises what `policy_for` raises."""
    name, settings = written_under(provenance)
    return policy_named(name, shape_of(model, config.engine.max_answer_tokens), settings)


def policy_of_reader(config: VStreamConfig, model: VideoLLM, provenance: str) -> MemoryPolicy:
    """Return the policy for questions to a stored stream, unless a question names another. Raises
    UnknownNameError, and PolicyError if it cannot read what the stream's own policy has kept.
    """
    policy = policy_for(config, model, provenance)
    policy.require_readable(policy_of_blocks(config, model, provenance))
    return policy


def policy_of_stream(config: VStreamConfig, model: VideoLLM, stream_id: str) -> MemoryPolicy:
    """Return the policy under which to write a stream, for the first time or again. Raises
    UnknownNameError, and PolicyError if the stream was written under another one, or if a budget is
    given and the policy takes none.
    """
    provenance = None
    with suppress(KVMemoryError):  # opening the stream says what is wrong
        if found := find_stream(config.memory.store, stream_id):
            provenance = found.provenance.fingerprint
    policy = policy_for(config, model, provenance)
    if provenance is not None:
        written, _ = written_under(provenance)
        own = policy.name if policy.changes_store else DEFAULT
        if written != own:
            raise PolicyError(
                f"stream {stream_id} was written under policy {written}, not {policy.name}: name "
                f"{written} or none, or choose another stream"
            )
    memory = config.memory
    bounds = memory.file_bytes, memory.redis_bytes, memory.retain_s
    if not policy.card.takes_budget and any(bounds):
        raise PolicyError(
            f"policy {policy.name} keeps everything: give it no budget and no retention"
        )
    return policy


@lru_cache(maxsize=16)
@torch.inference_mode()
def _block_tokens(model: VideoLLM) -> int:
    family = model.family
    frames = [family.blank(float(i)) for i in range(family.frames_per_block)]
    with model.turn:
        return len(family.encode([frames])[0].embeddings)
