"""The proxy core on real sockets: a call through it, message by message.

1. RFC 3261 16.6: the forwarded INVITE: our Via on top, received and rport filled in, Max-Forwards one less,
   Record-Route, the binding's URI as Request-URI, everything else byte for byte.
2. 16.7: 100 at once and never forwarded, 180 and 200 up without our Via, in order.
3. ACK of a 2xx and BYE by the Route set; ACK of a non-2xx ends here.
4. RFC 6026: a 2xx sent again goes up again, and its ACK down again.
5. 16.10: CANCEL before and after a provisional, CANCEL against 200.
6. 16.8: Timer C. RFC 4320: no 408 to a non-INVITE.
7. 17.1.1.3: the ACK of a non-2xx towards the callee.
"""

import re
import time

import pytest
from engine import ack, engine, header, headers, reply, request


@pytest.fixture
def server():
    with engine() as made:
        yield made


@pytest.fixture
def pair(server):
    alice, bob = server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name};line=2")
    return alice, bob


def confirmed(alice, bob):
    """An answered call: the INVITE as bob saw it, the 200 as alice saw it."""
    alice.send(request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>"))
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
    return invite, alice.expect("SIP/2.0 200")


def in_dialog(method, ok, phone, cseq, to_caller=False):
    """A request inside the dialog of a 200, by the caller or (to_caller) by the callee."""
    route = f"Route: {header(ok, 'Record-Route')}"
    tag = re.search(r"tag=(\S+)", header(ok, "To"))[1]
    target = re.search(r"<(.*)>", header(ok, "Contact"))[1]
    if to_caller:
        return request(
            method,
            to_caller,
            phone,
            route,
            call_id=header(ok, "Call-ID"),
            cseq=cseq,
            from_tag=tag,
            to_tag="a1",
            caller="sip:bob@example.com",
            callee="sip:alice@example.com",
        )
    return request(method, target, phone, route, call_id=header(ok, "Call-ID"), cseq=cseq, to_tag=tag)


def test_forwarded_invite(server, pair):
    alice, bob = pair
    via = f"Via: SIP/2.0/UDP phone.invalid:{alice.port};rport;branch=z9hG4bK-x, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-y"
    odd = ("X-Odd:  kept   as\r\n it came", "s: Subj", "timestamp : 54.2")
    text = request("INVITE", "sip:bob@example.com", alice, *odd, via=via, body="v=0\r\n")
    alice.send(text)
    trying = alice.receive()
    assert trying.startswith("SIP/2.0 100 ")
    assert header(trying, "Timestamp") == "54.2"
    got = bob.expect("INVITE")
    assert got.split("\r\n")[0] == f"INVITE sip:bob@{bob.name};line=2 SIP/2.0"
    vias = headers(got, "Via")
    assert re.fullmatch(rf"SIP/2\.0/UDP {re.escape(server.name)};branch=z9hG4bK[A-Za-z0-9.]+", vias[0])
    assert vias[1] == (
        f"SIP/2.0/UDP phone.invalid:{alice.port};rport={alice.port};branch=z9hG4bK-x;received=127.0.0.1, "
        "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-y"
    )
    assert header(got, "Max-Forwards") == "69"
    assert re.fullmatch(rf"<sip:{re.escape(server.name)};lr;rt=[0-9a-f]{{24}}>", header(got, "Record-Route"))
    tail = text[text.index("From:") :]
    assert got.endswith(tail)
    bob.send(reply(got, "486 Busy Here"))
    bob.expect("ACK")
    busy = alice.expect("SIP/2.0 486")
    assert headers(busy, "Via") == [vias[1]]
    alice.send(ack(text, busy))


def test_call_with_route_set(server, pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>")
    alice.send(text)
    assert alice.receive().startswith("SIP/2.0 100")
    invite = bob.expect("INVITE")
    for status in ("180 Ringing", "200 OK"):
        bob.send(reply(invite, status, f"Contact: <sip:bob@{bob.name}>"))
    assert alice.receive().startswith("SIP/2.0 180")
    ok = alice.receive()
    assert ok.startswith("SIP/2.0 200")
    assert headers(ok, "Via") == [header(text, "Via")]
    alice.send(in_dialog("ACK", ok, alice, 1))
    got = bob.expect("ACK")
    assert not headers(got, "Route") and len(headers(got, "Via")) == 2
    alice.send(in_dialog("BYE", ok, alice, 2))
    got = bob.expect(f"BYE sip:bob@{bob.name}")
    assert not headers(got, "Route") and not headers(got, "Record-Route")
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")
    kinds = [fact[0] for fact in server.facts()]
    assert kinds == [2, 3]
    assert server.counters()["calls_set_up"] == 1


def test_callee_hangs_up(pair):
    alice, bob = pair
    _, ok = confirmed(alice, bob)
    alice.send(in_dialog("ACK", ok, alice, 1))
    bob.expect("ACK")
    bob.send(in_dialog("BYE", ok, bob, 7, to_caller=f"sip:alice@{alice.name}"))
    got = alice.expect("BYE")
    alice.send(reply(got, "200 OK"))
    bob.expect("SIP/2.0 200")


def test_answer_sent_again(pair):
    alice, bob = pair
    invite, ok = confirmed(alice, bob)
    again = reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>")
    for _ in range(2):
        bob.send(again)
        assert alice.expect("SIP/2.0 200") == ok
    for _ in range(2):
        alice.send(in_dialog("ACK", ok, alice, 1))
        bob.expect("ACK")
    bob.send(reply(invite, "180 Ringing"))
    assert alice.silent(), "a 180 went up after the 200"


def test_retransmitted_invite_is_absorbed(pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    assert alice.receive().startswith("SIP/2.0 100")
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "180 Ringing"))
    alice.expect("SIP/2.0 180")
    alice.send(text)
    alice.expect("SIP/2.0 180")
    assert bob.silent()
    bob.send(reply(invite, "480 Gone"))
    bob.expect("ACK")
    alice.send(ack(text, alice.expect("SIP/2.0 480 Gone")))


def test_final_answer_is_repeated_until_acknowledged(pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    bob.send(reply(bob.expect("INVITE"), "486 Busy Here"))
    got = bob.expect("ACK")
    assert header(got, "CSeq") == "1 ACK" and len(headers(got, "Via")) == 1
    busy = alice.expect("SIP/2.0 486")
    assert alice.expect("SIP/2.0 486") == busy
    alice.send(ack(text, busy))
    assert alice.silent(0.3)
    assert bob.silent(0.01), "the ACK of a non-2xx went on"


@pytest.mark.parametrize("ringing", [True, False])
def test_cancel(server, pair, ringing):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice, branch="z9hG4bK-c")
    alice.send(text)
    invite = bob.expect("INVITE")
    if ringing:
        bob.send(reply(invite, "180 Ringing"))
        alice.expect("SIP/2.0 180")
    call = header(text, "Call-ID")
    alice.send(request("CANCEL", "sip:bob@example.com", alice, branch="z9hG4bK-c", call_id=call))
    assert header(alice.expect("SIP/2.0 200"), "CSeq") == "1 CANCEL"
    if not ringing:
        while (got := bob.receive()).startswith("CANCEL") is False:
            assert got.startswith("INVITE"), "CANCEL must wait for a provisional response"
            bob.send(reply(got, "100 Trying"))
        cancel = got
    else:
        cancel = bob.expect("CANCEL")
    assert header(cancel, "Via") == header(invite, "Via") and header(cancel, "CSeq") == "1 CANCEL"
    bob.send(reply(cancel, "200 OK"))
    bob.send(reply(invite, "487 Request Terminated"))
    while not (got := bob.receive()).startswith("ACK"):
        assert got.startswith(("INVITE", "CANCEL"))
    gone = alice.expect("SIP/2.0 487")
    alice.send(ack(text, gone))
    assert server.counters()["calls_cancelled"] == 1


def test_cancel_crossing_the_answer(pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice, branch="z9hG4bK-r", call_id="race@x")
    alice.send(text)
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
    alice.expect("SIP/2.0 200")
    alice.send(request("CANCEL", "sip:bob@example.com", alice, branch="z9hG4bK-r", call_id="race@x"))
    assert header(alice.expect("SIP/2.0 200"), "CSeq") == "1 CANCEL"
    assert bob.silent()


def test_cancel_of_nothing(server):
    alice = server.phone()
    alice.send(request("CANCEL", "sip:bob@example.com", alice))
    alice.expect("SIP/2.0 481")


def test_nobody_answers(server, pair):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    bob.expect("INVITE")
    gone = alice.expect("SIP/2.0 408", 4)
    alice.send(ack(text, gone))
    assert server.counters()["calls_failed_4xx"] == 1


def test_no_408_for_other_methods(pair):
    alice, bob = pair
    alice.send(request("MESSAGE", "sip:bob@example.com", alice))
    bob.expect("MESSAGE")
    assert alice.silent(2), "RFC 4320 4.2"


def test_an_answer_of_our_own_leaves_no_room_for_a_100(pair):
    alice, _ = pair
    text = request("INVITE", "sip:bob@example.com", alice, body="x" * 65_170)
    alice.send(text)
    refused = alice.receive(2)
    assert refused.startswith("SIP/2.0 513"), "with our Via it is larger than a datagram"
    alice.send(ack(text, refused))


@pytest.mark.parametrize("provisional", ["", "100 Trying"])
def test_the_100_waits_for_a_better_answer(provisional):
    with engine(trying=150) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        quick = request("INVITE", "sip:bob@example.com", alice)
        alice.send(quick)
        bob.send(reply(bob.expect("INVITE"), "486 Busy Here"))
        busy = alice.receive(2)
        assert busy.startswith("SIP/2.0 486"), "and no 100 before it"
        alice.send(ack(quick, busy))
        bob.expect("ACK")
        slow = request("INVITE", "sip:bob@example.com", alice)
        begun = time.monotonic()
        alice.send(slow)
        invite = bob.expect("INVITE")
        if provisional:
            bob.send(reply(invite, provisional))
        alice.expect("SIP/2.0 100")
        assert time.monotonic() - begun > 0.1
        bob.send(reply(invite, "486 Busy Here"))
        alice.send(ack(slow, alice.expect("SIP/2.0 486")))
        bob.expect("ACK")


def test_an_invite_that_comes_again_gets_its_100_at_once():
    with engine(trying=200) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        text = request("INVITE", "sip:bob@example.com", alice)
        begun = time.monotonic()
        alice.send(text)
        invite = bob.expect("INVITE")
        alice.send(text)
        alice.expect("SIP/2.0 100")
        assert time.monotonic() - begun < 0.2
        alice.send(text)
        alice.expect("SIP/2.0 100")
        bob.send(reply(invite, "180 Ringing"))
        alice.expect("SIP/2.0 180")
        bob.send(reply(invite, "486 Busy Here"))
        alice.send(ack(text, alice.expect("SIP/2.0 486")))


def test_timer_c():
    with engine(timer_c=300) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        text = request("INVITE", "sip:bob@example.com", alice)
        alice.send(text)
        invite = bob.expect("INVITE")
        bob.send(reply(invite, "180 Ringing"))
        cancel = bob.expect("CANCEL", 1)
        bob.send(reply(cancel, "200 OK"))
        bob.send(reply(invite, "487 Request Terminated"))
        alice.expect("SIP/2.0 180")
        gone = alice.expect("SIP/2.0 408")
        alice.send(ack(text, gone))


def test_timer_c_and_a_callee_that_ignores_cancel():
    with engine(timer_c=200) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        text = request("INVITE", "sip:bob@example.com", alice)
        alice.send(text)
        bob.send(reply(bob.expect("INVITE"), "180 Ringing"))
        bob.expect("CANCEL", 1)
        alice.expect("SIP/2.0 180")
        alice.send(ack(text, alice.expect("SIP/2.0 408", 4)))


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("503 Service Unavailable", "500"),
        ("500 Oops", "500"),
        ("603 Decline", "603"),
        ("302 Moved", "302"),
        ("407 Elsewhere", "407"),
    ],
)
def test_final_answers(pair, below, above):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    bob.send(reply(bob.expect("INVITE"), below))
    bob.expect("ACK")
    alice.send(ack(text, alice.expect(f"SIP/2.0 {above}")))


