"""What can go wrong with a request to the service and is nobody's fault but its own."""

from vstream.errors import VStreamError


class UnknownStreamError(VStreamError):
    """There is no stream of that id, or this service does not watch it."""


class StreamExistsError(VStreamError):
    """The id of a new stream is in use."""


class UnknownWatchError(VStreamError):
    """There is no watch of that id."""
