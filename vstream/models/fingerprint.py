"""The fingerprint of a checkpoint: blocks made with other weights must never be read as its own."""

import hashlib
from pathlib import Path

_SAMPLE_BYTES = 1 << 16
_NUM_SAMPLES = 64
_SMALL_FILES = {".json", ".jinja", ".txt", ".model"}


def checkpoint_fingerprint(directory: Path) -> str:
    """16 hex digits over the small files and samples of every weight file in `directory`.

    Configuration, tokenizer, chat template and preprocessing count, for they change what is kept.
    Of each safetensors file the header and 64 evenly spread samples of 64 kB are read, not the
    whole: a checkpoint of 15 GB takes milliseconds. A change outside all samples goes unnoticed.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in _SMALL_FILES:
            digest.update(f"{path.name} ".encode() + path.read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for i in range(_NUM_SAMPLES):
                file.seek(size * i // _NUM_SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
