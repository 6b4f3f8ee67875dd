"""The INVITE server transaction: RFC 3261 17.2.1 and 17.2.4 with RFC 6026 7.1, 8.5, 8.7, 8.8.

1. Proceeding: provisional responses are sent as they come, a retransmitted INVITE gets the last one again
2. 2xx: Accepted; INVITEs absorbed unanswered, 2xx of the TU go out, ACK goes up, Timer L ends it on every transport
3. 300-699: Completed; Timer G doubles from T1 to T2, an INVITE gets the response again, ACK confirms, Timer H tells
   the TU
4. Confirmed: ACKs and INVITEs absorbed, Timer I
5. reliable transports: no G, I at once
6. transport errors tell the TU and change nothing (RFC 6026 8.8)
7. nothing after the final response but what the figure shows
8. buffers: the request until the final response, the response until the ACK
"""

from __future__ import annotations

from wire import T1, T2, T4, ack, request, response

from fastsip._testing import ManualLayer, ManualTransaction

INVITE = request()


def served(layer: ManualLayer, *statuses: int, reliable: bool = False) -> ManualTransaction:
    server = layer.serve(INVITE, reliable)
    assert server is not None
    for status in statuses:
        layer.respond(server, response(status, INVITE))
    layer.take()
    return server


def test_proceeding__invite_again_before_any_response_is_absorbed(layer: ManualLayer) -> None:
    server = layer.serve(INVITE)
    assert server is not None and server.state == "Proceeding"
    assert layer.match(INVITE) == ("absorbed", server)
    assert layer.take() == []
    layer.end(server)


def test_proceeding__invite_again_gets_the_last_provisional(layer: ManualLayer) -> None:
    server = served(layer, 100, 180)
    assert layer.match(INVITE) == ("absorbed", server)
    assert layer.take() == ["send 180"]
    assert layer.sent[-1] == response(180, INVITE)
    layer.respond(server, response(183, INVITE))
    layer.match(INVITE)
    assert layer.take() == ["send 183", "send 183"]
    assert (server.state, server.status) == ("Proceeding", 183)
    assert layer.counters["retransmissions_in"] == 2
    assert layer.counters["retransmissions_out"] == 2
    layer.end(server)


def test_proceeding__no_timer_runs(layer: ManualLayer) -> None:
    server = served(layer, 100)
    assert layer.armed == 0
    layer.advance(10 * 64 * T1)
    assert (server.state, layer.take()) == ("Proceeding", [])
    layer.end(server)


def test_2xx__accepted_until_timer_l(layer: ManualLayer) -> None:
    server = served(layer, 180)
    assert layer.respond(server, response(200, INVITE))
    assert (server.state, layer.take()) == ("Accepted", ["send 200"])
    layer.advance(64 * T1 - 1)
    assert (server.state, layer.take()) == ("Accepted", [])
    layer.advance(1)
    assert (server.state, layer.take()) == (None, ["terminated"])


def test_accepted__invite_again_is_absorbed_without_an_answer(layer: ManualLayer) -> None:
    server = served(layer, 200)
    assert layer.match(INVITE) == ("absorbed", server)
    assert (server.state, layer.take()) == ("Accepted", [])


def test_accepted__more_2xx_from_the_tu_are_sent_and_not_kept(layer: ManualLayer) -> None:
    server = served(layer, 180, 200)
    assert layer.respond(server, response(200, INVITE, to_tag="other"))
    assert (server.state, layer.take()) == ("Accepted", ["send 200"])
    assert (server.request, server.response, layer.buffers) == (None, None, 0)


def test_accepted__ack_goes_to_the_tu(layer: ManualLayer) -> None:
    server = served(layer, 200)
    assert layer.match(ack(INVITE)) == ("ACK for the TU", server)
    assert (server.state, layer.take()) == ("Accepted", [])


def test_accepted__a_refusal_or_a_provisional_is_dropped(layer: ManualLayer) -> None:
    server = served(layer, 200)
    for status in (100, 180, 302, 486, 603):
        assert not layer.respond(server, response(status, INVITE))
    assert (server.state, server.status, layer.take()) == ("Accepted", 200, [])


def test_timer_l_is_64_t1_on_reliable_transports_too(layer: ManualLayer) -> None:
    server = served(layer, 200, reliable=True)
    layer.advance(64 * T1 - 1)
    assert server.state == "Accepted"
    layer.advance(1)
    assert layer.take() == ["terminated"]


def test_refused__timer_g_doubles_from_t1_to_t2(layer: ManualLayer) -> None:
    server = served(layer, 180, 486)
    start, sent = layer.now, []
    layer.on_event = lambda event, _: sent.append((layer.now - start, event))
    layer.advance(20_000)
    ladder = [T1, 3 * T1, 7 * T1, 7 * T1 + T2, 7 * T1 + 2 * T2, 7 * T1 + 3 * T2, 7 * T1 + 4 * T2]
    assert sent == [(at, "send 486") for at in ladder]
    assert server.state == "Completed"


