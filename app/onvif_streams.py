"""streams_of: asks an ONVIF camera for its streams, and trusts nothing that it says.

Requests go only to the address that is asked, whatever host an answer names, and follow no
redirection. An answer is bounded in bytes, time and depth (the library's lookups are quadratic in
depth), is never unpacked, and its entities are not expanded. The camera gets a digest of the
password, never the password; anyone who hears a digest can try passwords on it. ONVIF Core and
Media Service Specification.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

import httpx
from onveef import AsyncOnvifClient, OnvifCredentials, OnvifEndpoint

from vstream.service.pinned_transport import PinnedTransport

ASK_S = 15.0
_MOST_BYTES, _MOST_DEPTH, _MOST_STREAMS = 1 << 20, 32, 64
_URL = re.compile(r"[!-~]{1,2000}")
_PASSWORD = re.compile(r"(?i)((?:pas|psw|pwd)\w*=)[^&#]*")


@dataclass(frozen=True)
class CameraStream:
    """What to give `vstream ingest`, with USER:PASSWORD@ before the host. A password that the
    camera itself put into the address is hidden.
    """

    url: str
    profile: str
    width: int | None
    height: int | None
    encoding: str | None


async def streams_of(address: str, host: str, login: OnvifCredentials) -> list[CameraStream]:
    """Ask the ONVIF service `address` on `host`, at most ASK_S. Raises TimeoutError,
    OnvifAuthError, and whatever else an answer makes the library raise.
    """
    found = []
    async with (
        asyncio.timeout(ASK_S),
        AsyncOnvifClient(
            endpoint=OnvifEndpoint(address),
            credentials=login,
            http_auth="digest",
            retries=0,
            transport=_OneHost(host),
        ) as camera,
    ):
        camera.set_endpoint(OnvifEndpoint(address, await camera.discover_services()))
        for profile in (await camera.get_profiles())[:_MOST_STREAMS]:
            uri = await camera.get_stream_uri(profile_token=profile["token"])
            url = at_host(uri, host, ("rtsp", "rtsps"))
            if url is not None:
                video = profile.get("video_encoder", {})
                encoding = shown(video.get("encoding", "")) or None
                size = video.get("width"), video.get("height")
                found.append(CameraStream(url, shown(profile["name"]), *size, encoding))
    return found


def at_host(url: str, host: str, schemes: tuple[str, ...]) -> str | None:
    """Return `url` as an address on `host`, without user and password; None if it is no address, or
    one of another scheme.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in schemes or not _URL.fullmatch(url):
        return None
    netloc = host if port is None else f"{host}:{port}"
    return _PASSWORD.sub(r"\1***", parts._replace(netloc=netloc, fragment="").geturl())


def is_shallow(xml: str) -> bool:
    """Return whether `xml` nests few elements, as far as it can be read."""
    parser = expat.ParserCreate()
    depth = 0

    def opened(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEPTH:
            raise RecursionError

    def closed(_: str) -> None:
        nonlocal depth
        depth -= 1

    def declared(*_: object) -> None:
        raise RecursionError  # an entity may hold elements

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.EntityDeclHandler = declared
    try:
        parser.Parse(xml, True)
    except RecursionError:
        return False
    except (expat.ExpatError, ValueError):  # no XML: the library says so
        return True
    return True


def shown(text: str, most: int = 80) -> str:
    """Return what of `text` may stand in a terminal."""
    return "".join(filter(str.isprintable, unquote(text)))[:most].strip()


class _OneHost(PinnedTransport):
    """Sends every request to `host`, and hands on answers that are harmless to parse."""

    def __init__(self, host: str) -> None:
        super().__init__(allow_private=True, resolver=lambda name, port: (host,))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        body = bytearray()
        try:
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise httpx.ReadError(f"more than {_MOST_BYTES} bytes", request=request)
        finally:
            await response.aclose()
        text = body.decode("utf-8", "replace")
        if not is_shallow(text):
            raise httpx.ReadError("no ONVIF device nests so deep", request=request)
        headers = {"Content-Type": "text/xml; charset=utf-8"}
        if (challenge := response.headers.get("WWW-Authenticate")) is not None:
            headers["WWW-Authenticate"] = challenge
        return httpx.Response(response.status_code, headers=headers, content=text.encode())
