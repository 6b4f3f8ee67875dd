"""Between workers: a datagram reaches the owner of its Call-ID, whoever received it, and nobody sleeps through it."""

import os

import pytest
from endpoints import Shared, child, client, kill, listening, message, spawn, take

from fastsip import _transport, sockets


def test_a_datagram_goes_to_the_owner_of_its_call_id() -> None:
    shared = Shared(3)
    first, second, third = (shared.endpoint(worker) for worker in range(3))
    with listening(first, "127.0.0.1", 0, 7) as sock, client() as peer, sockets.bind_udp("127.0.0.1", 0) as other:
        second.listen(other.fileno(), 3)
        with sockets.bind_udp("127.0.0.1", sock.getsockname()[1]) as twin:
            second.listen(twin.fileno(), 7)
            second_message = message(shared.call_id_of(1))
            # The kernel may give it to either socket of the port: the owner gets it in any case.
            peer.sendto(second_message, sock.getsockname())
            first.wait(50)
            assert first.receive() == []
            first.flush()
            [(data, remote, local, listener, slot)] = take(second, 1)
            assert (data, remote, local) == (second_message, peer.getsockname(), sock.getsockname())
            assert (listener, slot) == (1, 1), "numbered as the owner numbers its sockets"
            assert third.receive() == []


def test_after_many_of_its_own_a_worker_asks_later_and_still_hands_on() -> None:
    shared = Shared(2)
    first, second = shared.endpoint(0), shared.endpoint(1)
    own, foreign = message(shared.call_id_of(0)), message(shared.call_id_of(1))
    with listening(first, "127.0.0.1", 0, 7) as sock, listening(second, "127.0.0.2", 0, 7), client() as peer:
        for _ in range(300):
            peer.sendto(own, sock.getsockname())
        assert len(take(first, 300)) == 300
        for data in (foreign, own, foreign):
            peer.sendto(data, sock.getsockname())
        assert [data for data, *_ in take(first, 1)] == [own]
        first.flush()
        came = take(second, 2)
        assert [(data, remote, local) for data, remote, local, *_ in came] == 2 * [
            (foreign, peer.getsockname(), sock.getsockname())
        ]
        assert {listener for *_, listener, _ in came} == {0}
        assert (shared.count("handoffs_out"), shared.count("handoffs_in", 1)) == (2, 2)


def test_what_has_no_call_id_stays_where_it_came() -> None:
    shared = Shared(4)
    endpoint = shared.endpoint(2)
    with listening(endpoint, "127.0.0.1") as sock, client() as peer:
        peer.sendto(b"garbage", sock.getsockname())
        peer.sendto(message(shared.call_id_of(2)), sock.getsockname())
        assert len(take(endpoint, 2)) == 2
        assert shared.count("handoffs_out", 2) == 0


def test_the_largest_datagram_by_ring_again_and_again() -> None:
    shared = Shared(2, budget=0)
    first, second = shared.endpoint(0), shared.endpoint(1)
    with listening(first, "127.0.0.1") as sock, listening(second, "127.0.0.1"), client() as peer:
        head = message(shared.call_id_of(1))
        for n in range(50):
            largest = head + bytes([n]) * (_transport.LARGEST_DATAGRAM - len(head))
            peer.sendto(largest, sock.getsockname())
            assert take(first, 1, 0) == []
            [(data, *_)] = take(second, 1)
            assert data == largest


def test_a_full_ring_drops_and_counts() -> None:
    shared = Shared(2, budget=0)
    first, second = shared.endpoint(0), shared.endpoint(1)
    with listening(first, "127.0.0.1") as sock, listening(second, "127.0.0.1"), client() as peer:
        call_id = shared.call_id_of(1)
        for n in range(400):
            peer.sendto(message(call_id, b"%03d" % n + bytes(600)), sock.getsockname())
        for _ in range(2):
            assert take(first, 1, 0) == [], "four batches a turn, none of it ours"
        first.flush()
        counters = shared.view.counters(0)
        assert counters["handoffs_out"] + counters["dropped_ring"] == 400
        fits = 128 * 1024 // 768
        assert counters["handoffs_out"] == fits
        arrived = take(second, 400, 10)
        assert [data.partition(b"\r\n\r\n")[2][:3] for data, *_ in arrived] == [b"%03d" % n for n in range(fits)]
        peer.sendto(message(call_id), sock.getsockname())
        take(first, 1, 0)
        assert len(take(second, 1)) == 1, "there is room again"


def test_a_record_for_an_unknown_listen_address_is_dropped() -> None:
    shared = Shared(2)
    first, second = shared.endpoint(0), shared.endpoint(1)
    assert first.hand(1, b"x", 9)
    assert take(second, 1, 10) == []
    assert shared.count("dropped_ring", 1) == 1


