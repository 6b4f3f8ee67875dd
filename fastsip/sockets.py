"""Where sockets come from: bound here, or adopted from a parent that has them already."""

from __future__ import annotations

import errno
import os
import socket
import struct

BUFFER = 8 * 1024 * 1024
"""Bytes asked for in each direction: some 6,500 datagrams. The kernel's usual 208 KiB hold 166."""

_IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_ADVICE = {
    errno.EADDRINUSE: "another program (or another fastsip) has it",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE",
}


BACKLOG = 4096
"""Connections the kernel may hold until a worker takes them, as far as net.core.somaxconn allows."""


def _name(host: str, port: int, transport: str = "udp") -> str:
    return f"{transport}:[{host}]:{port}" if ":" in host else f"{transport}:{host}:{port}"


def _fail(error: OSError, host: str, port: int, transport: str = "udp") -> OSError:
    advice = _ADVICE.get(error.errno or 0)
    text = f"cannot listen on {_name(host, port, transport)}: {error.strerror or error}"
    return OSError(error.errno, f"{text}; {advice}" if advice else text)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Family and socket address of a numeric host, brackets and zone allowed. Raises OSError for a name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        if not 0 <= port <= 65535:
            raise OverflowError
        found = socket.getaddrinfo(
            bare, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV | socket.AI_PASSIVE
        )
    except (socket.gaierror, OverflowError):
        text = f"cannot listen on {_name(bare, port)}: not an IP address and a port of 0 to 65535"
        raise OSError(errno.EINVAL, text) from None
    family, _kind, _protocol, _canonical, address = found[0]
    return family, address


def _enlarge(sock: socket.socket, forced: int, plain: int) -> None:
    """Ask for BUFFER bytes: past the system's limit where we may, up to it where not."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, forced, BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, plain, BUFFER)


def _configure(sock: socket.socket) -> None:
    """What every UDP socket needs and a socket keeps however often it is handed on."""
    sock.setblocking(False)
    _enlarge(sock, _SO_RCVBUFFORCE, socket.SO_RCVBUF)
    _enlarge(sock, _SO_SNDBUFFORCE, socket.SO_SNDBUF)
    host = sock.getsockname()[0]
    if sock.family == socket.AF_INET and host == "0.0.0.0":
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    elif sock.family == socket.AF_INET6 and host == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def bind_udp(host: str, port: int, reuseport: bool = True) -> socket.socket:
    """Return a bound, non-blocking UDP socket with large buffers; on a wildcard address it tells where each datagram
    was sent to.

    With `reuseport` any number of sockets of the same user may bind the same address, and the kernel shares datagrams
    out among them: also with a second server started by mistake, so use `bind_udp_group` for the first of a group.
    IPv6 sockets do not take IPv4. Port 0 lets the kernel choose.

    Raises OSError, with a text for the operator, if the address cannot be had.
    """
    family, address = _resolve(host, port)
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _fail(error, host, port) from None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        _configure(sock)
    except OSError as error:
        sock.close()
        raise _fail(error, host, port) from None
    return sock


def bind_stream(host: str, port: int, reuseport: bool = True, transport: str = "tcp") -> socket.socket:
    """Return a listening, non-blocking TCP socket. `transport` is what to call it where the address cannot be had.

    `reuseport` and errors as in `bind_udp`; the kernel shares connections out among the sockets of an address.
    """
    family, address = _resolve(host, port)
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise _fail(error, host, port, transport) from None
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a predecessor linger on the port
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _fail(error, host, port, transport) from None
    return sock


def bind_group(transport: str, host: str, port: int, count: int) -> list[socket.socket]:
    """Return `count` sockets on one address, one for each worker, in the order in which the kernel numbers them.

    Raises OSError if anybody else has the address, even with SO_REUSEPORT: two servers on one port would each get half
    of every call.
    """

    def bound(reuseport: bool) -> socket.socket:
        if transport == "udp":
            return bind_udp(host, port, reuseport)
        return bind_stream(host, port, reuseport, transport)

    bound(False).close()
    group: list[socket.socket] = []
    try:
        for _ in range(count):
            group.append(bound(True))
            port = group[0].getsockname()[1]
    except OSError:
        for sock in group:
            sock.close()
        raise
    return group


def bind_udp_group(host: str, port: int, count: int) -> list[socket.socket]:
    """`bind_group` of UDP."""
    return bind_group("udp", host, port, count)


def adopt(fd: int) -> socket.socket:
    """Take over a bound UDP socket that was inherited or passed, and give it what `bind_udp` gives.

    The descriptor belongs to the result. Raises OSError if it is anything else.
    """
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise OSError(error.errno, f"cannot adopt descriptor {fd}: {error.strerror}") from None
    if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        sock.detach()
        raise OSError(errno.EPROTOTYPE, f"cannot adopt descriptor {fd}: not a UDP socket")
    if sock.getsockname()[1] == 0:
        sock.detach()
        raise OSError(errno.EINVAL, f"cannot adopt descriptor {fd}: the socket is not bound")
    _configure(sock)
    return sock


def socket_drops(sock: socket.socket) -> int:
    """How many datagrams the kernel has dropped at this socket because its receive buffer was full (SO_MEMINFO)."""
    info = sock.getsockopt(socket.SOL_SOCKET, 55, 36)
    return int(struct.unpack("9I", info)[8])
