"""discover: finds the ONVIF cameras of a network, and the addresses of their streams.

A probe goes to the multicast group of WS-Discovery on every network of this machine, or to one
host. Anything may answer: a camera counts as being where its answer came from, whatever host the
answer names, and answers from beyond these networks count for nothing.
"""

import asyncio
import dataclasses
import ipaddress
import json
import shlex
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
from onveef import OnvifAuthError, OnvifCredentials
from onveef.urls import host_of
from onveef.wsdiscovery import (
    WS_DISCOVERY_ADDRESS,
    WS_DISCOVERY_PORT,
    build_probe,
    parse_probe_matches,
)

from app.onvif_streams import ASK_S, CameraStream, at_host, is_shallow, shown, streams_of
from app.terminal import Terminal
from vstream.errors import SettingsError

_PROBED = ("dn:NetworkVideoTransmitter", "tds:Device", "dn:NetworkVideoTransmitter")
"""The types to ask for, in turn, as datagrams get lost. Old cameras have the first alone."""
_MOST_CAMERAS, _AT_A_TIME = 256, 16


@dataclasses.dataclass(frozen=True)
class Camera:
    """What answered at `host`; `address` is its ONVIF service. `error` says why it has no streams,
    if it was asked for them.
    """

    name: str
    hardware: str
    host: str
    address: str
    streams: tuple[CameraStream, ...] = ()
    error: str | None = None


def show_cameras(
    terminal: Terminal,
    host: str | None,
    wait_s: float,
    login: OnvifCredentials | None,
    *,
    as_json: bool,
) -> None:
    """Print the cameras that answer, with `login` also their streams. Raises SettingsError for a
    `host` that cannot be.
    """
    with terminal.loading("looking for cameras"):
        cameras = found_cameras(host, wait_s)
        if login is not None:
            cameras = asyncio.run(_with_streams(cameras, login))
    if as_json:
        terminal.document(json.dumps([dataclasses.asdict(camera) for camera in cameras]))
        return
    for camera in cameras:
        terminal.document("  ".join(filter(None, (camera.name, camera.hardware, camera.address))))
        for one in camera.streams:
            size = f"{one.width}x{one.height}" if one.width and one.height else None
            notes = filter(None, (one.profile, size, one.encoding))
            terminal.document(f"  {shlex.quote(one.url)}  {', '.join(notes)}")
        if camera.error is not None:
            terminal.say(f"  {camera.host}: {camera.error}")
    if not cameras:
        terminal.say(f"no camera answered within {wait_s:g} s")
    elif login is None:
        terminal.say("with --user, this also lists the addresses of their streams")


def found_cameras(host: str | None, wait_s: float) -> list[Camera]:
    """Probe the networks for `wait_s`, or HOST[:PORT] alone until it answers."""
    found: dict[str, Camera] = {}
    for answer, sender in _answers(host, wait_s):
        for device in parse_probe_matches(answer) if is_shallow(answer) else ():
            named = sorted(device.xaddrs, key=lambda one: host_of(one) != sender)
            usable = (at_host(one, sender, ("http", "https")) for one in named)
            address = next(filter(None, usable), None)
            if address is not None and len(found) < _MOST_CAMERAS:
                name, hardware = shown(device.name), shown(device.hardware)
                found[address] = Camera(name, hardware, sender, address)
        if host is not None and found:
            break
    return sorted(found.values(), key=lambda camera: (camera.name, camera.address))


def _answers(host: str | None, wait_s: float) -> Iterator[tuple[str, str]]:
    """Yield what answers the probes, and from where."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probing:
        here = _interfaces()
        if host is not None:
            _connect(probing, host)
        began = time.monotonic()
        for number, types in enumerate(_PROBED, start=1):
            probe = build_probe(message_id=f"urn:uuid:{uuid.uuid4()}", types=types).encode()
            if host is None:
                _send_everywhere(probing, here, probe)
            else:
                with suppress(OSError):  # the report that nobody listens there
                    probing.send(probe)
            until = began + wait_s * number / len(_PROBED)
            while (left_s := until - time.monotonic()) > 0:
                probing.settimeout(left_s)
                try:
                    answer, (sender, _) = probing.recvfrom(1 << 16)
                except OSError:
                    continue
                if host is not None or any(_lies_in(sender, one) for one in here):
                    yield answer.decode("utf-8", "replace"), sender


def _connect(probing: socket.socket, host: str) -> None:
    """Connect it, so that it hears this host alone. Raises SettingsError."""
    try:
        parts = urlsplit(f"//{host}")
        if parts.hostname is None:
            raise ValueError("no host")
        probing.connect((parts.hostname, parts.port or WS_DISCOVERY_PORT))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{host}: {error}; give a camera's name or IPv4 address") from None


def _interfaces() -> list[ipaddress.IPv4Interface]:
    return [
        ipaddress.IPv4Interface(f"{one.address}/{one.netmask or 32}")
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family is socket.AF_INET
    ]


def _lies_in(sender: str, interface: ipaddress.IPv4Interface) -> bool:
    return ipaddress.IPv4Address(sender) in interface.network


def _send_everywhere(
    probing: socket.socket, interfaces: list[ipaddress.IPv4Interface], probe: bytes
) -> None:
    for one in interfaces:
        with suppress(OSError):  # it is down, or takes no multicast
            probing.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, one.ip.packed)
            probing.sendto(probe, (WS_DISCOVERY_ADDRESS, WS_DISCOVERY_PORT))


async def _with_streams(cameras: list[Camera], login: OnvifCredentials) -> list[Camera]:
    at_a_time = asyncio.Semaphore(_AT_A_TIME)

    async def asked(camera: Camera) -> Camera:
        try:
            async with at_a_time:
                streams = await streams_of(camera.address, camera.host, login)
            error = None if streams else "it names no streams"
            return dataclasses.replace(camera, streams=tuple(streams), error=error)
        except OnvifAuthError:
            why = "it refused the user or the password"
        except TimeoutError:
            why = f"no answer within {ASK_S:g} s"
        except Exception as error:  # noqa: BLE001  what one camera answers must not hide the others
            why = shown(str(error), most=200) or type(error).__name__
        return dataclasses.replace(camera, error=why)

    return list(await asyncio.gather(*map(asked, cameras)))
