"""The INVITE client transaction: RFC 3261 17.1.1 and 17.1.4 with RFC 6026 7.2 and 8.4, and CANCEL (9.1).

1. Calling: Timer A doubles without a cap, Timer B tells the TU
2. a provisional response stops both; all of them go up
3. 2xx: Accepted, every 2xx goes up, Timer M, no ACK
4. 300-699: ACK (17.1.1.3), once up, the ACK again for each retransmission, Timer D: 32 s with the default T1
5. reliable transports: no A, D of zero, M as ever
6. transport errors: the TU is told, then it ends
7. CANCEL: not before a provisional, not after the final response, built from the INVITE, its own machine
8. buffers: the INVITE until the final response, the ACK in Completed
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wire import T1, T4, headers, request, response

from fastsip._testing import ManualLayer, ManualTransaction

ROUTES = ("Route: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>", "Subject: hello", "r: <sip:not-a-route>")
MORE = (*ROUTES, "Route: <sip:p3.example.com;lr>", "Require: 100rel", "Proxy-Require: foo")


def called(layer: ManualLayer, *statuses: int, reliable: bool = False) -> tuple[ManualTransaction, bytes]:
    client = layer.client("INVITE")
    assert client is not None
    invite = request(branch=layer.branch(client, 77), sent_by="proxy.example.net", headers=MORE, body="v=0")
    assert layer.start(client, invite, reliable)
    assert layer.take() == ["send INVITE"]
    for status in statuses:
        assert layer.receive_response(response(status, invite))
    layer.take()
    return client, invite


def test_calling__timer_a_doubles_until_timer_b_ends_it(layer: ManualLayer) -> None:
    client, _ = called(layer)
    start, heard = layer.now, []
    layer.on_event = lambda event, _: heard.append((layer.now - start, event))
    layer.advance(64 * T1)
    assert heard == [
        *((T1 * at, "send INVITE") for at in (1, 3, 7, 15, 31, 63)),
        (64 * T1, "timeout"),
        (64 * T1, "terminated"),
    ]
    assert client.state is None


def test_provisional__stops_a_and_b_and_goes_up(layer: ManualLayer) -> None:
    client, invite = called(layer)
    assert layer.receive_response(response(100, invite))
    assert (client.state, client.status, layer.take()) == ("Proceeding", 100, ["response 100"])
    assert layer.armed == 0
    for status in (180, 180, 183):
        layer.receive_response(response(status, invite))
    assert (client.state, layer.take()) == ("Proceeding", ["response 180", "response 180", "response 183"])
    layer.advance(300_000)
    assert (client.state, layer.take()) == ("Proceeding", [])
    layer.end(client)


@pytest.mark.parametrize("first", [(), (180,)])
@pytest.mark.parametrize("reliable", [False, True])
def test_2xx__accepted_until_timer_m_and_every_2xx_goes_up(
    layer: ManualLayer, first: tuple[int, ...], reliable: bool
) -> None:
    client, invite = called(layer, *first, reliable=reliable)
    layer.receive_response(response(200, invite))
    assert (client.state, layer.take()) == ("Accepted", ["response 200"])
    layer.advance(64 * T1 - 1)
    layer.receive_response(response(200, invite, to_tag="another-branch"))
    assert (client.state, layer.take()) == ("Accepted", ["response 200"])
    layer.advance(1)
    assert (client.state, layer.take()) == (None, ["terminated"])
    assert not layer.receive_response(response(200, invite))
    assert layer.take() == []


def test_accepted__other_responses_are_dropped(layer: ManualLayer) -> None:
    client, invite = called(layer, 200)
    for status in (100, 180, 486):
        assert layer.receive_response(response(status, invite))
    assert (client.state, client.status, layer.take()) == ("Accepted", 200, [])


@pytest.mark.parametrize("first", [(), (180,)])
@pytest.mark.parametrize("status", [302, 486, 503, 603])
def test_refused__ack_and_once_to_the_tu(layer: ManualLayer, first: tuple[int, ...], status: int) -> None:
    client, invite = called(layer, *first)
    layer.receive_response(response(status, invite))
    assert (client.state, layer.take()) == ("Completed", ["send ACK", f"response {status}"])
    built = layer.sent[-1]
    layer.receive_response(response(status, invite))
    assert (client.state, layer.take()) == ("Completed", ["send ACK"])
    assert layer.sent[-1] == built
    assert layer.counters == {"retransmissions_in": 1, "retransmissions_out": 1, "strays": 0}


def test_refused__late_provisionals_and_2xx_are_dropped(layer: ManualLayer) -> None:
    client, invite = called(layer, 486)
    for status in (100, 180, 200):
        assert layer.receive_response(response(status, invite))
    assert (client.state, layer.take()) == ("Completed", [])


@pytest.mark.parametrize(("t1", "timer_d"), [(500, 32_000), (10, 640), (1000, 64_000)])
def test_timer_d_follows_t1(new_layer: Callable[..., ManualLayer], t1: int, timer_d: int) -> None:
    layer = new_layer(t1=t1)
    client, _ = called(layer, 486)
    layer.advance(timer_d - 1)
    assert (client.state, layer.take()) == ("Completed", [])
    layer.advance(1)
    assert layer.take() == ["terminated"]


def test_ack_is_that_of_17_1_1_3(layer: ManualLayer) -> None:
    client, invite = called(layer)
    layer.receive_response(response(486, invite, to_tag="callee"))
    built = layer.sent[-1]
    assert built.startswith(b"ACK sip:bob@example.com SIP/2.0\r\n") and built.endswith(b"\r\n\r\n")
    assert sorted(headers(built)) == sorted(
        [
            ("Via", f"SIP/2.0/UDP proxy.example.net;branch={layer.branch(client, 77)}"),
            ("From", "<sip:alice@example.com>;tag=from1"),
            ("To", "<sip:bob@example.com>;tag=callee"),
            ("Call-ID", "call1"),
            ("Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>"),
            ("Route", "<sip:p3.example.com;lr>"),
            ("CSeq", "1 ACK"),
            ("Max-Forwards", "70"),
            ("Content-Length", "0"),
        ]
    )


def test_ack_has_one_via_of_several(layer: ManualLayer) -> None:
    client = layer.client("INVITE")
    assert client is not None
    top = f"SIP/2.0/UDP proxy.example.net;branch={layer.branch(client)}"
    invite = request(via=f"{top} , SIP/2.0/UDP a;branch=z9hG4bKa", headers=("v: SIP/2.0/UDP b;branch=z9hG4bKb",))
    layer.start(client, invite)
    layer.receive_response(response(404, invite))
    assert [value for name, value in headers(layer.sent[-1]) if name in ("Via", "v")] == [top]
    layer.take()


def test_ack_copies_folded_and_compact_headers_whole(layer: ManualLayer) -> None:
    client = layer.client("INVITE")
    assert client is not None
    invite = (
        f"INVITE sip:bob@example.com SIP/2.0\r\nv: SIP/2.0/UDP p;branch={layer.branch(client)}\r\n"
        'f: "A"\r\n <sip:a@example.com>;tag=1\r\nt: <sip:b@example.com>\r\ni: c1\r\nCSeq: 2147483647 INVITE\r\n\r\n'
    ).encode()
    layer.start(client, invite)
    refused = (
        f"SIP/2.0 404 Not Found\r\nv: SIP/2.0/UDP p;branch={layer.branch(client)}\r\nf: <sip:a@example.com>;tag=1\r\n"
        "t:\t<sip:b@example.com>\r\n\t;tag=2\r\ni: c1\r\nCSeq: 2147483647 INVITE\r\nl: 0\r\n\r\n"
    ).encode()
    assert layer.receive_response(refused)
    built = layer.sent[-1]
    assert b'f: "A"\r\n <sip:a@example.com>;tag=1\r\n' in built
    assert b"t:\t<sip:b@example.com>\r\n\t;tag=2\r\n" in built
    assert b"i: c1\r\n" in built and b"CSeq: 2147483647 ACK\r\n" in built
    layer.take()


def test_reliable__no_timer_a_and_timer_d_of_zero(layer: ManualLayer) -> None:
    client, invite = called(layer, reliable=True)
    layer.advance(64 * T1 - 1)
    assert (client.state, layer.take()) == ("Calling", [])
    layer.receive_response(response(486, invite))
    assert (client.state, layer.take()) == ("Completed", ["send ACK", "response 486"])
    layer.advance(0)
    assert (client.state, layer.take()) == (None, ["terminated"])


def test_reliable__timer_b(layer: ManualLayer) -> None:
    called(layer, reliable=True)
    layer.advance(64 * T1)
    assert layer.take() == ["timeout", "terminated"]


def test_transport_error__at_the_start(layer: ManualLayer) -> None:
    client = layer.client("INVITE")
    assert client is not None
    layer.fail_sends = True
    assert not layer.start(client, request(branch=layer.branch(client)))
    assert layer.take() == ["cannot send INVITE", "failure", "terminated"]
    assert (client.state, layer.live, layer.buffers, layer.armed) == (None, 0, 0, 0)


def test_transport_error__on_a_retransmission(layer: ManualLayer) -> None:
    called(layer)
    layer.fail_sends = True
    layer.advance(T1)
    assert layer.take() == ["cannot send INVITE", "failure", "terminated"]


def test_transport_error__of_the_ack_comes_after_the_response(layer: ManualLayer) -> None:
    client, invite = called(layer, 180)
    layer.fail_sends = True
    assert layer.receive_response(response(486, invite))
    assert layer.take() == ["cannot send ACK", "response 486", "failure", "terminated"]
    assert client.state is None


def test_transport_error__of_the_ack_again(layer: ManualLayer) -> None:
    _, invite = called(layer, 486)
    layer.fail_sends = True
    layer.receive_response(response(486, invite))
    assert layer.take() == ["cannot send ACK", "failure", "terminated"]


def test_discarded_before_the_start(layer: ManualLayer) -> None:
    client = layer.client("INVITE")
    assert client is not None and client.state == ""
    assert not layer.receive_response(response(200, request(branch=layer.branch(client))))
    layer.discard(client)
    assert (client.state, layer.live, layer.take()) == (None, 0, [])


def test_cancel__is_that_of_9_1(layer: ManualLayer) -> None:
    client, _ = called(layer, 180)
    assert layer.cancel(client)
    assert layer.take() == ["send CANCEL"]
    assert sorted(headers(layer.sent[-1])) == sorted(
        [
            ("Via", f"SIP/2.0/UDP proxy.example.net;branch={layer.branch(client, 77)}"),
            ("From", "<sip:alice@example.com>;tag=from1"),
            ("To", "<sip:bob@example.com>"),
            ("Call-ID", "call1"),
            ("Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>"),
            ("Route", "<sip:p3.example.com;lr>"),
            ("CSeq", "1 CANCEL"),
            ("Max-Forwards", "70"),
            ("Content-Length", "0"),
        ]
    )
    assert layer.sent[-1].startswith(b"CANCEL sip:bob@example.com SIP/2.0\r\n")
    layer.end(client)


def test_cancel__not_before_a_provisional_nor_after_the_final_response(layer: ManualLayer) -> None:
    client, invite = called(layer)
    assert not layer.cancel(client)
    layer.receive_response(response(486, invite))
    layer.take()
    assert not layer.cancel(client)
    accepted, _ = called(layer, 200)
    assert not layer.cancel(accepted)
    assert layer.take() == []


def test_cancel__its_response_ends_its_own_machine_and_the_tu_hears_nothing(layer: ManualLayer) -> None:
    client, invite = called(layer, 180)
    layer.cancel(client)
    assert client.cancel is not None and not layer.cancel(client)
    layer.advance(T1)
    assert layer.take() == ["send CANCEL", "send CANCEL"]
    assert layer.receive_response(response(200, invite, cseq_method="CANCEL"))
    layer.advance(T4)
    assert client.cancel is None and layer.take() == []
    assert not layer.receive_response(response(200, invite, cseq_method="CANCEL"))
    assert client.state == "Proceeding"
    layer.receive_response(response(487, invite))
    assert layer.take() == ["send ACK", "response 487"]


def test_cancel__unanswered_it_times_out_silently(layer: ManualLayer) -> None:
    client, _ = called(layer, 180)
    layer.cancel(client)
    layer.advance(64 * T1)
    assert set(layer.take()) == {"send CANCEL"}
    assert (client.state, client.cancel, layer.live) == ("Proceeding", None, 1)
    layer.end(client)


def test_cancel__a_response_to_a_cancel_never_sent_is_a_stray(layer: ManualLayer) -> None:
    client, invite = called(layer, 180)
    assert not layer.receive_response(response(200, invite, cseq_method="CANCEL"))
    assert (client.state, layer.counters["strays"]) == ("Proceeding", 1)
    layer.end(client)


def test_cancel__its_slot_has_no_branch_of_its_own(layer: ManualLayer) -> None:
    client, _ = called(layer, 180)
    layer.cancel(client)
    own = client.cancel
    assert own is not None
    answer = response(200, request("CANCEL", branch=layer.branch(own)))
    assert not layer.receive_response(answer) and own.state == "Trying"
    layer.take()
    layer.end(client)


def test_cancel__goes_with_its_invite(layer: ManualLayer) -> None:
    client, invite = called(layer, 180, reliable=True)
    layer.cancel(client)
    layer.receive_response(response(487, invite))
    assert (layer.live, layer.take()) == (2, ["send CANCEL", "send ACK", "response 487"])
    layer.advance(0)
    assert (layer.live, layer.armed, layer.buffers, layer.take()) == (0, 0, 0, ["terminated"])


def test_cancel__that_cannot_be_sent(layer: ManualLayer) -> None:
    client, _ = called(layer, 180)
    layer.fail_sends = True
    assert not layer.cancel(client)
    assert (client.cancel, layer.live, layer.take()) == (None, 1, ["cannot send CANCEL"])
    layer.end(client)


def test_buffers__the_invite_until_the_final_response_then_the_ack(layer: ManualLayer) -> None:
    client, invite = called(layer, 180)
    assert (client.request, layer.buffers) == (invite, 1)
    layer.receive_response(response(486, invite))
    assert (client.request, client.response, layer.buffers) == (None, layer.sent[-1], 1)
    layer.take()
    accepted, invite = called(layer, 180)
    layer.receive_response(response(200, invite))
    assert (accepted.request, accepted.response, layer.buffers) == (None, None, 1)
    layer.take()


def test_buffers__the_invite_is_there_while_the_tu_hears_of_the_final_response(layer: ManualLayer) -> None:
    client, invite = called(layer, 180)
    seen: list[bytes | None] = []
    layer.on_event = lambda event, t: seen.append(t.request) if t and event == "response 486" else None
    layer.receive_response(response(486, invite))
    assert seen == [invite] and client.request is None
    layer.take()
