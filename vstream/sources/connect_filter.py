"""only_permitted: holds all connections of a process to permitted addresses, in the kernel.

FFmpeg looks a name up again after it was checked, and goes wherever an RTSP server redirects it; it
has no option against either. So a process that decodes what callers name installs a seccomp filter.
Each `connect`, and each datagram with an address, then waits until a thread of this process has
looked at the address and lets the call go on or fail with EACCES. Needs Linux 5.5, on x86-64 or
arm64, and no privileges.
"""

import ctypes
import errno
import fcntl
import platform
import re
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from vstream.sources.network_address import AllowPrivate, is_permitted

_CALLS = {"x86_64": (0xC000003E, 317, 42, 44), "aarch64": (0xC00000B7, 277, 203, 206)}
"""Of a machine: its audit number, and the numbers of seccomp, connect and sendto."""
_NO_NEW_PRIVILEGES = 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_ALLOW, _ASK = 0x7FFF0000, 0x7FC00000
_LOAD, _EQUALS, _RETURN = 0x20, 0x15, 0x06  # of a word of the call, a jump, an end
_CALL, _ARCH, _LENGTH = 0, 4, 56  # where the words lie; the length is sendto's sixth argument
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_GO_ON = 1
_NAMESERVER = re.compile(r"(?m)^\s*nameserver\s+(\S+)")
_DNS = 53
log = structlog.get_logger()


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def only_permitted(allow_private: AllowPrivate) -> None:
    """Hold the calling thread, and those that it starts, to what `is_permitted` and the system's
    name servers. Logs a warning where the system cannot do that.
    """
    if allow_private is True:
        return
    try:
        listener, connect = _installed()
    except OSError as error:
        log.warning("redirections of RTSP servers are not checked", reason=str(error))
        return
    given = listener, connect, allow_private, _name_servers()
    threading.Thread(target=_watch, args=given, name="permit", daemon=True).start()


def _installed() -> tuple[int, int]:
    """Return a descriptor on which the kernel asks, and the number of `connect`."""
    if platform.machine() not in _CALLS:
        raise OSError(errno.ENOSYS, "not on this machine's processor")
    arch, seccomp, connect, sendto = _CALLS[platform.machine()]
    steps = (
        (_LOAD, 0, 0, _ARCH),
        (_EQUALS, 0, 5, arch),
        (_LOAD, 0, 0, _CALL),
        (_EQUALS, 4, 0, connect),
        (_EQUALS, 0, 2, sendto),
        (_LOAD, 0, 0, _LENGTH),
        (_EQUALS, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ASK),
    )
    program = _Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        listener = libc.syscall(seccomp, _SET_FILTER, _NEW_LISTENER, ctypes.byref(program))
        if listener >= 0:
            return listener, connect
    raise OSError(ctypes.get_errno(), "seccomp: no filter")


def _watch(
    listener: int, connect: int, allow_private: AllowPrivate, name_servers: frozenset[str]
) -> None:
    """Answer each call that waits."""
    while True:
        notice = bytearray(80)
        with suppress(OSError):  # the one who called is no longer there
            fcntl.ioctl(listener, _RECEIVE, notice)
            cookie, _, _, call, _, _, *given = struct.unpack("=QIIiIQ6Q", notice)
            where, length = given[1:3] if call == connect else given[4:6]
            address = ctypes.string_at(where, min(length, 28))
            may = _may_be_reached(address, allow_private, name_servers)
            answer = (0, _GO_ON) if may else (-errno.EACCES, 0)
            fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", cookie, 0, *answer))


def _may_be_reached(
    address: bytes, allow_private: AllowPrivate, name_servers: frozenset[str]
) -> bool:
    """Judge a `sockaddr`. Families other than the Internet's do not leave this machine."""
    family = int.from_bytes(address[:2], "little")
    if family == socket.AF_INET:
        host = socket.inet_ntop(family, address[4:8])
    elif family == socket.AF_INET6:
        host = socket.inet_ntop(family, address[8:24])
    else:
        return True
    port = int.from_bytes(address[2:4], "big")
    return is_permitted(host, allow_private) or (port == _DNS and host in name_servers)


def _name_servers() -> frozenset[str]:
    try:
        found = _NAMESERVER.findall(Path("/etc/resolv.conf").read_text())
    except OSError:
        found = []
    return frozenset(found or ["127.0.0.1"])  # as the C library does
