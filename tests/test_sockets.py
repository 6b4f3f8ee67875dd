"""Where sockets come from: what they are set to, and what an operator reads when they cannot be had."""

import errno
import os
import socket

import pytest

from fastsip import sockets


def option(sock: socket.socket, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "0.0.0.0", "::"])
def test_a_bound_socket(host: str) -> None:
    with sockets.bind_udp(host, 0) as sock:
        assert sock.getsockname()[1] > 0
        assert sock.getblocking() is False
        assert sock.get_inheritable() is False
        assert option(sock, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
        if sock.family == socket.AF_INET6:
            assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        wildcard = host in {"0.0.0.0", "::"}
        if sock.family == socket.AF_INET6:
            assert option(sock, socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) == wildcard
        else:
            assert option(sock, socket.IPPROTO_IP, 8) == wildcard


def test_buffers_are_as_large_as_the_system_allows() -> None:
    with open("/proc/sys/net/core/rmem_max") as file:
        limit = int(file.read())
    with sockets.bind_udp("127.0.0.1", 0) as sock:
        assert option(sock, socket.SOL_SOCKET, socket.SO_RCVBUF) >= min(2 * limit, 2 * sockets.BUFFER)


def test_a_group_shares_one_port() -> None:
    group = sockets.bind_udp_group("127.0.0.1", 0, 3)
    assert len({sock.getsockname() for sock in group}) == 1
    for sock in group:
        sock.close()


def test_a_group_is_refused_where_anyone_listens() -> None:
    with sockets.bind_udp("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"udp:127.0.0.1:{port}: .* in use; another program") as caught:
            sockets.bind_udp_group("127.0.0.1", port, 2)
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("192.0.2.222", 5060, "udp:192.0.2.222:5060: .*; no interface of this machine"),
        ("example.com", 5060, "not an IP address"),
        ("127.0.0.1", 70000, "port of 0 to 65535"),
        ("::1", -1, r"udp:\[::1\]:-1"),
    ],
)
def test_mistakes_are_named(host: str, port: int, text: str) -> None:
    with pytest.raises(OSError, match=text):
        sockets.bind_udp(host, port)


def test_an_inherited_socket_is_adopted() -> None:
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.bind(("0.0.0.0", 0))
    address = plain.getsockname()
    with sockets.adopt(plain.detach()) as sock:
        assert sock.getsockname() == address
        assert option(sock, socket.IPPROTO_IP, 8) == 1


def test_only_bound_udp_sockets_are_adopted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, pytest.raises(OSError, match="not a UDP socket"):
        sockets.adopt(stream.fileno())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound, pytest.raises(OSError, match="not bound"):
        sockets.adopt(unbound.fileno())
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="cannot adopt descriptor"):
        sockets.adopt(reader)
    os.close(reader)
    os.close(writer)


def test_the_kernel_counts_what_it_drops() -> None:
    with sockets.bind_udp("127.0.0.1", 0) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(100):
            sender.sendto(bytes(1000), sock.getsockname())
        assert 80 < sockets.socket_drops(sock) <= 100
