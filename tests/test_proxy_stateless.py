"""The stateless proxy (RFC 3261 16.11), for a domain or a listen address.

1. No 100, no retransmission of its own; what comes again goes again, byte for byte; CANCEL and the ACK of a refusal
   have the branch of their INVITE, with and without the cookie. Draft 5.2.5.
2. Responses by Via: ours off, `received` and `rport` of the next followed; with another address in it they go nowhere
   (draft 8.14).
3. One target: the best q, the same one after a refresh.
4. 16.3 to 16.6 as for the stateful proxy: Proxy-Require, loops, Max-Forwards, Max-Breadth, Record-Route, rights.
5. CANCEL without a response context (16.10).
"""

from __future__ import annotations

import re

import msgspec
import pytest
from engine import ack, header, headers, reply, request
from test_proxy_rights import digest
from turns import got, phones, silent, turns

from fastsip.launch import GatewayAddress
from fastsip.testing.engine import SETTINGS, Device, Engine

DOMAIN = {"roles": {"example.com": "stateless"}}
LISTENER = {"stateless": [0]}


def branch(text: str) -> str:
    found = re.search(r"branch=(\S+)", headers(text, "Via")[0])
    assert found
    return found[1]


def pair(engine: Engine) -> list[Device]:
    alice, bob = phones(engine, 2)
    engine.bind("bob@example.com", f"sip:bob@{bob.name}")
    return [alice, bob]


def without_branch(text: str) -> str:
    return re.sub(r";branch=\S+", "", text, count=1)


@pytest.mark.parametrize("cookie", [True, False])
@pytest.mark.parametrize("settings", [DOMAIN, LISTENER])
def test_draft_5_2_5(settings: dict[str, object], cookie: bool) -> None:
    """The gateway sends its INVITE six times and then its CANCEL six times, and gets no answer to any of them."""
    with turns(**settings) as engine:
        gateway, bob = pair(engine)
        invite = request("INVITE", "sip:bob@example.com", gateway, branch="z9hG4bK-525")
        invite = invite if cookie else without_branch(invite)
        cancel = invite.replace("INVITE", "CANCEL")
        for text in (invite, cancel):
            for number in range(6):
                engine.after(0.5 * (2**number - 1), lambda text=text: gateway.send(text))
            engine.advance(32)
        assert not gateway.received, "a stateless proxy says nothing of its own"
        texts = [text for _, text in bob.received]
        assert [text.split()[0] for text in texts] == ["INVITE"] * 6 + ["CANCEL"] * 6
        assert len(set(texts)) == 2, "what came again must go again as it went"
        assert len({branch(text) for text in texts}) == 1
        times = [when for when, _ in bob.received]
        assert times[:6] == [0, 0.5, 1.5, 3.5, 7.5, 15.5], "sent when they came, and at no other time"
        assert engine.counters()["transactions"] == 0


@pytest.mark.parametrize("cookie", [True, False])
def test_a_refused_call(cookie: bool) -> None:
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice)
        text = text if cookie else without_branch(text)
        alice.send(text)
        invite = got(bob, "INVITE")
        for status in ("100 Trying", "183 Session Progress", "486 Busy Here"):
            bob.send(reply(invite, status, "X-Odd:  as\r\n it  is"))
            answer = got(alice, f"SIP/2.0 {status}")
            assert headers(answer, "Via") == [header(text, "Via")] and "X-Odd:  as\r\n it  is\r\n" in answer
        alice.send(ack(text, answer))
        acked = got(bob, f"ACK sip:bob@{bob.name} ")
        assert branch(acked) == branch(invite)
        assert not headers(acked, "Record-Route")


def test_an_answered_call() -> None:
    """With Record-Route, the ACK and the BYE come by the Route set, to a listen address that keeps state."""
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>")
        alice.send(text)
        invite = got(bob, "INVITE")
        answer = reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>")
        for _ in range(3):
            bob.send(answer)
            ok = got(alice, "SIP/2.0 200")
        route = f"Route: {header(ok, 'Record-Route')}"
        for method, cseq in (("ACK", 1), ("BYE", 2)):
            call = {"call_id": header(text, "Call-ID"), "to_tag": "b1", "cseq": cseq}
            alice.send(request(method, f"sip:bob@{bob.name}", alice, route, **call))
            down = got(bob, method)
            assert not headers(down, "Route")
        bob.send(reply(down, "200 OK"))
        got(alice, "SIP/2.0 200")


