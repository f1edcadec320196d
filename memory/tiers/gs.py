"""InGoogleStorage: streams in a bucket of Google Cloud Storage, `gs://BUCKET/PREFIX`."""

from memory.tiers.object import InObjects


class InGoogleStorage(InObjects):
    """Obstore does the rest."""

    name = "gs"