def test_refused__timer_h_tells_the_tu_and_ends(layer: ManualLayer) -> None:
    server = served(layer, 486)
    layer.advance(64 * T1 - 1)
    assert server.state == "Completed"
    layer.take()
    layer.advance(1)
    assert (server.state, layer.take()) == (None, ["timeout", "terminated"])


def test_completed__invite_again_gets_the_response_again(layer: ManualLayer) -> None:
    server = served(layer, 180, 486)
    assert layer.match(INVITE) == ("absorbed", server)
    assert (server.state, layer.take()) == ("Completed", ["send 486"])


def test_completed__ack_confirms_and_retransmissions_cease(layer: ManualLayer) -> None:
    server = served(layer, 486)
    assert layer.match(ack(INVITE)) == ("absorbed", server)
    assert server.state == "Confirmed"
    layer.advance(T4 - 1)
    assert (server.state, layer.take()) == ("Confirmed", [])
    layer.advance(1)
    assert (server.state, layer.take()) == (None, ["terminated"])


def test_confirmed__acks_and_invites_are_absorbed(layer: ManualLayer) -> None:
    server = served(layer, 486)
    for message in (ack(INVITE), ack(INVITE), INVITE):
        assert layer.match(message) == ("absorbed", server)
    assert (server.state, layer.take()) == ("Confirmed", [])


def test_completed__nothing_more_from_the_tu(layer: ManualLayer) -> None:
    server = served(layer, 486)
    for status in (100, 180, 200, 404):
        assert not layer.respond(server, response(status, INVITE))
    assert (server.state, server.status, layer.take()) == ("Completed", 486, [])
    assert server.response == response(486, INVITE)


def test_reliable__no_timer_g(layer: ManualLayer) -> None:
    server = served(layer, 486, reliable=True)
    layer.advance(64 * T1 - 1)
    assert (server.state, layer.take()) == ("Completed", [])
    layer.advance(1)
    assert layer.take() == ["timeout", "terminated"]


def test_reliable__timer_i_is_zero(layer: ManualLayer) -> None:
    server = served(layer, 486, reliable=True)
    layer.match(ack(INVITE))
    assert server.state == "Confirmed"
    layer.advance(0)
    assert (server.state, layer.take()) == (None, ["terminated"])


def test_ack_before_a_final_response_is_absorbed(layer: ManualLayer) -> None:
    server = served(layer, 180)
    assert layer.match(ack(INVITE)) == ("absorbed", server)
    assert (server.state, layer.take()) == ("Proceeding", [])
    layer.end(server)


def test_transport_error__stays_in_its_state_and_absorbs(layer: ManualLayer) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.fail_sends = True
    assert not layer.respond(server, response(180, INVITE))
    assert (server.state, layer.take()) == ("Proceeding", ["cannot send 180", "failure"])
    assert not layer.respond(server, response(200, INVITE))
    assert (server.state, layer.take()) == ("Accepted", ["cannot send 200", "failure"])
    assert layer.match(INVITE) == ("absorbed", server)
    assert layer.take() == []


def test_transport_error__completed_keeps_trying_until_timer_h(layer: ManualLayer) -> None:
    server = layer.serve(INVITE)
    assert server is not None
    layer.fail_sends = True
    layer.respond(server, response(486, INVITE))
    assert (server.state, layer.take()) == ("Completed", ["cannot send 486", "failure"])
    layer.advance(T1)
    assert (server.state, layer.take()) == ("Completed", ["cannot send 486", "failure"])
    layer.fail_sends = False
    layer.advance(2 * T1)
    assert layer.take() == ["send 486"]


def test_buffers__request_until_the_final_response_and_response_until_the_ack(layer: ManualLayer) -> None:
    server = served(layer, 180)
    assert (server.request, server.response, layer.buffers) == (INVITE, response(180, INVITE), 2)
    layer.respond(server, response(486, INVITE))
    assert (server.request, server.response, layer.buffers) == (None, response(486, INVITE), 1)
    layer.match(ack(INVITE))
    assert (server.request, server.response, layer.buffers) == (None, None, 0)
    layer.take()


def test_waiting_counts_from_the_final_response(layer: ManualLayer) -> None:
    server = served(layer, 180)
    assert (layer.live, layer.waiting) == (1, 0)
    layer.respond(server, response(486, INVITE))
    assert (layer.live, layer.waiting) == (1, 1)
    layer.match(ack(INVITE))
    assert (layer.live, layer.waiting) == (1, 1)
    layer.advance(T4)
    assert (layer.live, layer.waiting) == (0, 0)
