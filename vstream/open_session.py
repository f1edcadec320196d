"""open_session: opens a Session over the memory of one stream."""

from memory import MemoryPolicy, open_memory
from vstream.config import VStreamConfig
from vstream.models.video_llm import VideoLLM
from vstream.policy import policy_of_stream
from vstream.session import Session


def open_session(
    config: VStreamConfig, model: VideoLLM, stream_id: str, policy: MemoryPolicy | None = None
) -> Session:
    """Open or reopen the memory of `stream_id` in the configured store.

    `policy` is one of your own; None is the configured one. Stored blocks fit only the weights,
    sampling rate, picture size, dtype and policy that made them; others are refused with
    memory.FingerprintMismatchError or memory.PolicyError.
    """
    if policy is None:
        policy = policy_of_stream(config, model, stream_id)
    memory = open_memory(
        config.memory,
        stream_id=stream_id,
        fingerprint=provenance_of(config, model, policy),
        layers=model.decoder.num_layers,
        kv_heads=model.decoder.kv_heads,
        head_dim=model.decoder.head_dim,
        device=model.decoder.device,
        policy=policy,
    )
    session = Session(model, memory, policy, config.engine, config.source)
    session.stream_id = stream_id
    return session


def provenance_of(config: VStreamConfig, model: VideoLLM, policy: MemoryPolicy) -> str:
    """Describe what made the blocks of a stream."""
    window, *how = policy.provenance().split()
    dtype = str(model.decoder.dtype).removeprefix("torch.")
    made = f"{model.fingerprint} fps={model.sample_fps:g} {window}"
    return " ".join([made, f"max_side={config.source.max_side} {dtype}", *how])
