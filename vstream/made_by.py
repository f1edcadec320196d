"""made_by: refuses a stream whose blocks another model made, as no other can read them."""

from memory import FingerprintMismatchError, Provenance
from vstream.models.video_llm import VideoLLM


def require_made_by(model: VideoLLM, provenance: Provenance) -> None:
    """Raise FingerprintMismatchError if another model made the blocks of a stream."""
    made_by, wanted = provenance.fingerprint.split()[0], model.fingerprint
    if made_by != wanted:
        raise FingerprintMismatchError(
            f"the blocks of this stream were made by {made_by}, the model here is {wanted}: "
            "give the model that made them"
        )
