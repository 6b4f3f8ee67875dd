"""One worker's transport on loopback: what comes in, what goes out, by which socket and from which address."""

import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from endpoints import Shared, client, listening, message, take

from fastsip import _transport, sockets

HOSTS = ["127.0.0.1", "::1"]


@pytest.mark.parametrize("host", HOSTS)
def test_there_and_back(host: str) -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, host) as sock, client(host) as peer:
        peer.sendto(message(b"a@b"), sock.getsockname())
        [(data, remote, local, listener, slot)] = take(endpoint, 1)
        assert (data, remote, local) == (message(b"a@b"), peer.getsockname()[:2], sock.getsockname()[:2])
        assert (listener, slot) == (0, 1)
        assert endpoint.send(b"answer", remote, local) == 0
        assert endpoint.buffers() == 1
        endpoint.flush()
        assert endpoint.buffers() == 0
        answer, source = peer.recvfrom(100)
        assert (answer, source[:2]) == (b"answer", sock.getsockname()[:2])
        counters = shared.view.counters(0)
        assert (counters["datagrams_in"], counters["bytes_in"]) == (1, len(data))
        assert (counters["datagrams_out"], counters["bytes_out"]) == (1, 6)


def test_more_than_one_batch_keeps_its_order() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "127.0.0.1") as sock, client() as peer:
        for n in range(500):
            peer.sendto(b"%d" % n, sock.getsockname())
        assert [data for data, *_ in take(endpoint, 500)] == [b"%d" % n for n in range(500)]
        for n in range(1300):
            assert endpoint.send(b"%d" % n, peer.getsockname()) == 0
        assert endpoint.buffers() < 1300, "a full queue leaves early"
        endpoint.flush()
        assert [peer.recv(100) for _ in range(1300)] == [b"%d" % n for n in range(1300)]


def test_a_turn_is_fair_to_every_socket() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "127.0.0.1") as busy, listening(endpoint, "127.0.0.2", 0, 1) as quiet, client() as peer:
        for _ in range(600):
            peer.sendto(b"busy", busy.getsockname())
        peer.sendto(b"quiet", quiet.getsockname())
        endpoint.wait(100)
        turn = []
        while batch := endpoint.receive():
            turn.append([data for data, *_ in batch])
        assert turn[1] == [b"quiet"]
        assert sum(len(batch) for batch in turn) == 4 * 64 + 1
        assert len(take(endpoint, 600 - 4 * 64)) == 600 - 4 * 64


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\r\n", b"", bytes(4)])
def test_keep_alives_are_counted_and_dropped(data: bytes) -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, "127.0.0.1") as sock, client() as peer:
        peer.sendto(data, sock.getsockname())
        assert take(endpoint, 1, 50) == []
        assert shared.count("keepalives") == shared.count("datagrams_in") == 1


def test_the_largest_datagram_both_ways() -> None:
    endpoint = Shared().endpoint()
    largest = os.urandom(_transport.LARGEST_DATAGRAM)
    with listening(endpoint, "127.0.0.1") as sock, client() as peer:
        peer.sendto(largest, sock.getsockname())
        [(data, remote, *_)] = take(endpoint, 1)
        assert data == largest
        assert endpoint.send(largest, remote) == 0
        endpoint.flush()
        assert peer.recv(70_000) == largest


def test_a_wildcard_listener_answers_from_the_address_written_to() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "0.0.0.0") as sock, client() as peer:
        port = sock.getsockname()[1]
        assert endpoint.listener(0)["wildcard"]
        for host in ["127.0.0.2", "127.0.0.77", "127.0.0.1"]:
            peer.sendto(b"hello", (host, port))
            [(_data, remote, local, listener, _slot)] = take(endpoint, 1)
            assert local == (host, port)
            assert endpoint.sent_by(listener, remote, local) == (host, port)
            endpoint.send(b"answer", remote, local)
            endpoint.flush()
            assert peer.recvfrom(100) == (b"answer", (host, port))


def test_an_ipv6_wildcard_listener_answers_from_the_address_written_to() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "::") as sock, client("::1") as peer:
        port = sock.getsockname()[1]
        peer.sendto(b"hello", ("::1", port))
        [(_data, remote, local, listener, _slot)] = take(endpoint, 1)
        assert (remote, local) == (peer.getsockname()[:2], ("::1", port))
        endpoint.send(b"answer", remote, local, listener)
        endpoint.flush()
        assert peer.recvfrom(100)[1][:2] == ("::1", port)


@pytest.mark.parametrize(
    ("data", "remote", "listener"),
    [
        (bytes(65508), ("127.0.0.1", 5060), 0),
        (b"x", ("127.0.0.1", 0), 0),
        (b"x", ("0.0.0.0", 5060), 0),
        (b"x", ("255.255.255.255", 5060), 0),
        (b"x", ("224.0.1.75", 5060), 0),
        (b"x", ("::1", 5060), 0),
        (b"x", ("127.0.0.1", 5060), 1),
    ],
)
def test_what_can_never_leave_is_said_so(data: bytes, remote: tuple[str, int], listener: int) -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, "127.0.0.1"):
        assert endpoint.send(data, remote, None, listener) == -1
        assert endpoint.buffers() == 0
        assert shared.count("dropped_unsendable") == 1


