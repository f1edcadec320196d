"""InGoogleStorage: streams in a bucket of Google Cloud Storage, `gs://BUCKET/PREFIX`."""

from memory.tiers.object import InObjects


class InGoogleStorage(InObjects):
    """Obstore handles the scheme."""

    name = "gs"
