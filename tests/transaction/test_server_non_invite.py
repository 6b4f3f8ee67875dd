"""The non-INVITE server transaction: RFC 3261 17.2.2 and 17.2.4 with RFC 6026 8.8.

1. Trying: retransmissions are discarded
2. Proceeding: provisional responses are sent, a retransmission gets the last one
3. Completed: a retransmission gets the final response, others of the TU are discarded, Timer J
4. reliable transports: Timer J is zero
5. transport errors tell the TU and change nothing
6. buffers: the request until the final response, the response until Timer J
"""

from __future__ import annotations

import pytest
from wire import T1, request, response

from fastsip._testing import ManualLayer, ManualTransaction

METHODS = ["REGISTER", "OPTIONS", "BYE", "CANCEL", "MESSAGE", "FROBNICATE"]
OPTIONS = request("OPTIONS")


def served(layer: ManualLayer, *statuses: int, reliable: bool = False) -> ManualTransaction:
    server = layer.serve(OPTIONS, reliable)
    assert server is not None
    for status in statuses:
        layer.respond(server, response(status, OPTIONS))
    layer.take()
    return server


@pytest.mark.parametrize("method", METHODS)
def test_trying__retransmissions_are_discarded(layer: ManualLayer, method: str) -> None:
    server = layer.serve(request(method))
    assert server is not None and server.state == "Trying"
    assert layer.match(request(method)) == ("absorbed", server)
    assert (server.state, layer.take(), layer.armed) == ("Trying", [], 0)
    layer.end(server)


def test_proceeding__retransmission_gets_the_last_provisional(layer: ManualLayer) -> None:
    server = served(layer)
    assert layer.respond(server, response(100, OPTIONS))
    assert (server.state, layer.take()) == ("Proceeding", ["send 100"])
    layer.match(OPTIONS)
    assert layer.take() == ["send 100"]
    layer.respond(server, response(183, OPTIONS))
    layer.match(OPTIONS)
    assert (server.state, layer.take()) == ("Proceeding", ["send 183", "send 183"])
    layer.end(server)


@pytest.mark.parametrize("first", [(), (100,)])
@pytest.mark.parametrize("status", [200, 302, 404, 503, 603])
def test_completed__until_timer_j(layer: ManualLayer, first: tuple[int, ...], status: int) -> None:
    server = served(layer, *first)
    assert layer.respond(server, response(status, OPTIONS))
    assert (server.state, layer.take()) == ("Completed", [f"send {status}"])
    layer.advance(64 * T1 - 1)
    assert layer.match(OPTIONS) == ("absorbed", server)
    assert (server.state, layer.take()) == ("Completed", [f"send {status}"])
    layer.advance(1)
    assert (server.state, layer.take()) == (None, ["terminated"])
    assert layer.match(OPTIONS) == ("none", None)


def test_completed__other_responses_of_the_tu_are_discarded(layer: ManualLayer) -> None:
    server = served(layer, 404)
    for status in (100, 200, 404, 500):
        assert not layer.respond(server, response(status, OPTIONS))
    assert (server.status, server.response, layer.take()) == (404, response(404, OPTIONS), [])


def test_reliable__timer_j_is_zero(layer: ManualLayer) -> None:
    server = served(layer, 200, reliable=True)
    assert server.state == "Completed"
    layer.advance(0)
    assert (server.state, layer.take()) == (None, ["terminated"])


def test_transport_error__stays_and_answers_when_asked_again(layer: ManualLayer) -> None:
    server = served(layer)
    layer.fail_sends = True
    assert not layer.respond(server, response(100, OPTIONS))
    assert (server.state, layer.take()) == ("Proceeding", ["cannot send 100", "failure"])
    assert not layer.respond(server, response(200, OPTIONS))
    assert (server.state, layer.take()) == ("Completed", ["cannot send 200", "failure"])
    layer.fail_sends = False
    layer.match(OPTIONS)
    assert layer.take() == ["send 200"]


def test_buffers__request_until_the_final_response(layer: ManualLayer) -> None:
    server = served(layer)
    assert (server.request, server.response) == (OPTIONS, None)
    layer.respond(server, response(100, OPTIONS))
    assert (server.request, server.response) == (OPTIONS, response(100, OPTIONS))
    layer.respond(server, response(200, OPTIONS))
    assert (server.request, server.response, layer.buffers) == (None, response(200, OPTIONS), 1)
    layer.take()
