"""Network addresses: look up a host's addresses, and refuse private ones.

The one rule for every address that comes from a caller of the API and not from the operator: where
a stream is read from (`vstream/sources/permission.py`) and where a webhook is sent
(`vstream/service/webhook.py`). Public is what IANA lists as globally reachable unicast; an IPv6
address that carries an IPv4 one (mapped, 6to4, NAT64) is judged by what it carries.
"""

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
AllowPrivate = bool | tuple[Network, ...]
"""True: any address. False: public ones only. Networks: public ones and those in the networks."""
Resolver = Callable[[str, int], tuple[str, ...]]

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """A host has an address that may not be reached. Names the host, not the address."""


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return all addresses of `host` as the system finds them, so that 127.1 or 0x7f000001 counts
    as what it is. Waits for the resolver. Raises OSError if there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def permitted_addresses(
    host: str, port: int, allow_private: AllowPrivate, resolver: Resolver = resolve
) -> tuple[str, ...]:
    """Look up `host`. Raises ForbiddenAddressError if any address is not allowed, else OSError."""
    try:
        addresses = resolver(host, port)
    except UnicodeError:  # a label that is empty or too long for a name
        raise OSError(f"{host} is not the name of a host") from None
    if not all(is_permitted(address, allow_private) for address in addresses):
        raise ForbiddenAddressError(f"{host} lies in a private or reserved network")
    return addresses


def is_permitted(address: str, allow_private: AllowPrivate) -> bool:
    """Whether `address` is public, or in an allowed network."""
    if allow_private is True:
        return True
    carried = _carried(ip_address(address.split("%")[0]))
    if allow_private and any(carried in network for network in allow_private):
        return True
    return _is_public(carried)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address to listen on, is reachable from this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return _carried(ip_address(host.strip("[]").split("%")[0])).is_loopback
    except ValueError:
        return False


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