def test_a_refused_datagram_does_not_hold_up_the_others() -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, "0.0.0.0"), client() as peer:
        for n in range(6):
            local = ("203.0.113.9", 1) if n in {0, 3, 5} else ("127.0.0.1", 1)
            assert endpoint.send(b"%d" % n, peer.getsockname(), local) == 0
        endpoint.flush()
        assert [peer.recv(10) for _ in range(3)] == [b"1", b"2", b"4"]
        assert (shared.count("dropped_send"), shared.count("datagrams_out")) == (3, 3)
        assert endpoint.buffers() == 0


def test_datagrams_from_port_zero_are_dropped() -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, "127.0.0.1") as sock:
        try:
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        except PermissionError:
            pytest.skip("forging a source port needs CAP_NET_RAW")
        with raw:
            raw.sendto(struct.pack("!4H", 0, sock.getsockname()[1], 9, 0) + b"x", ("127.0.0.1", 0))
        assert take(endpoint, 1, 50) == []
        assert (shared.count("datagrams_in"), shared.count("dropped_unsendable")) == (1, 1)


def test_datagrams_the_kernel_dropped_are_counted() -> None:
    shared = Shared()
    with sockets.bind_udp("127.0.0.1", 0) as sock, client() as peer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        for _ in range(100):
            peer.sendto(bytes(1000), sock.getsockname())
        before = sockets.socket_drops(sock)
        assert before > 80
        endpoint = shared.endpoint()
        endpoint.listen(sock.fileno())
        arrived = len(take(endpoint, 100, 20))
        assert arrived == 0, "NUL bytes are keep-alives"
        assert shared.count("dropped_socket") == 0, "not ours: they were dropped before"
        for _ in range(200):
            peer.sendto(b"x" * 1000, sock.getsockname())
        arrived = len(take(endpoint, 200, 20))
        assert 0 < arrived < 20
        assert shared.count("dropped_socket") == 200 - arrived


def test_drops_are_told_with_the_next_datagram_under_load() -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    with listening(endpoint, "127.0.0.1") as sock, client() as peer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        for _ in range(50):
            peer.sendto(b"x" * 1000, sock.getsockname())
        endpoint.wait(0)
        arrived = len(endpoint.receive())
        peer.sendto(b"one more", sock.getsockname())
        endpoint.wait(0)
        assert len(endpoint.receive()) == 1
        assert shared.count("dropped_socket") == 50 - arrived > 0


def test_an_adopted_socket_is_read_and_answered_by_the_own_one() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "127.0.0.1") as own, sockets.bind_udp("127.0.0.1", 0) as other, client() as peer:
        assert endpoint.listen(other.fileno(), 0, None, True) == 1
        assert endpoint.listener(1)["adopted"]
        peer.sendto(b"hello", other.getsockname())
        [(_data, remote, local, listener, _slot)] = take(endpoint, 1)
        assert (local, listener) == (other.getsockname(), 0)
        endpoint.send(b"answer", remote, local, listener)
        endpoint.flush()
        assert peer.recvfrom(10) == (b"answer", own.getsockname())


def test_a_socket_is_adopted_once_and_forgotten_when_its_worker_is_back() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "127.0.0.1") as own, sockets.bind_udp("127.0.0.1", 0) as other, client() as peer:
        assert endpoint.listen(other.fileno(), 0, None, True) == 1
        with other.dup() as again:
            assert endpoint.listen(again.fileno(), 0, None, True) == 1
        assert endpoint.listeners() == 2
        endpoint.forget(1)
        endpoint.forget(0)
        peer.sendto(b"to the neighbour", other.getsockname())
        peer.sendto(b"to us", own.getsockname())
        assert [data for data, *_ in take(endpoint, 2, 50)] == [b"to us"]
        assert endpoint.send(b"x", peer.getsockname(), None, 1) == -1
        assert endpoint.listen(other.fileno(), 0, None, True) == 1
        assert [data for data, *_ in take(endpoint, 1)] == [b"to the neighbour"]


def test_routes_lead_to_a_socket_that_can_reach_the_peer() -> None:
    endpoint = Shared().endpoint()
    with (
        listening(endpoint, "127.0.0.1") as first,
        listening(endpoint, "127.0.0.2", 0, 1) as second,
        listening(endpoint, "::1", 0, 2) as third,
    ):
        peer = ("127.0.0.9", 5060)
        assert endpoint.route(peer) == (0, first.getsockname(), peer)
        assert endpoint.route(peer, (1, second.getsockname())) == (1, second.getsockname(), peer)
        assert endpoint.route(("::1", 5060), (1, second.getsockname())) == (2, third.getsockname()[:2], ("::1", 5060))
        assert endpoint.route(("192.0.2.77", 5060)) is None, "loopback sockets reach loopback only"
        assert endpoint.sent_by(1, peer) == second.getsockname()


