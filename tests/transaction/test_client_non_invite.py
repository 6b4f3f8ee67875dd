"""The non-INVITE client transaction: RFC 3261 17.1.2 and 17.1.4.

1. Trying: Timer E doubles to T2, Timer F tells the TU
2. Proceeding: Timer E goes on, at T2; Timer F still ends it
3. Completed: the final response goes up once, Timer K
4. reliable transports: no E, K of zero
5. transport errors: the TU is told, then it ends
6. buffers: the request while it may be sent again
"""

from __future__ import annotations

import pytest
from wire import T1, T2, T4, request, response

from fastsip._testing import ManualLayer, ManualTransaction


def sent(
    layer: ManualLayer, *statuses: int, method: str = "OPTIONS", reliable: bool = False
) -> tuple[ManualTransaction, bytes]:
    client = layer.client(method)
    assert client is not None
    message = request(method, branch=layer.branch(client))
    assert layer.start(client, message, reliable)
    for status in statuses:
        layer.receive_response(response(status, message))
    layer.take()
    return client, message


def ladder(layer: ManualLayer, ms: int) -> list[tuple[int, str]]:
    start: int = layer.now
    heard: list[tuple[int, str]] = []
    layer.on_event = lambda event, _: heard.append((layer.now - start, event))
    layer.advance(ms)
    return heard


def test_trying__timer_e_doubles_to_t2_until_timer_f(layer: ManualLayer) -> None:
    sent(layer)
    times = [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    assert ladder(layer, 64 * T1) == [
        *((at, "send OPTIONS") for at in times),
        (64 * T1, "timeout"),
        (64 * T1, "terminated"),
    ]


def test_proceeding__timer_e_at_t2_and_timer_f_as_before(layer: ManualLayer) -> None:
    client, message = sent(layer)
    layer.advance(T1)
    layer.receive_response(response(100, message))
    assert (client.state, layer.take()) == ("Proceeding", ["send OPTIONS", "response 100"])
    running = 2 * T1  # set before the provisional came; from its firing on it is T2
    assert ladder(layer, 64 * T1 - T1) == [
        *((running + T2 * n, "send OPTIONS") for n in range(8)),
        (64 * T1 - T1, "timeout"),
        (64 * T1 - T1, "terminated"),
    ]


def test_proceeding__each_provisional_goes_up(layer: ManualLayer) -> None:
    client, message = sent(layer, 100)
    layer.receive_response(response(183, message))
    assert (client.state, client.status, layer.take()) == ("Proceeding", 183, ["response 183"])
    layer.end(client)


@pytest.mark.parametrize("first", [(), (100,)])
@pytest.mark.parametrize("status", [200, 302, 404, 500, 600])
@pytest.mark.parametrize("method", ["REGISTER", "BYE", "FROBNICATE"])
def test_completed__the_final_response_goes_up_once(
    layer: ManualLayer, first: tuple[int, ...], status: int, method: str
) -> None:
    client, message = sent(layer, *first, method=method)
    assert layer.receive_response(response(status, message))
    assert (client.state, layer.take()) == ("Completed", [f"response {status}"])
    for again in (status, 200, 100):
        assert layer.receive_response(response(again, message))
    layer.advance(T4 - 1)
    assert (client.state, client.status, layer.take()) == ("Completed", status, [])
    layer.advance(1)
    assert (client.state, layer.take()) == (None, ["terminated"])


def test_reliable__no_timer_e_and_timer_k_of_zero(layer: ManualLayer) -> None:
    client, message = sent(layer, reliable=True)
    layer.advance(64 * T1 - 1)
    assert (client.state, layer.take()) == ("Trying", [])
    layer.receive_response(response(200, message))
    assert (client.state, layer.take()) == ("Completed", ["response 200"])
    layer.advance(0)
    assert layer.take() == ["terminated"]


def test_reliable__timer_f(layer: ManualLayer) -> None:
    sent(layer, 100, reliable=True)
    layer.advance(64 * T1)
    assert layer.take() == ["timeout", "terminated"]


@pytest.mark.parametrize("statuses", [(), (100,)])
def test_transport_error__tells_the_tu_and_ends(layer: ManualLayer, statuses: tuple[int, ...]) -> None:
    sent(layer, *statuses)
    layer.fail_sends = True
    layer.advance(T1)
    assert layer.take() == ["cannot send OPTIONS", "failure", "terminated"]


def test_transport_error__at_the_start(layer: ManualLayer) -> None:
    client = layer.client("BYE")
    assert client is not None
    layer.fail_sends = True
    assert not layer.start(client, request("BYE", branch=layer.branch(client)))
    assert (layer.live, layer.take()) == (0, ["cannot send BYE", "failure", "terminated"])


def test_buffers__the_request_while_it_may_be_sent_again(layer: ManualLayer) -> None:
    client, message = sent(layer, 100)
    assert client.request == message
    layer.receive_response(response(200, message))
    assert (client.request, layer.buffers) == (None, 0)
    layer.take()
    client, _ = sent(layer, reliable=True)
    assert (client.request, layer.buffers) == (None, 0)
    layer.end(client)


def test_cancel_of_anything_but_invite_is_refused(layer: ManualLayer) -> None:
    client, _ = sent(layer, 100)
    assert not layer.cancel(client)
    assert layer.take() == []
    layer.end(client)
