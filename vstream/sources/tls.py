"""TLS of a source: its address and the trusted certificates in, FFmpeg's options or the fault out.

FFmpeg takes any certificate unless it is told which to trust, and calls whatever goes wrong in a
handshake an input/output error. So a connection that failed is looked at again, with Python's TLS.
"""

import socket
import ssl
from urllib.parse import urlsplit

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress
from vstream.sources.config import SourceConfig

_PORTS = {"https": 443, "rtsps": 322}
_LOOK_S = 1.0


def tls_options(config: SourceConfig) -> dict[str, str]:
    """FFmpeg's options: whom to trust, if that is configured. They mean nothing without TLS."""
    if config.tls_ca_file is None:
        return {}
    return {"tls_verify": "1", "ca_file": config.tls_ca_file}


def tls_fault(address: SourceAddress, config: SourceConfig) -> SourceError | None:
    """What is wrong with the TLS of a server that FFmpeg could not connect to; None if it is fine,
    or without TLS.

    Connects, for seconds at most.
    """
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
        return None
    return None


def _shake_hands(server: tuple[str, int], context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(server, timeout=_LOOK_S) as plain,
        context.wrap_socket(plain, server_hostname=server[0]),
    ):
        return
