"""InS3: streams in a bucket of S3, or of a server that speaks it, `s3://BUCKET/PREFIX`."""

from memory.tiers.object import InObjects


class InS3(InObjects):
    """Obstore does the rest."""

    name = "s3"
