"""PinnedTransport: sends the requests of an httpx client to addresses that were checked."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx

from vstream.sources.network_address import AllowPrivate, Resolver, permitted_addresses, resolve

_MAX_LOOKUPS = 4  # threads that wait for the resolver
_MAX_ADDRESSES = 3  # tried per host


class PinnedTransport(httpx.AsyncBaseTransport):
    """Connects to addresses that were checked before, for an httpx.AsyncClient.

    The host is looked up once; the addresses are checked and one of them is connected to. So a name
    that changes between check and connection (DNS rebinding) changes nothing. `Host`, SNI and the
    certificate still go by the name. Keeps no connection open. Raises ForbiddenAddressError.
    """

    def __init__(self, allow_private: AllowPrivate, resolver: Resolver = resolve) -> None:
        self._allow_private = allow_private
        self._resolver = resolver
        # A kept connection belongs to an address; another name there must not get it.
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        self._lookups = ThreadPoolExecutor(_MAX_LOOKUPS, thread_name_prefix="host")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send `request` to the first address of its host that takes the connection."""
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        failure: httpx.TransportError | None = None
        for address in (await self._addresses(request, host, port))[:_MAX_ADDRESSES]:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # with Host, which httpx took from the name
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or httpx.ConnectError(f"no address for {host}", request=request)

    async def aclose(self) -> None:
        """Close what is open. Does not wait for a resolver that hangs."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        await self._inner.aclose()

    async def _addresses(self, request: httpx.Request, host: str, port: int) -> tuple[str, ...]:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._lookups,
                lambda: permitted_addresses(host, port, self._allow_private, self._resolver),
            )
        except OSError:
            raise httpx.ConnectError(f"no address for {host}", request=request) from None