def test_every_ring_gets_its_turn() -> None:
    shared = Shared(4)
    endpoints = [shared.endpoint(worker) for worker in range(4)]
    with listening(endpoints[3], "127.0.0.1"):
        for worker in range(3):
            for _ in range(300):
                assert endpoints[worker].hand(3, b"from %d" % worker)
        first_batches = [endpoints[3].receive() for _ in range(6)]
        assert {data for batch in first_batches for data, *_ in batch} == {b"from 0", b"from 1", b"from 2"}
        assert len(take(endpoints[3], 900, 0)) == 900 - 6 * 64


def echo(shared: Shared, worker: int, fd: int) -> None:
    endpoint = shared.endpoint(worker)
    endpoint.listen(fd)
    while True:
        endpoint.wait(10_000)
        while batch := endpoint.receive():
            for data, remote, local, listener, _slot in batch:
                endpoint.send(b"%d:%s" % (worker, data), remote, local, listener)
        endpoint.flush()


def test_two_processes_share_the_work() -> None:
    shared = Shared(2)
    with sockets.bind_udp("0.0.0.0", 0) as one, client() as peer:
        address = ("127.0.0.3", one.getsockname()[1])
        with sockets.bind_udp("0.0.0.0", address[1]) as two:
            with child(lambda: echo(shared, 0, one.fileno())), child(lambda: echo(shared, 1, two.fileno())):
                for n in range(200):
                    owner = n % 2
                    data = message(shared.call_id_of(owner, n))
                    peer.sendto(data, address)
                    assert peer.recvfrom(2000) == (b"%d:%s" % (owner, data), address)
            received = [shared.view.counters(worker) for worker in (0, 1)]
        assert sum(counters["datagrams_in"] for counters in received) == 200
        handed = sum(counters["handoffs_out"] for counters in received)
        assert handed == sum(counters["handoffs_in"] for counters in received) == 100, "one socket got it all"
        assert 0 < sum(counters["wakeups"] for counters in received) <= 100


@pytest.mark.parametrize("spin", [0, 40, 2000])
def test_no_wake_up_is_lost(spin: int) -> None:
    """Each side may sleep up to 5 s on every turn; a turn that takes as long ends the game."""
    shared = Shared(2)
    turns = 20_000
    with sockets.bind_udp("127.0.0.1", 0) as sock:

        def other_side() -> None:
            endpoint = shared.endpoint(1)
            endpoint.listen(sock.fileno())
            assert endpoint.bounce(0, turns, spin, 5000, False) == turns

        pid = spawn(other_side)
        endpoint = shared.endpoint(0)
        endpoint.listen(sock.fileno())
        assert endpoint.bounce(1, turns, spin, 5000, True) == turns
        assert os.waitpid(pid, 0)[1] == 0
    if spin == 0:
        assert shared.count("wakeups", 0) > turns // 2


def test_a_worker_that_is_awake_is_not_woken() -> None:
    shared = Shared(2)
    first, second = shared.endpoint(0), shared.endpoint(1)
    with listening(second, "127.0.0.1"):
        for _ in range(10):
            assert first.hand(1, b"x")
            first.flush()
        assert shared.count("wakeups", 0) == 0
        assert len(take(second, 10)) == 10


def test_a_killed_worker_is_followed_by_another() -> None:
    """The neighbour notices nothing but a ring that fills; the successor reads on at the next whole record."""
    shared = Shared(2)
    first = shared.endpoint(0)
    with listening(first, "127.0.0.1") as sock, sockets.bind_udp("127.0.0.1", 0) as other, client() as peer:
        call_id = shared.call_id_of(1)
        answered = 0
        for _ in range(5):
            pid = spawn(lambda: echo(shared, 1, other.fileno()))
            for n in range(300):
                peer.sendto(message(call_id, b"%d" % n), sock.getsockname())
                first.wait(0)
                first.receive()
                first.flush()
                if n == 200:
                    kill(pid)
                    pid = spawn(lambda: echo(shared, 1, other.fileno()))
            answers: list[bytes] = []
            peer.settimeout(0.5)
            while not answers or not answers[-1].endswith(b"\r\n299"):
                answers.append(peer.recv(2000))
            kill(pid)
            numbers = [int(answer.rpartition(b"\r\n\r\n")[2]) for answer in answers]
            assert numbers == sorted(set(numbers)), "each at most once, in order"
            answered += len(numbers)
        assert answered > 1000
        assert shared.count("dropped_ring") == 0