def test_other_methods_and_unknown_ones(pair):
    alice, bob = pair
    for method in ("OPTIONS", "MESSAGE", "SUBSCRIBE", "NEWMETHOD"):
        alice.send(request(method, "sip:bob@example.com", alice))
        got = bob.expect(method)
        bob.send(reply(got, "200 OK"))
        assert header(alice.expect("SIP/2.0 200"), "CSeq") == f"1 {method}"


def test_stray_response_is_dropped(server, pair):
    alice, bob = pair
    invite = request("INVITE", "sip:bob@example.com", alice)
    bob.send(reply(invite, "200 OK"))
    assert alice.silent()
    assert server.counters()["dropped_stray"] == 1


def test_limit_of_transactions():
    with engine(transactions=2) as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        first, second = (request("INVITE", "sip:bob@example.com", alice) for _ in range(2))
        alice.send(first)
        invite = bob.expect("INVITE")
        bob.send(reply(invite, "180 Ringing"))
        alice.expect("SIP/2.0 180")
        alice.send(second)
        full = alice.expect("SIP/2.0 503")
        assert header(full, "Retry-After")
        alice.send(ack(second, full))
        bob.send(reply(invite, "486 Busy Here"))
        bob.expect("ACK")
        alice.send(ack(first, alice.expect("SIP/2.0 486")))
        assert server.counters()["rejected_full"] == 1


