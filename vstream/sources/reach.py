"""reach_source: raises a SourceError at once if an address cannot be read.

Otherwise one would hear of it only after the model has loaded, a minute later.
"""

import time

from av.error import FFmpegError

from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.decode_interrupt import interruptible
from vstream.sources.file_stream import FileStream
from vstream.sources.opening import open_container
from vstream.sources.tls import connection_error

_PATIENCE_S = 2.0


def reach_source(url: str, config: SourceConfig) -> float | None:
    """Return its length in seconds, if known; wait two seconds for a camera. Raises SourceError."""
    address = parse_address(url)
    if address.kind is SourceKind.FILE:
        with FileStream(
            address, config, start_s=0.0, wants=lambda stream_s: False, speed="max"
        ) as file:
            return file.length_s
    give_up_at = time.monotonic() + _PATIENCE_S
    attempts = 2 if address.kind is SourceKind.RTSP and config.transport == "auto" else 1
    for attempt in range(1, attempts + 1):
        try:
            with (
                interruptible(lambda: time.monotonic() >= give_up_at),
                open_container(address, config, attempt),
            ):
                return None
        except FFmpegError as error:
            if time.monotonic() >= give_up_at:
                return None
            if attempt == attempts:
                raise connection_error(error, address, config, lambda: None) from None
    return None
