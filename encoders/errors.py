"""What can go wrong between a frame and its visual tokens."""


class EncoderError(Exception):
    """Base of the errors that the encoders raise for a caller to handle."""


class UnsupportedModelError(EncoderError):
    """The checkpoint is not of a family that vstream knows, or lacks a part that it needs."""
