"""made_by: which model made the blocks of a stream, that no other can read."""

from memory import FingerprintMismatchError, Provenance
from vstream.models.video_llm import VideoLLM


def require_made_by(model: VideoLLM, provenance: Provenance) -> None:
    """Raises FingerprintMismatchError if another model made the blocks of a stream."""
    made_by, wanted = provenance.fingerprint.split()[0], model.fingerprint
    if made_by != wanted:
        raise FingerprintMismatchError(
            f"the blocks of this stream were made by {made_by}, the model here is {wanted}: "
            "give the model that made them"
        )