def test_a_wildcard_route_keeps_the_address_the_request_came_to() -> None:
    endpoint = Shared().endpoint()
    with listening(endpoint, "0.0.0.0") as sock:
        port = sock.getsockname()[1]
        peer = ("127.0.0.9", 5060)
        assert endpoint.route(peer, (0, ("127.0.0.5", port))) == (0, ("127.0.0.5", port), peer)
        assert endpoint.route(peer) == (0, ("127.0.0.1", port), peer), "the kernel's choice"
        assert endpoint.route(peer, (0, ("198.51.100.1", port))) == (0, ("127.0.0.1", port), peer)
        assert endpoint.sent_by(0, peer, ("127.0.0.5", port)) == ("127.0.0.5", port)
        assert endpoint.sent_by(0, peer) == ("127.0.0.1", port)


def test_the_advertised_address_is_written() -> None:
    endpoint = Shared().endpoint()
    with sockets.bind_udp("0.0.0.0", 0) as sock:
        port = sock.getsockname()[1]
        endpoint.listen(sock.fileno(), 0, ("203.0.113.9", 0))
        assert endpoint.sent_by(0, ("127.0.0.1", 5060), ("127.0.0.5", port)) == ("203.0.113.9", port)


def test_only_udp_sockets_are_listened_to() -> None:
    endpoint = Shared().endpoint()
    with socket.socket() as stream, pytest.raises(OSError) as caught:
        endpoint.listen(stream.fileno())
    assert caught.value.errno == errno.EPROTOTYPE
    with pytest.raises(OSError) as caught:
        endpoint.listen(987)
    assert caught.value.errno == errno.EBADF
    with sockets.bind_udp("127.0.0.1", 0) as sock:
        others = [sockets.bind_udp("127.0.0.1", sock.getsockname()[1]) for _ in range(32)]
        for n, other in enumerate(others):
            assert endpoint.listen(other.fileno(), n) == n
        with pytest.raises(OSError) as caught:
            endpoint.listen(sock.fileno(), 32)
        assert caught.value.errno == errno.ENOSPC
        assert endpoint.listeners() == 32
        for other in others:
            other.close()


def test_the_watched_descriptor_ends_the_wait() -> None:
    endpoint = Shared().endpoint()
    event = os.eventfd(0)
    endpoint.watch(event)
    assert endpoint.wait(1) is False
    os.eventfd_write(event, 1)
    assert endpoint.wait(5000) is True
    assert endpoint.wait(1) is False
    os.close(event)


def test_what_is_in_hand_shows_outside() -> None:
    shared = Shared()
    endpoint = shared.endpoint()
    assert shared.view.in_hand(0) is None
    endpoint.in_hand(3, 500)
    assert shared.view.in_hand(0) is not None
    del endpoint
    shared.endpoint()
    assert shared.view.in_hand(0) is None, "the successor has nothing in hand"


SCRIPT = """
from endpoints import Shared, client, listening
shared = Shared()
endpoint = shared.endpoint()
with listening(endpoint, "127.0.0.1"), client() as peer:
    for n in range(10):
        endpoint.send(b"%d" % n, peer.getsockname())
    endpoint.flush()
    assert endpoint.buffers() == 0
    peer.setblocking(False)
    arrived = ""
    try:
        while True:
            arrived += peer.recv(10).decode()
    except BlockingIOError:
        pass
print(arrived, shared.count("datagrams_out"), shared.count("bytes_out"), shared.count("dropped_send"))
"""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("scripted") / "sendmmsg.so"
    source = Path(__file__).parent / "c/scripted_sendmmsg.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("", "0123456789 10 10 0"),
        ("3,1,2", "0123456789 10 10 0"),
        (f"4,-{errno.EINTR}", "0123456789 10 10 0"),
        (f"4,-{errno.EAGAIN}", "0123456789 10 10 0"),
        (f"4,-{errno.EAGAIN},1,-{errno.EAGAIN}", "0123456789 10 10 0"),
        (f"4,-{errno.EAGAIN},-{errno.EAGAIN}", "0123 4 4 6"),
        (f"-{errno.EPERM},2,-{errno.ENETUNREACH}", "12456789 8 8 2"),
        (f"-{errno.ENOBUFS}," * 10, " 0 0 10"),
    ],
)
def test_a_network_that_refuses(scripted: Path, script: str, result: str) -> None:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "LD_PRELOAD": str(scripted), "SENDMMSG_SCRIPT": script}
    environment["PYTHONPATH"] = f"{root}:{root / 'tests'}"
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=30)
    assert done.stdout.rstrip("\n") == result, done.stderr