def test_drain():
    with engine() as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        _, ok = confirmed(alice, bob)
        server.worker.drain()
        alice.send(request("OPTIONS", f"sip:{server.name}", alice))
        assert header(alice.expect("SIP/2.0 503"), "Retry-After")
        alice.send(request("INVITE", "sip:bob@example.com", alice))
        alice.expect("SIP/2.0 503")
        alice.send(in_dialog("BYE", ok, alice, 2))
        bob.send(reply(bob.expect("BYE"), "200 OK"))
        alice.expect("SIP/2.0 200")


def test_finish_answers_what_is_open(pair, server):
    alice, bob = pair
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    invite = bob.expect("INVITE")
    bob.send(reply(invite, "180 Ringing"))
    alice.expect("SIP/2.0 180")
    server.worker.finish()
    alice.send(ack(text, alice.expect("SIP/2.0 503")))
    bob.send(reply(bob.expect("CANCEL"), "200 OK"))
    bob.send(reply(invite, "487 Request Terminated"))


def test_call_between_address_families():
    """RFC 5658: each side is given a Record-Route URI it can reach, and both are taken out on the way back."""
    with engine(host="127.0.0.1", and_listen="::1") as server:
        alice, bob = server.phone("127.0.0.1"), server.phone("::1")
        bob.proxy = server.second
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>"))
        invite = bob.expect("INVITE")
        routes = headers(invite, "Record-Route")
        assert [route.split(";")[0] for route in routes] == [f"<sip:[::1]:{server.second[1]}", f"<sip:{server.name}"]
        bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        ok = alice.expect("SIP/2.0 200")
        for method, cseq in (("ACK", 1), ("BYE", 2)):
            route = ", ".join(reversed(headers(ok, "Record-Route")))
            alice.send(
                request(
                    method,
                    f"sip:bob@{bob.name}",
                    alice,
                    f"Route: {route}",
                    call_id=header(ok, "Call-ID"),
                    cseq=cseq,
                    to_tag="b1",
                )
            )
            got = bob.expect(method)
            assert not headers(got, "Route")
        bob.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


@pytest.mark.parametrize("status", ["200 OK", "481 Call/Transaction Does Not Exist", "500 Server Internal Error"])
def test_a_dialog_is_over_when_its_bye_finds_none(server, pair, status):
    alice, bob = pair
    _, ok = confirmed(alice, bob)
    alice.send(in_dialog("BYE", ok, alice, 2))
    bob.send(reply(bob.expect("BYE"), status))
    alice.expect(f"SIP/2.0 {status[:3]}")
    kinds = [fact[0] for fact in server.facts()]
    assert kinds == ([2] if status.startswith("500") else [2, 3])
