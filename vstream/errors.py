"""Errors that a user of vstream may have to handle.

The errors of the lower packages (encoders.EncoderError, memory.KVMemoryError) pass unchanged. Every
message names the thing, the stage and the fix.
"""


class VStreamError(Exception):
    """Base of the errors that vstream raises for a caller to handle."""


class SourceError(VStreamError):
    """A source cannot be opened or read. `code` is stable, for example `STREAM_AUTH_FAILED`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelError(VStreamError):
    """A checkpoint cannot be found, loaded, or driven exactly."""


class QuestionError(VStreamError):
    """A question is empty, too long, or asked before there is anything to see."""


class BusyError(VStreamError):
    """Too much is asked at once; try again later."""


class SettingsError(VStreamError):
    """A setting is unknown or out of bounds."""


class UnknownStreamError(VStreamError):
    """This service has no stream with that id."""


class StreamExistsError(VStreamError):
    """The id of a new stream is in use."""


class UnknownAlertError(VStreamError):
    """There is no alert of that id."""


class ConfiguredError(VStreamError):
    """It stands in a configuration that several services follow: one of them cannot change it."""
