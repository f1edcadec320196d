"""connection_error: says why FFmpeg could not connect, also if the server's TLS is at fault.

FFmpeg takes any certificate unless it is told which to trust, and calls any fault in a handshake an
input/output error. So a connection that failed is looked at again, with Python's TLS.
"""

import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from av.error import FFmpegError
from av.error import OSError as InputOutputError

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress
from vstream.sources.config import SourceConfig
from vstream.sources.errors import stream_error

_PORTS = {"https": 443, "rtsps": 322}
_LOOK_S = 1.0


def connection_error(
    error: FFmpegError, address: SourceAddress, config: SourceConfig, permit: Callable[[], None]
) -> SourceError:
    """Return what went wrong; may look at the server again, unless `permit` raises SourceError."""
    fault = None
    if type(error) is InputOutputError:  # not a subclass: it may have any cause
        try:
            permit()
            fault = _tls_fault(address, config)
        except SourceError as refusal:
            fault = refusal
    return fault or stream_error(error, address.name, "connecting")


def _tls_fault(address: SourceAddress, config: SourceConfig) -> SourceError | None:
    parts = urlsplit(address.target)
    if parts.scheme not in _PORTS or parts.hostname is None:
        return None
    try:
        trusting = ssl.create_default_context(cafile=config.tls_ca_file)
    except OSError as error:
        return SourceError(
            f"{address.name}: connecting: reading tls_ca_file {config.tls_ca_file}: {error}; give "
            "a file of certificates as PEM",
            "STREAM_TLS_CERTIFICATE",
        )
    believing = ssl.create_default_context()
    believing.check_hostname, believing.verify_mode = False, ssl.CERT_NONE
    server = (parts.hostname, parts.port or _PORTS[parts.scheme])
    try:
        _shake_hands(server, believing)
        if config.tls_ca_file is not None:
            _shake_hands(server, trusting)
    except ssl.SSLCertVerificationError as error:
        return SourceError(
            f"{address.name}: connecting: its certificate is not trusted, {error.verify_message}; "
            "check the host name, and that tls_ca_file holds what it was signed with",
            "STREAM_TLS_CERTIFICATE",
        )
    except ssl.SSLError as error:
        return SourceError(
            f"{address.name}: connecting: no TLS connection comes about, {error.reason}; check "
            "that the port is the one for TLS, or leave out the s of the address",
            "STREAM_TLS_HANDSHAKE",
        )
    except OSError:
        pass
    return None


def _shake_hands(server: tuple[str, int], context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(server, timeout=_LOOK_S) as plain,
        context.wrap_socket(plain, server_hostname=server[0]),
    ):
        return
