"""What a user of vstream may have to handle.

VStreamError
├── SourceError          a file, camera or stream cannot be read; `code` names the kind
├── ModelError           a checkpoint cannot be loaded or is refused
├── QuestionError        a question cannot be asked as it stands
├── BusyError            too much is asked at once; it may be asked again
└── SettingsError        a setting or option does not make sense

The errors of the lower packages (encoders.EncoderError, memory.KVMemoryError) pass unchanged.
Every message names the thing, the stage and the fix.
"""


class VStreamError(Exception):
    """Base of the errors that vstream raises for a caller to handle."""


class SourceError(VStreamError):
    """A source cannot be opened or read. `code` is stable, as `STREAM_AUTH_FAILED`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class ModelError(VStreamError):
    """A checkpoint cannot be found, loaded, or driven exactly."""


class QuestionError(VStreamError):
    """A question is empty, too long, or asked before there is anything to see."""


class BusyError(VStreamError):
    """The queue of waiting questions is full."""


class SettingsError(VStreamError):
    """A setting is unknown or out of bounds."""
