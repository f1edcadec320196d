"""fetch_media: fetches what lies at addresses that a request names, within bounds.

The addresses come from a caller, so they may reach no more than a source named in the API: public
hosts unless others are allowed, at the address that was checked, and no file. Redirections are not
followed. Nothing is unpacked on the way, so that what is read is what was sent.
"""

import asyncio
import base64
import re
from collections.abc import Sequence

import httpx

from vstream.errors import SourceError
from vstream.service.pinned_transport import PinnedTransport
from vstream.sources.network_address import AllowPrivate, ForbiddenAddressError

IS_MEDIA = re.compile(r"(data|https?|file):", re.IGNORECASE)
"""How the address of a picture or clip begins, unlike that of a stream."""
_DATA = re.compile(r"data:[\w.+-]*/?[\w.+-]*(;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)
_MOST_HEAD = 256
_HEADERS = {"Accept-Encoding": "identity"}
NamedUrl = tuple[str, str]
"""Its name in messages, and its address."""


async def fetch_media(
    urls: Sequence[NamedUrl], allow_private: AllowPrivate, most_bytes: int, within_s: float
) -> list[bytes]:
    """Return what is there, fetching at most `most_bytes` in all. Raises SourceError (SOURCE_...,
    STREAM_...), whose messages have the names and no addresses.
    """
    found: list[bytes] = []
    left = most_bytes
    transport = PinnedTransport(allow_private)
    try:
        async with (
            asyncio.timeout(within_s),
            httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client,
        ):
            for name, url in urls:
                if url[:5].lower() == "data:":
                    found.append(await asyncio.to_thread(_decoded, name, url))
                    continue
                found.append(await _fetched(client, name, url, left))
                left -= len(found[-1])
    except TimeoutError:
        raise SourceError(
            f"{name}: fetching: it took longer than {within_s:g} s; send it as data:, or raise "
            "service.request_fetch_s",
            "STREAM_TIMEOUT",
        ) from None
    return found


def _decoded(name: str, url: str) -> bytes:
    start = _DATA.match(url, 0, _MOST_HEAD)
    try:
        if start is None:
            raise ValueError("no base64")
        return base64.b64decode(url[start.end() :], validate=True)
    except ValueError:
        raise SourceError(
            f"{name}: reading: this is no data:TYPE;base64,...; encode it whole, without line "
            "breaks",
            "SOURCE_UNSUPPORTED",
        ) from None


async def _fetched(client: httpx.AsyncClient, name: str, url: str, most_bytes: int) -> bytes:
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise SourceError(
            f"{name}: permission: only http(s):// and data: are read from a request; name a file "
            "as a stream, with POST /v1/streams",
            "SOURCE_FORBIDDEN",
        )
    try:
        return await _body(client, name, url, most_bytes)
    except ForbiddenAddressError as error:
        why, code = f"permission: {error}; allow_private opens it", "SOURCE_FORBIDDEN"
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError, OSError) as error:
        why, code = f"fetching: {type(error).__name__}; check the address", "STREAM_NOT_FOUND"
    raise SourceError(f"{name}: {why}", code)


async def _body(client: httpx.AsyncClient, name: str, url: str, most_bytes: int) -> bytes:
    found = bytearray()
    async with client.stream("GET", url, headers=_HEADERS) as response:
        if not response.is_success:
            moved = "; redirections are not followed" if response.is_redirect else ""
            why = f"fetching: the server said {response.status_code}{moved}"
            raise SourceError(f"{name}: {why}", "STREAM_NOT_FOUND")
        async for piece in response.aiter_raw():
            found += piece
            if len(found) > most_bytes:
                raise SourceError(
                    f"{name}: fetching: it is too large; send less than {most_bytes} bytes, or "
                    "raise service.request_bytes",
                    "SOURCE_TOO_LARGE",
                )
    return bytes(found)
