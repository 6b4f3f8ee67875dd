"""Steering: the kernel gives a datagram to the worker that owns it, and where it cannot, nobody notices but a counter.

1. The program's owner is user space's, on the corpus and on what is made up, IPv4 and IPv6, for any number of workers.
2. The classic program takes responses to the owner in our branch, and nothing else anywhere special.
3. Without the right to it the next best is taken; what was asked for by name and cannot be had is said in words.
4. A whole server hands on nothing, before and after a worker is killed under load.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoints import Shared
from harness import Server, requires_peer
from test_faults import HOST, Load

from fastsip import sockets
from fastsip._message import _find_call_id
from fastsip.config import Listen
from fastsip.process import bpf, steering
from fastsip.process.problems import CannotStart

KEY = bytes(range(16))
"""As in `endpoints.Shared`."""
CORPUS = sorted(Path(__file__).parent.glob("corpus/valid/*.sip"))


class Group:
    """The workers' sockets of one address, and one peer that sends to them."""

    def __init__(self, host: str, workers: int) -> None:
        self.sockets = sockets.bind_udp_group(host, 0, workers)
        self.listen = Listen("udp", host, self.sockets[0].getsockname()[1])
        self.peer = socket.socket(self.sockets[0].family, socket.SOCK_DGRAM)
        self.peer.bind((host, 0))

    def steer(self, kind: steering.Steering) -> str:
        return steering.steer([self.sockets], [self.listen], KEY, kind)

    def receiver(self, datagram: bytes) -> int:
        """Which worker's socket a datagram came to."""
        self.peer.sendto(datagram, self.sockets[0].getsockname())
        found = []
        for worker, sock in enumerate(self.sockets):
            try:
                assert sock.recv(65536) == datagram
                found.append(worker)
            except BlockingIOError:
                pass
        assert len(found) == 1
        return found[0]

    def close(self) -> None:
        for sock in (*self.sockets, self.peer):
            sock.close()


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    host, workers = getattr(request, "param", ("127.0.0.1", 4))
    made = Group(host, workers)
    yield made
    made.close()


def made_up(random: random.Random) -> bytes:
    """A message with a Call-ID somewhere in its header, as messages come."""
    word = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~()<>:\\\"/[]?{}@"
    call_id = "".join(random.choices(word, k=random.randint(1, 127)))
    name = random.choice(["Call-ID: ", "Call-ID:", "CALL-ID: ", "call-id:", "i: ", "i:", "I: "])
    header = [
        f"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{random.random()}",
        "From: Jörg <sip:joerg@example.com>;tag=1",
        "To: <sip:bob@example.com>",
        "X-Call-ID: no",
        "Subject: Call-ID: not this one",
        *(f"X-{n}: " + "y" * random.randint(0, 60) for n in range(random.randint(0, 6))),
    ]
    random.shuffle(header)
    header.insert(random.randint(0, len(header)), name + call_id)
    lines = [
        "INVITE sip:bob@example.com SIP/2.0",
        *header,
        "CSeq: 1 INVITE",
        "Content-Length: 6",
        "",
        "v=0\r\nCall-ID: x",
    ]
    return "\r\n".join(lines).encode()


@requires_peer("bpf")
@pytest.mark.parametrize("group", [("127.0.0.1", 4), ("::1", 3), ("0.0.0.0", 2), ("127.0.0.1", 64)], indirect=True)
def test_the_kernel_finds_the_owner_user_space_finds(group: Group) -> None:
    assert group.steer("ebpf") == "ebpf"
    workers = len(group.sockets)
    view, luck = Shared(workers).view, random.Random(workers)
    for _ in range(400):
        datagram = made_up(luck)
        start, end = _find_call_id(datagram) or (0, 0)
        assert group.receiver(datagram) == view.owner_of(datagram[start:end]), datagram


@requires_peer("bpf")
def test_the_corpus_goes_to_its_owners(group: Group) -> None:
    """What is written as nobody writes may go anywhere: blanks before the colon, line ends in front, nothing behind."""
    odd = {"call_id_in_values.sip", "folded.sip", "header_folded_name.sip", "header_lines_256.sip", "leading_crlf.sip"}
    odd.add("lower_case_version.sip")
    assert group.steer("ebpf") == "ebpf"
    view = Shared(4).view
    missed = set()
    for path in CORPUS:
        datagram = path.read_bytes()
        start, end = _find_call_id(datagram) or (0, 0)
        if group.receiver(datagram) != view.owner_of(datagram[start:end]):
            missed.add(path.name)
    assert missed <= odd


@requires_peer("bpf")
@pytest.mark.parametrize("kind", ["ebpf", "cbpf"])
def test_rubbish_is_shared_out_by_address(group: Group, kind: steering.Steering) -> None:
    """Nothing may draw what it cannot read to one socket: no datagram is too short, too long or too strange."""
    before = group.receiver(b"x")
    assert group.steer(kind) == kind
    luck = random.Random(3)
    message = made_up(luck)
    for size in (0, 1, 8, 31, 40, 63, 64, 100, 500, 1500, 9000, 65507):
        assert group.receiver(luck.randbytes(size).replace(b"\n", b"x")) == before
        assert group.receiver(b"\n" * size) == before
        assert group.receiver(b"Call-ID: " + b"x" * max(0, size - 9)) == before
        assert group.receiver(b"SIP/2.0 200 OK\r\nVia:"[:size].ljust(size, b" ")) == before
    for end in range(len(message)):
        group.receiver(message[:end])