def test_a_call_by_a_stateless_listen_address() -> None:
    """Everything that comes there is forwarded statelessly, in dialogs too; only REGISTER is answered."""
    with turns(**LISTENER, open_relay=False) as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>")
        alice.send(text)
        invite = got(bob, "INVITE")
        bob.send(reply(invite, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        ok = got(alice, "SIP/2.0 200")
        call = {"call_id": header(text, "Call-ID"), "to_tag": "b1"}
        route = f"Route: {header(ok, 'Record-Route')}"
        for method, cseq in (("ACK", 1), ("INVITE", 2), ("CANCEL", 2), ("BYE", 3)):
            same = {"cseq": cseq, "branch": f"z9hG4bK-{cseq}", **call}
            alice.send(request(method, f"sip:bob@{bob.name}", alice, route, **same))
            down = got(bob, method)
            if method == "INVITE":
                again = down
            elif method == "CANCEL":
                assert branch(down) == branch(again)
        bob.send(reply(down, "200 OK"))
        got(alice, "SIP/2.0 200")
        back = {"call_id": call["call_id"], "from_tag": "b1", "to_tag": "a1"}
        bob.send(request("BYE", f"sip:alice@{alice.name}", bob, route, **back))
        alice.send(reply(got(alice, "BYE"), "481 Gone"))
        got(bob, "SIP/2.0 481")
        alice.send(request("REGISTER", "sip:example.com", alice, callee="sip:alice@example.com"))
        got(alice, "SIP/2.0 200")
        assert engine.counters()["transactions"] == 0


@pytest.mark.parametrize(
    "via", ["SIP/2.0/UDP {0};rport", "SIP/2.0/UDP phone.invalid:{1}", "SIP / 2.0/UDP {0} ; rport= 9"]
)
def test_responses_follow_received_and_rport(via: str) -> None:
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        line = f"Via: {via.format(alice.name, alice.port)};branch=z9hG4bK-v, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-w"
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, via=line))
        down = got(bob, "MESSAGE")
        answer = reply(down, "200 OK")
        joined = answer.replace("\r\nVia: ", ", ").replace("OK, ", "OK\r\nv: ", 1)
        for text in (answer, joined):
            bob.send(text)
            up = got(alice, "SIP/2.0 200")
            assert up.count("branch=") == 2 and "z9hG4bK-w" in up


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("rport=", "rport=x"),
        lambda text: re.sub(r"\S+;rport\S+", "255.255.255.255", text),
        lambda text: re.sub(r"\S+(;rport\S+);received=\S+", r"255.255.255.255\1", text),
        lambda text: text.replace("received=127.0.0.1", "received=127.0.0.2"),
        lambda text: text.replace("received=127.0.0.1", "received=far.invalid"),
        lambda text: re.sub(r"(branch=z9hG4bK.{20})(.)", lambda m: m[1] + ("1" if m[2] == "0" else "0"), text, count=1),
        lambda text: re.sub(r"Call-ID: ", "Call-ID: x", text),
        lambda text: re.sub(r"\r\nVia: [^\r]*rport[^\r]*", "", text),
    ],
)
def test_responses_that_were_tampered_with(change) -> None:
    """A response goes to where its request came from, and to nowhere else whatever its Via lines say."""
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        via = f"Via: SIP/2.0/UDP {alice.name};rport;branch=z9hG4bK-t"
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, via=via))
        answer = reply(got(bob, "MESSAGE"), "200 OK")
        wrong = change(answer)
        assert wrong != answer
        bob.send(wrong)
        assert silent(alice)
        counters = engine.counters()
        assert counters["dropped_stray"] + counters["dropped_unsendable"] == 1
        bob.send(re.sub("branch=(.{34})", lambda branch: branch[0].upper(), answer, count=1))
        got(alice, "SIP/2.0 200")


def test_one_target_that_stays_the_same() -> None:
    with turns(**DOMAIN) as engine:
        alice, best, other, worse = phones(engine, 4)
        uris = sorted([f"sip:bob@{best.name}", f"sip:bob@{other.name}"])
        first = next(phone for phone in (best, other) if phone.name in uris[0])
        text = request("INVITE", "sip:bob@example.com", alice)
        for order in (uris, uris[::-1]):
            engine.bind("bob@example.com", (order[0], 0.7), (f"sip:bob@{worse.name}", 0.2), (order[1], 0.7))
            alice.send(text)
            got(first, "INVITE")
        alice.send(text.replace("INVITE", "CANCEL"))
        got(first, "CANCEL")
        assert silent(best, other, worse)


