"""A transaction user that acts while it is being told (RFC 3261 5: the TU may cancel or end what it is told of).

1. ending a transaction from within each of its own events: nobody is told again, nothing is freed twice
2. ending another one, and making new ones that take the freed slot
3. responding from within a failure
4. timers of the TU; run_timers stops where it is told
5. transactions_free ends what is live, without events
6. any of it in any order, by seed
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from wire import T1, ack, request, response

from fastsip._testing import ManualLayer, ManualTransaction

INVITE = request()


def started(layer: ManualLayer, method: str = "INVITE", *statuses: int) -> tuple[ManualTransaction, bytes]:
    client = layer.client(method)
    assert client is not None
    message = request(method, branch=layer.branch(client))
    layer.start(client, message)
    for status in statuses:
        layer.receive_response(response(status, message))
    layer.take()
    return client, message


def ends_itself(layer: ManualLayer, at: str) -> Callable[[str, ManualTransaction | None], None]:
    def act(event: str, transaction: ManualTransaction | None) -> None:
        if event == at and transaction is not None:
            layer.end(transaction)
            # Its slot is taken again at once, by a transaction that must survive.
            taken = layer.client("OPTIONS")
            assert taken is not None and taken.slot == transaction.slot
            layer.start(taken, request("OPTIONS", branch=layer.branch(taken)))

    return act


@pytest.mark.parametrize("method", ["INVITE", "BYE"])
@pytest.mark.parametrize("status", [180, 200, 486])
def test_client_ended_in_its_response(layer: ManualLayer, method: str, status: int) -> None:
    client, message = started(layer, method)
    layer.on_event = ends_itself(layer, f"response {status}")
    assert layer.receive_response(response(status, message))
    layer.on_event = None
    assert client.state is None and layer.live == 1
    heard = layer.take()
    assert heard[-2:] == [f"response {status}", "send OPTIONS"] and "terminated" not in heard
    assert not layer.receive_response(response(status, message))


@pytest.mark.parametrize("event", ["timeout", "terminated"])
@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_client_ended_in_its_timeout_or_its_end(layer: ManualLayer, method: str, event: str) -> None:
    started(layer, method)
    layer.on_event = ends_itself(layer, event)
    layer.advance(64 * T1)
    layer.on_event = None
    assert layer.live == 1
    heard = layer.take()
    assert heard.count("timeout") == 1 and heard.count("terminated") == (event == "terminated")


@pytest.mark.parametrize("event", ["failure", "terminated"])
def test_client_ended_in_its_failure(layer: ManualLayer, event: str) -> None:
    client = layer.client("INVITE")
    assert client is not None
    layer.fail_sends = True

    def act(heard: str, transaction: ManualTransaction | None) -> None:
        if heard == event and transaction is not None:
            layer.end(transaction)

    layer.on_event = act
    assert not layer.start(client, request(branch=layer.branch(client)))
    assert (layer.live, layer.buffers, layer.armed) == (0, 0, 0)


def test_client_whose_ack_cannot_be_sent_ended_in_its_response(layer: ManualLayer) -> None:
    _, message = started(layer)
    layer.fail_sends = True
    layer.on_event = lambda event, t: layer.end(t) if event == "response 486" and t else None
    layer.receive_response(response(486, message))
    assert layer.take() == ["cannot send ACK", "response 486"]
    assert layer.live == 0


def test_invite_ended_while_its_cancel_runs(layer: ManualLayer) -> None:
    client, _ = started(layer, "INVITE", 180)
    layer.cancel(client)
    assert layer.live == 2
    layer.end(client)
    assert (layer.live, layer.armed, layer.buffers) == (0, 0, 0)


def test_cancelled_from_within_its_first_provisional(layer: ManualLayer) -> None:
    client, message = started(layer)
    layer.on_event = lambda event, t: layer.cancel(t) if event == "response 180" and t else None
    layer.receive_response(response(180, message))
    assert layer.take() == ["response 180", "send CANCEL"]
    layer.on_event = None
    layer.end(client)


@pytest.mark.parametrize("status", [180, 200, 486])
def test_server_ended_in_its_failure(layer: ManualLayer, status: int) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.fail_sends = True
    layer.on_event = lambda event, t: layer.end(t) if event == "failure" and t else None
    assert not layer.respond(server, response(status, INVITE))
    assert (server.state, layer.live, layer.buffers, layer.armed) == (None, 0, 0, 0)


def test_server_ended_when_its_retransmission_fails(layer: ManualLayer) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.respond(server, response(486, INVITE))
    layer.fail_sends = True
    layer.on_event = lambda event, t: layer.end(t) if event == "failure" and t else None
    assert layer.match(INVITE) == ("absorbed", None)
    assert layer.live == 0


@pytest.mark.parametrize("event", ["timeout", "terminated"])
def test_server_ended_in_its_timeout_or_its_end(layer: ManualLayer, event: str) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.respond(server, response(486, INVITE))
    layer.on_event = ends_itself(layer, event)
    layer.advance(64 * T1)
    layer.on_event = None
    assert server.state is None and layer.live == 1


def test_all_ended_in_the_timeout_of_the_first(layer: ManualLayer) -> None:
    clients = [started(layer)[0] for _ in range(5)]

    def act(event: str, transaction: ManualTransaction | None) -> None:
        if event == "timeout":
            for client in clients:
                if client.state is not None:
                    layer.end(client)

    layer.on_event = act
    layer.advance(64 * T1)
    assert layer.take().count("timeout") == 1
    assert (layer.live, layer.armed) == (0, 0)


def test_server_answers_from_within_its_failure(layer: ManualLayer) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.fail_sends = True

    def act(event: str, transaction: ManualTransaction | None) -> None:
        if event == "failure" and transaction is not None and transaction.state == "Proceeding":
            layer.fail_sends = False
            layer.respond(transaction, response(500, INVITE))

    layer.on_event = act
    assert not layer.respond(server, response(180, INVITE))
    assert (server.state, server.response, server.request) == ("Completed", response(500, INVITE), None)
    assert layer.take() == ["cannot send 180", "failure", "send 500"]


def test_client_failing_at_once_from_within_another_ones_failure(layer: ManualLayer) -> None:
    layer.fail_sends = True
    left = [3]

    def act(event: str, _: ManualTransaction | None) -> None:
        if event == "failure" and left[0]:
            left[0] -= 1
            client = layer.client("BYE")
            assert client is not None
            layer.start(client, request("BYE", branch=layer.branch(client)))

    layer.on_event = act
    first = layer.client("BYE")
    assert first is not None
    layer.start(first, request("BYE", branch=layer.branch(first)))
    assert layer.live == 0
    heard = layer.take()
    assert (heard.count("failure"), heard.count("terminated")) == (4, 4)


def test_timers_of_the_tu_run_on_the_same_wheel(layer: ManualLayer) -> None:
    layer.arm(300)
    layer.advance(299)
    assert layer.take() == []
    layer.advance(1)
    assert layer.take() == ["timer"]


def test_run_timers_stops_at_its_limit(layer: ManualLayer) -> None:
    for n in range(10):
        server = layer.serve(request("OPTIONS", branch=f"z9hG4bK{n}"), reliable=True)
        assert server is not None
        layer.respond(server, response(200, request("OPTIONS", branch=f"z9hG4bK{n}")))
    layer.take()
    assert (layer.run(4), layer.live) == (4, 6)
    assert (layer.run(100), layer.live) == (6, 0)
    assert (layer.run(100), layer.take()) == (0, ["terminated"] * 10)


def test_free_ends_all_without_events() -> None:
    layer = ManualLayer()
    started(layer)
    started(layer, "BYE", 200)
    client, _ = started(layer, "INVITE", 180)
    layer.cancel(client)
    unstarted = layer.client("INVITE")
    assert unstarted is not None
    assert layer.serve(INVITE) is not None
    layer.take()
    assert layer.live == 6
    assert layer.close() == 6
    assert layer.take() == []


class Chance:
    """A network, a clock and a TU that do anything that is allowed, now and then from within an event."""

    def __init__(self, layer: ManualLayer, seed: int) -> None:
        self.layer = layer
        self.random = random.Random(seed)
        self.known: list[tuple[ManualTransaction, bytes]] = []
        self.servers: set[ManualTransaction] = set()
        self.depth = 0
        self.steps = [self.serve, self.call, self.respond, self.answer, self.cancel, self.again, self.end, self.wait]
        layer.on_event = self.happened

    def some(self) -> tuple[ManualTransaction, bytes]:
        return self.random.choice(self.known)

    def message(self, method: str, branch: str) -> bytes:
        return request(method, branch=branch, sent_by=self.random.choice(("a.example.com", "b.example.com:5070")))

    def serve(self) -> None:
        method = self.random.choice(("INVITE", "OPTIONS", "CANCEL"))
        message = self.message(method, self.random.choice((f"z9hG4bK{len(self.known)}", "1")))
        if self.layer.match(message)[0] == "none" and (
            server := self.layer.serve(message, reliable=self.random.random() < 0.3)
        ):
            self.known.append((server, message))
            self.servers.add(server)

    def call(self) -> None:
        method = self.random.choice(("INVITE", "INVITE", "BYE"))
        client = self.layer.client(method)
        if client is None:
            return
        message = self.message(method, self.layer.branch(client))
        if self.random.random() < 0.1:
            self.layer.discard(client)
        elif self.layer.start(client, message, reliable=self.random.random() < 0.3):
            self.known.append((client, message))

    def respond(self) -> None:
        server, message = self.some()
        if server in self.servers and server.state:
            self.layer.respond(server, response(self.random.choice((100, 180, 200, 302, 486)), message))

    def answer(self) -> None:
        _, message = self.some()
        method = self.random.choice((None, None, None, "CANCEL", "INVITE"))
        status = self.random.choice((100, 180, 200, 200, 486, 600))
        self.layer.receive_response(response(status, message, cseq_method=method))

    def cancel(self) -> None:
        transaction, _ = self.some()
        if transaction not in self.servers and transaction.state:
            self.layer.cancel(transaction)

    def again(self) -> None:
        _, message = self.some()
        self.layer.match(ack(message) if self.random.random() < 0.5 else message)

    def end(self) -> None:
        transaction, _ = self.some()
        if transaction.state:
            self.layer.end(transaction)

    def wait(self) -> None:
        if not self.depth:
            self.layer.fail_sends = self.random.random() < 0.2
            self.layer.advance(self.random.choice((0, 1, 500, 4000, 32_000)))

    def step(self) -> None:
        self.random.choice(self.steps if self.known else self.steps[:2])()

    def happened(self, event: str, _: ManualTransaction | None) -> None:
        # Not from within send: a transport queues, and does not call back.
        if "send" not in event and self.depth < 3 and self.random.random() < 0.5:
            self.depth += 1
            self.step()
            self.depth -= 1


@pytest.mark.parametrize("seed", range(40))
def test_anything_in_any_order(new_layer: Callable[..., ManualLayer], seed: int) -> None:
    layer = new_layer(limit=20)
    chance = Chance(layer, seed)
    for _ in range(300):
        chance.step()
        assert 0 <= layer.waiting <= layer.live
        assert layer.armed <= 2 * layer.live and layer.buffers <= 2 * layer.live
    layer.on_event = None
    for transaction, _ in chance.known:
        if transaction.state is not None:
            layer.end(transaction)
    layer.take()
