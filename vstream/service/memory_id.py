"""memory_id: a stream and a model in, the id out under which the store keeps what it saw of it.

No model can read what another has remembered, and nothing is deleted for a new one: a stream's
memory lies under the stream's own id as long as one model watches it; what another model sees of it
lies beside, as an ordinary stream whose id ends in `.model-` and a hash of that model.
"""

import hashlib
import re

from memory import StreamMake, find_stream, stored_ids
from vstream.models.video_llm import VideoLLM

LONGEST_ID = 100
"""Of a stream that a service watches: the store's own bound leaves room for what is added."""
_BESIDE = re.compile(r"(.+)\.model-[0-9a-f]{12}")


def memory_id(store: str, stream_id: str, model: VideoLLM) -> str:
    """Where this model's memory of the stream lies or is to begin. Raises StoreError."""
    if len(stream_id) > LONGEST_ID:  # of no stream of a service
        return stream_id
    made_by = f"{model.fingerprint} {_dtype(model)}"
    beside = f"{stream_id}.model-{hashlib.sha256(made_by.encode()).hexdigest()[:12]}"
    if find_stream(store, beside) is not None:
        return beside
    found = find_stream(store, stream_id)
    return stream_id if found is None or _is_made_by(model, found.make) else beside


def memory_ids(store: str, stream_id: str) -> list[str]:
    """Where memories of the stream lie, whichever models made them. Raises StoreError."""
    return [kept for kept in stored_ids(store) if stream_of(kept) == stream_id]


def stream_of(kept: str) -> str:
    """The stream whose memory lies under the id `kept`."""
    beside = _BESIDE.fullmatch(kept)
    return kept if beside is None else beside[1]


def _is_made_by(model: VideoLLM, make: StreamMake) -> bool:
    """Whether it has these weights in this dtype; of other settings the store has its say."""
    words = make.fingerprint.split()
    return words[0] == model.fingerprint and _dtype(model) in words


def _dtype(model: VideoLLM) -> str:
    return str(model.decoder.dtype).removeprefix("torch.")