@pytest.mark.parametrize(
    ("uri", "extra", "options", "status"),
    [
        ("sip:bob@example.com", ("Proxy-Require: foo, bar",), {}, 420),
        ("sip:bob@example.com", (), {"max_forwards": 0}, 483),
        ("sip:bob@example.com", ("Max-Breadth: 0",), {}, 400),
        ("sip:nobody@example.com", (), {}, 404),
        ("sip:x@192.0.2.1", ("Route: <sip:{us};lr>",), {}, 403),
        ("sips:bob@example.com", (), {}, 416),
        ("sip:example.com", (), {}, 405),
    ],
)
@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_refused(method: str, uri: str, extra: tuple[str, ...], options: dict[str, int], status: int) -> None:
    with turns(**DOMAIN, **LISTENER, open_relay=False) as engine:
        alice, bob = pair(engine)
        lines = [line.format(us=engine.address) for line in extra]
        text = request(method, uri, alice, *lines, **options)
        alice.send(text)
        answer = got(alice, f"SIP/2.0 {status}")
        if status == 420:
            assert header(answer, "Unsupported") == "foo, bar"
        if method == "INVITE":
            alice.send(ack(text, answer))
        assert silent(alice, bob)


def test_options_for_the_server_itself() -> None:
    with turns(**LISTENER) as engine:
        (alice,) = phones(engine, 1)
        alice.send(request("OPTIONS", f"sip:{engine.address}", alice))
        got(alice, "SIP/2.0 200")


def test_what_is_passed_on_and_what_is_written() -> None:
    with turns(**DOMAIN, open_relay=False, required=["*"]) as engine:
        stranger, bob = pair(engine)
        lines = ("Require: x, 100rel", "Max-Breadth: 7", "P-Asserted-Identity: <sip:forged@example.com>", "k: a ,b")
        stranger.send(request("INVITE", "sip:bob@example.com", stranger, *lines, caller="sip:x@else.invalid"))
        down = got(bob, "INVITE")
        assert "Require: x, 100rel\r\nMax-Breadth: 7\r\nk: a ,b\r\n" in down, "who is not asked is nobody"
        assert header(down, "Max-Forwards") == "69"
        assert header(down, "Record-Route").startswith(f"<sip:{engine.address};lr")


@pytest.mark.parametrize("settings", [DOMAIN, LISTENER])
def test_who_lives_here_proves_it(settings: dict[str, object]) -> None:
    """22.3, and what comes again goes again with the credentials it came with."""
    with turns(**settings, open_relay=False, required=["*"]) as engine:
        alice, bob = pair(engine)
        engine.user("alice@example.com", "secret")
        text = request("INVITE", "sip:bob@example.com", alice)
        for _ in range(2):
            alice.send(text)
            challenge = got(alice, "SIP/2.0 407")
        alice.send(ack(text, challenge))
        wrong = digest(challenge, "Proxy-Authenticate", "INVITE", "sip:bob@example.com", password="wrong")
        alice.send(request("INVITE", "sip:bob@example.com", alice, wrong, cseq=2))
        got(alice, "SIP/2.0 407")
        assert silent(bob)
        right = digest(challenge, "Proxy-Authenticate", "INVITE", "sip:bob@example.com")
        text = request("INVITE", "sip:bob@example.com", alice, right, cseq=2)
        sent = []
        for _ in range(3):
            alice.send(text)
            sent.append(got(bob, "INVITE"))
            assert headers(sent[0], "P-Asserted-Identity") == ["<sip:alice@example.com>"]
            assert not headers(sent[0], "Proxy-Authorization")
        # The token of its Record-Route is the same too: all of it is a function of what came.
        assert len(set(sent)) == 1
        alice.send(text.replace("INVITE", "CANCEL"))
        got(bob, "CANCEL")
        engine.advance(301)
        alice.send(text)
        assert "stale=true" in got(alice, "SIP/2.0 407")


