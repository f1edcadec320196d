"""TLS against real listeners: what is trusted, and what is said of what is not."""

import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest

from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source, probe_source

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes certificates")
CONFIG = SourceConfig(connect_timeout_s=5, retry_min_s=0.1)


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A certificate of 127.0.0.1 that signed itself, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def make_certificate(folder, address):
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    names = ["-subj", "/CN=camera", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def listener(signed):
    """The port of a server that answers 404 to RTSP and HTTP, over TLS unless `signed` is None."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                peer = self.request
                if signed is not None:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(*signed)
                    peer = context.wrap_socket(peer, server_side=True)
                with peer:
                    request = peer.recv(4096)
                    if b"RTSP" in request:
                        peer.sendall(b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n")
                    else:
                        peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            except OSError:
                return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def codes(url, config):
    """What both ways of connecting say."""
    with pytest.raises(SourceError) as watched, open_source(url, config) as source:
        list(source)
    with pytest.raises(SourceError) as probed:
        probe_source(url, config)
    assert "hunter2" not in str(watched.value) + str(probed.value)
    assert watched.value.code == probed.value.code
    return watched.value.code


@pytest.mark.parametrize("scheme", ["rtsps", "https"])
def test_certificates_are_checked_only_when_it_is_said_against_what(scheme, signed, tmp_path):
    config = CONFIG.model_copy(update={"tls_ca_file": str(signed[0])})
    other = CONFIG.model_copy(
        update={"tls_ca_file": str(make_certificate(tmp_path, "127.0.0.1")[0])}
    )
    with listener(signed) as port:
        url = f"{scheme}://admin:hunter2@127.0.0.1:{port}/live"
        assert codes(url, CONFIG) == "STREAM_NOT_FOUND"  # encrypted, whoever it is
        assert codes(url, config) == "STREAM_NOT_FOUND"  # trusted
        assert codes(url, other) == "STREAM_TLS_CERTIFICATE"


def test_a_certificate_of_another_host_is_refused(tmp_path):
    signed = make_certificate(tmp_path, "127.0.0.2")
    config = CONFIG.model_copy(update={"tls_ca_file": str(signed[0])})
    with listener(signed) as port:
        assert codes(f"rtsps://127.0.0.1:{port}/live", config) == "STREAM_TLS_CERTIFICATE"


def test_a_list_of_certificates_that_is_none_is_said(tmp_path, signed):
    (tmp_path / "text.pem").write_text("hello")
    with listener(signed) as port:
        for name in ("missing.pem", "text.pem"):
            config = CONFIG.model_copy(update={"tls_ca_file": str(tmp_path / name)})
            with pytest.raises(SourceError, match=name) as caught:
                probe_source(f"rtsps://127.0.0.1:{port}/live", config)
            assert caught.value.code == "STREAM_TLS_CERTIFICATE"


@pytest.mark.parametrize("scheme", ["rtsps", "https"])
def test_a_port_without_tls_is_told_apart(scheme):
    with listener(None) as port:
        assert codes(f"{scheme}://a:hunter2@127.0.0.1:{port}/live", CONFIG) == (
            "STREAM_TLS_HANDSHAKE"
        )


def test_a_port_where_nothing_listens_is_no_matter_of_tls():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"rtsps://127.0.0.1:{unused.getsockname()[1]}/live"
        config = CONFIG.model_copy(update={"connect_timeout_s": 0.5})
        assert codes(url, config) == "STREAM_CONNECTION_FAILED"
