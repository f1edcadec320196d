"""InS3: streams in a bucket of S3 or of a compatible server, `s3://BUCKET/PREFIX`."""

from memory.tiers.object import InObjects


class InS3(InObjects):
    """Obstore handles the scheme."""

    name = "s3"
