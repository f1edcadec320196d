"""open_session: a configuration, a model and a stream's name in, a Session over its memory out."""

from memory import open_memory
from vstream.config import VStreamConfig
from vstream.engine import decide
from vstream.models.video_llm import VideoLLM
from vstream.session import Session


def open_session(config: VStreamConfig, model: VideoLLM, stream_id: str) -> Session:
    """Open or reopen the memory of `stream_id` in the configured store.

    Stored blocks fit only the weights, sampling rate, window, picture size, dtype and dropping of
    tokens that made them; others are refused with memory.FingerprintMismatchError.
    """
    settings = decide(config.engine, model.family.recommended, model.family.frames_per_block)
    window = settings.rekv_window_tokens or f"{settings.window_blocks}/{settings.stride_blocks}"
    dropping = ""
    if settings.drop_similarity is not None:
        dropping = f" drop={settings.drop_similarity:g}/{settings.recent_blocks}"
    memory = open_memory(
        config.memory,
        stream_id=stream_id,
        fingerprint=(
            f"{model.fingerprint} fps={model.sample_fps:g} window={window} "
            f"max_side={config.source.max_side} {str(model.decoder.dtype).removeprefix('torch.')}"
            f"{dropping}"
        ),
        layers=model.decoder.num_layers,
        kv_heads=model.decoder.kv_heads,
        head_dim=model.decoder.head_dim,
        device=model.decoder.device,
        keep_newest=settings.window_blocks + settings.recent_blocks,
    )
    return Session(model, memory, config.engine)
