"""Network addresses: which are public, whichever way they are written."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstream.sources.network_address import (
    ForbiddenAddressError,
    is_loopback,
    is_permitted,
    permitted_addresses,
)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_permitted(address):
    assert is_permitted(address, False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_all_others_are_not(address):
    assert not is_permitted(address, False)
    assert is_permitted(address, True)


def test_a_public_address_behind_nat64_is_public():
    assert is_permitted("64:ff9b::8.8.8.8", False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_whatever_carries_it(address):
    plain = is_permitted(str(address), False)
    assert is_permitted(f"::ffff:{address}", False) == plain
    assert is_permitted(f"64:ff9b::{address}", False) == plain
    assert is_permitted(str(IPv6Address(0x2002 << 112 | int(address) << 80)), False) == plain


@given(st.ip_addresses())
def test_what_is_permitted_is_global(address):
    if is_permitted(str(address), False):
        inner = address
        if address.version == 6:  # one that is made from an IPv4 address is where that is
            inner = address.ipv4_mapped or address.sixtofour or address
        special = ("is_private", "is_loopback", "is_link_local", "is_multicast", "is_unspecified")
        assert not [name for name in special if getattr(inner, name)]


def test_a_network_opens_itself_only():
    allowed = (ip_network("192.168.0.0/16"), ip_network("fd00::/8"))
    assert is_permitted("192.168.4.5", allowed)
    assert is_permitted("::ffff:192.168.4.5", allowed)
    assert is_permitted("fd00::5", allowed)
    assert is_permitted("8.8.8.8", allowed)
    assert not is_permitted("10.0.0.1", allowed)
    assert not is_permitted("127.0.0.1", allowed)


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(ForbiddenAddressError, match=r"mixed\.example"):
        permitted_addresses("mixed.example", 80, False, lambda *_: ("8.8.8.8", "10.0.0.1"))


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost"])
def test_other_ways_of_writing_loopback_resolve_to_it(host):
    with pytest.raises(ForbiddenAddressError):
        permitted_addresses(host, 80, False)
    assert all(ip_address(found).is_loopback for found in permitted_addresses(host, 80, True))


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b"])
def test_what_cannot_be_a_name_is_not_found(host):
    with pytest.raises(OSError):  # noqa: PT011 as the resolver raises it, without a fixed message
        permitted_addresses(host, 80, False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("localhost.example.com", False),
    ],
)
def test_where_a_server_is_reached_from(host, local):
    assert is_loopback(host) is local
