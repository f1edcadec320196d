"""TlsProxy: a service's port in, one on loopback out that speaks TLS, as a proxy in front does.

It passes on Host as it comes and says X-Forwarded-Proto, one request a connection.
"""

import asyncio
import re
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress


@contextmanager
def tls_proxy(port, folder):
    """Yields its port. The certificate is its own: clients must not ask who signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made_certificate(folder))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen():
        return await asyncio.start_server(_passing_on(port), "127.0.0.1", 0, ssl=context)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


def made_certificate(folder):
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key,
        "-out",
        certificate,
    ]
    subprocess.run([*made.split(), *files], check=True, capture_output=True)
    return certificate, key


def _passing_on(port):
    async def serve(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n")
            if b"\r\nupgrade:" not in head.lower():
                head = re.sub(rb"\r\nconnection:[^\r]*", b"", head, flags=re.IGNORECASE)
                head += b"Connection: close\r\n"
            to_service = await asyncio.open_connection("127.0.0.1", port)
            to_service[1].write(head + b"X-Forwarded-Proto: https\r\n\r\n")
            await asyncio.gather(_copy(reader, to_service[1]), _copy(to_service[0], writer))

    return serve


async def _copy(reader, writer):
    """Until one side ends; then the other hears so."""
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError):
        writer.close()