def test_rights_are_those_of_the_stateful_proxy() -> None:
    """A listen address that relays: for who proves who he is, whatever From says, and not to a gateway."""
    with turns(**LISTENER, open_relay=False, required=["*"]) as engine:
        alice, far, gateway = phones(engine, 3)
        here = {**LISTENER, "open_relay": False, "required": ["*"], "listen": [engine.listening]}
        gateways = [GatewayAddress(0, gateway.host, gateway.port)]
        engine.worker.reload(msgspec.structs.replace(SETTINGS, **here, gateways=gateways))
        engine.user("alice@example.com", "secret")
        for to, passes in ((far, True), (gateway, False)):
            uri = f"sip:x@{to.name}"
            for caller in ("sip:alice@example.com", "sip:anonymous@anonymous.invalid"):
                alice.send(request("MESSAGE", uri, alice, caller=caller))
                line = digest(got(alice, "SIP/2.0 407"), "Proxy-Authenticate", "MESSAGE", uri)
                alice.send(request("MESSAGE", uri, alice, line, caller=caller, cseq=2))
                if passes:
                    to.send(reply(got(to, "MESSAGE"), "200 OK"))
                got(alice, "SIP/2.0 200" if passes else "SIP/2.0 403")
        engine.bind("bob@example.com", f"sip:x@{gateway.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, caller="sip:x@else.invalid"))
        got(alice, "SIP/2.0 403")
        for method in ("ACK", "CANCEL"):
            alice.send(request(method, f"sip:x@{far.name}", alice))
        got(alice, "SIP/2.0 481")
        assert silent(alice, far, gateway)


def to_itself(engine: Engine) -> None:
    """Let it receive what it sends to itself, a hop a turn."""
    for _ in range(12):
        engine.advance(0.01)


def test_loop_is_482_and_a_spiral_passes() -> None:
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        host, port = engine.listening
        engine.bind("loop@example.com", f"sip:loop@example.com;maddr={host}:{port}")
        engine.bind("echo@example.com", f"sip:loop2@{engine.address}")
        engine.bind("loop2@example.com", f"sip:echo@{engine.address}")
        for method in ("MESSAGE", "INVITE", "CANCEL"):
            alice.send(request(method, "sip:echo@example.com", alice))
            to_itself(engine)
            got(alice, "SIP/2.0 482")
        assert engine.counters()["loops"] == 3
        engine.bind("front@example.com", f"sip:bob@{engine.address}")
        alice.send(request("INVITE", "sip:front@example.com", alice))
        to_itself(engine)
        down = got(bob, "INVITE")
        assert len(headers(down, "Via")) == 3 and len(set(headers(down, "Via"))) == 3
        bob.send(reply(down, "486 Busy Here"))
        to_itself(engine)
        got(alice, "SIP/2.0 486")


def test_drain() -> None:
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice)
        alice.send(text)
        bob.send(reply(got(bob, "INVITE"), "486 Busy Here"))
        answer = got(alice, "SIP/2.0 486")
        engine.worker.drain()
        alice.send(request("MESSAGE", "sip:bob@example.com", alice))
        got(alice, "SIP/2.0 503")
        alice.send(ack(text, answer))
        got(bob, "ACK")


def test_a_cancel_without_a_context() -> None:
    """16.10: it goes on without a trace, with the rights that any request has, and its answer comes back."""
    with turns(open_relay=False) as engine:
        alice, bob = pair(engine)
        for extra in ((), (f"Route: <sip:{engine.address};lr>",)):
            text = request("CANCEL", "sip:bob@example.com", alice, *extra)
            alice.send(text)
            down = got(bob, f"CANCEL sip:bob@{bob.name} ")
            assert not headers(down, "Record-Route") and not headers(down, "Route")
            bob.send(reply(down, "481 Call/Transaction Does Not Exist"))
            assert headers(got(alice, "SIP/2.0 481"), "Via") == [header(text, "Via")]
        for uri in ("sip:nobody@example.com", f"sip:x@{bob.name}", "sip:example.com", "sip:bob@far.invalid"):
            alice.send(request("CANCEL", uri, alice))
            got(alice, "SIP/2.0 481")
        assert silent(alice, bob)
        assert engine.counters()["transactions"] == 0


def test_a_reload_between_invite_and_cancel() -> None:
    """What was forwarded statelessly can be cancelled by the stateful proxy this has become."""
    with turns(**DOMAIN) as engine:
        alice, bob = pair(engine)
        text = request("INVITE", "sip:bob@example.com", alice)
        alice.send(text)
        invite = got(bob, "INVITE")
        engine.worker.reload(msgspec.structs.replace(SETTINGS, listen=[engine.listening]))
        alice.send(text.replace("INVITE", "CANCEL"))
        assert branch(got(bob, "CANCEL")) == branch(invite)
        bob.send(reply(invite, "487 Request Terminated"))
        got(alice, "SIP/2.0 487")