def response(sent_by: str, branch: str) -> bytes:
    return (
        f"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP {sent_by};branch={branch};received=127.0.0.1\r\n"
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@test>;tag=1\r\nTo: <sip:b@test>;tag=2\r\n"
        "Call-ID: anything@test\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def digits(owner: int) -> str:
    return "0123456789abcdefghijklmnopqrstuv"[owner >> 5] + "0123456789abcdefghijklmnopqrstuv"[owner & 31]


@pytest.mark.parametrize(
    ("group", "hosts"),
    [
        (("127.0.0.1", 4), ["127.0.0.1"]),
        (("::1", 40), ["[::1]"]),
        (("0.0.0.0", 3), ["1.2.3.4", "10.20.3.4", "255.255.255.255"]),
        (("::", 2), ["[::1]", "[2001:db8::17]", "[2001:db8:1111:2222:3333:4444:5555:6666]"]),
    ],
    indirect=["group"],
)
def test_a_response_goes_to_the_owner_in_our_branch(group: Group, hosts: list[str]) -> None:
    assert group.steer("cbpf") == "cbpf"
    for host in hosts:
        sent_by = f"{host}:{group.listen.port}"
        for owner in range(len(group.sockets)):
            assert group.receiver(response(sent_by, f"z9hG4bK{digits(owner)}000000000.0")) == owner


def test_other_branches_go_by_address(group: Group) -> None:
    before = group.receiver(b"x")
    assert group.steer("cbpf") == "cbpf"
    ours = f"127.0.0.1:{group.listen.port}"
    for sent_by, branch in ((ours, "z9hG4bK0w0"), (ours, "z9hG4bKvv0"), (ours, "1"), ("other.test", "z9hG4bK010")):
        assert group.receiver(response(sent_by, branch)) == before
    request = response(ours, "z9hG4bK010").replace(b"SIP/2.0 180 Ringing", b"BYE sip:b@test SIP/2.0")
    assert group.receiver(request) == before


def test_the_branch_of_an_advertised_address() -> None:
    listen = Listen("udp", "10.0.0.5", 5060, "203.0.113.9:5062")
    assert steering.sent_by_lengths(listen) == [len("203.0.113.9:5062")]


def _refuse(*_: object) -> int:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_the_next_best_is_taken(
    group: Group, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(bpf, "map_create", _refuse)
    assert group.steer("auto") == "cbpf"
    assert "cBPF" in caplog.text and "ebpf: Operation not permitted" in caplog.text
    monkeypatch.setattr(bpf, "attach_classic", _refuse)
    assert group.steer("auto") == "off"
    assert len(caplog.records) == 2
    for kind in ("ebpf", "cbpf"):
        with pytest.raises(CannotStart, match=f'"{kind}" cannot be had: .* Operation not permitted'):
            group.steer(kind)


def test_one_worker_needs_none() -> None:
    made = Group("127.0.0.1", 1)
    assert made.steer("ebpf") == "off"
    made.close()


def _handed_on(server: Server) -> int:
    return sum(worker["counters"]["handoffs_out"] for worker in server.stats()["workers"])


@requires_peer("bpf")
@requires_peer("sipp")
def test_a_server_hands_nothing_on() -> None:
    """One peer address, four workers, one of them killed in the middle."""
    with Server(host=HOST, workers=4, timers={}, extra={"server": {"steering": "ebpf"}}) as server:
        assert server.stats()["steering"] == "ebpf"
        before = _handed_on(server)  # what came before the program was there
        load = Load(server, rate=150, seconds=3, hold=300)
        with load.running():
            time.sleep(1)
            victim = server.stats()["workers"][2]["pid"]
            os.kill(victim, 9)
        assert load.failed <= 10
        assert _handed_on(server) == before
        for worker in server.stats()["workers"]:
            assert worker["counters"]["requests_in"] > load.calls / 4 * 0.5


@requires_peer("sipp")
def test_responses_come_home_for_anybody() -> None:
    with Server(host=HOST, workers=4, timers={}, extra={"server": {"steering": "cbpf"}}) as server:
        load = Load(server, rate=100, seconds=1, hold=100)
        with load.running():
            pass
        assert load.failed == 0
        total = server.stats()["total"]
        assert 0 < total["handoffs_out"] <= total["requests_in"]


@requires_peer("sipp")
def test_without_steering_neighbours_get_theirs() -> None:
    with Server(host=HOST, workers=4, timers={}, extra={"server": {"steering": "off"}}) as server:
        load = Load(server, rate=100, seconds=1, hold=100)
        with load.running():
            pass
        assert (load.failed, server.stats()["steering"]) == (0, "off")
        assert _handed_on(server) > load.calls
