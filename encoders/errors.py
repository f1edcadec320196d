"""The errors of encoding frames."""


class EncoderError(Exception):
    """Base of the errors that the encoders raise for callers to handle."""


class UnsupportedModelError(EncoderError):
    """The checkpoint belongs to no family that vstream knows, or lacks a part it needs."""
