"""Calls through one and two proxies with 1 and 4 workers, both ends played by SIPp (RFC 3665 3.1, 3.2, 3.3, 3.7)."""

from __future__ import annotations

import pytest
from harness import (
    Call,
    Flow,
    House,
    Message,
    Played,
    Scene,
    Sipp,
    check_challenge,
    check_forwarded,
    check_order,
    check_record_route,
    check_response,
    parameters,
    play_call,
    requires_peer,
    tag,
)
from harness.stage import ATLANTA

pytestmark = [requires_peer("sipp")]

SIMPLE = Flow("call.xml", "answer.xml", calls=50)
TWO_PROXIES = Flow("call_digest.xml", "answer_hangup.xml", challenged=True)
STREAM = Flow("call.xml", "answer.xml", calls=50, transports=("tcp",))
STREAM_DIGEST = Flow("call_digest_bye.xml", "answer.xml", challenged=True, transports=("tcp",))
REINVITE = Flow("reinvite_alice.xml", "reinvite_bob.xml", record_route=False)
REINVITE_ROUTED = Flow("reinvite_alice.xml", "reinvite_bob.xml")


@pytest.mark.flow(SIMPLE)
def test_simple_call(played: Played, house: House) -> None:
    """RFC 3665 3.1 with a proxy in the middle: INVITE 180 200 ACK BYE 200, Alice hangs up."""
    assert len(played.calls) == SIMPLE.calls
    for call in played.calls:
        check_order(call.alice, "> INVITE", "< 100", "< 180", "< 200", "> ACK", "> BYE", "< 200")
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        _check_set_up(call, played.scene, call.sent("alice", "INVITE"))
        _check_in_dialog(call, "alice", "bob", "BYE", house.hops)


@pytest.mark.flow(TWO_PROXIES)
def test_call_with_digest(played: Played, house: House) -> None:
    """RFC 3665 3.2: the first proxy challenges Alice, Bob hangs up, both stay in the path (F1 to F26)."""
    for call in played.calls:
        check_order(
            call.alice,
            *("> INVITE", "< 407", "> ACK"),
            *("> INVITE", "< 100", "< 180", "< 200", "> ACK", "< BYE", "> 200"),
        )
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "> BYE", "< 200")
        challenge, request = call.received("alice", "407"), call.sent("alice", "INVITE", 1)
        check_challenge(challenge, 407, ATLANTA)
        check_response(challenge, call.sent("alice", "INVITE"))
        assert request.all("Proxy-Authorization")
        _check_set_up(call, played.scene, request)
        _check_in_dialog(call, "bob", "alice", "BYE", house.hops)


@pytest.mark.flow(STREAM)
def test_simple_call_by_tcp(played: Played, house: House) -> None:
    """The same with connections all the way: every Via and every Record-Route says so."""
    assert len(played.calls) == STREAM.calls
    for call in played.calls:
        check_order(call.alice, "> INVITE", "< 100", "< 180", "< 200", "> ACK", "> BYE", "< 200")
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        _check_set_up(call, played.scene, call.sent("alice", "INVITE"))
        _check_in_dialog(call, "alice", "bob", "BYE", house.hops)
        _check_by_tcp(call, played.scene)


@pytest.mark.flow(STREAM_DIGEST)
def test_call_with_digest_by_tcp(played: Played, house: House) -> None:
    for call in played.calls:
        first = ("> INVITE", "< 407", "> ACK")
        check_order(call.alice, *first, "> INVITE", "< 100", "< 180", "< 200", "> ACK", "> BYE", "< 200")
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        check_challenge(call.received("alice", "407"), 407, ATLANTA)
        _check_set_up(call, played.scene, call.sent("alice", "INVITE", 1))
        _check_in_dialog(call, "alice", "bob", "BYE", house.hops)
        _check_by_tcp(call, played.scene)


def _check_by_tcp(call: Call, scene: Scene) -> None:
    hosts = [f"SIP/2.0/TCP {proxy}" for proxy in reversed(scene.proxies)]
    for name in ("INVITE", "ACK", "BYE"):
        vias = [via.partition(";")[0] for via in call.received("bob", name).all("Via")]
        assert vias[:-1] == hosts and vias[-1].startswith("SIP/2.0/TCP ")
    routes = [route.partition(";lr;")[0] for route in call.received("bob", "INVITE").all("Record-Route")]
    assert routes == [f"<sip:{proxy};transport=tcp" for proxy in reversed(scene.proxies)]


def play_two_realms(flow: Flow, scene: Scene) -> Played:
    """As play_call, with the mirror Alice needs to hold credentials for two realms (see call_two_realms.xml)."""
    mirror = Sipp("mirror.xml", host="127.0.0.13", calls=flow.calls, trace=False).start().listening()
    where = {"mirror_ip": mirror.host, "mirror_port": str(mirror.port)}
    proxy = {"proxy_ip": scene.first.host, "proxy_port": str(scene.first.port)}
    try:
        return play_call(flow, scene, **where, **proxy)
    finally:
        mirror.stop()


TWO_REALMS = Flow(
    "call_two_realms.xml",
    "answer_hangup.xml",
    challenged=True,
    realms=("atlanta.example.com", "biloxi.example.com"),
    hops=(2,),
    play=play_two_realms,
)


@pytest.mark.flow(TWO_REALMS)
def test_multiple_proxy_authentication(played: Played, house: House) -> None:
    """RFC 3665 3.3: each proxy asks for credentials of its own and takes its own out (F1 to F26)."""
    for call in played.calls:
        alice = [m for m in call.alice if not m.all("X-Challenge") and not m.all("X-Credentials")]
        check_order(
            alice,
            *("> INVITE", "< 407", "> ACK"),
            *("> INVITE", "< 100", "< 407", "> ACK"),
            *("> INVITE", "< 100", "< 180", "< 200", "> ACK", "< BYE", "> 200"),
        )
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "> BYE", "< 200")
        first, second = [message for message in alice if message.name == "407"]
        check_challenge(first, 407, "atlanta.example.com")
        check_challenge(second, 407, "biloxi.example.com")
        request = next(m for m in alice if m.sent and m.name == "INVITE" and m.cseq == 3)
        realms = [parameters(value)["realm"] for value in request.all("Proxy-Authorization")]
        assert realms == ["atlanta.example.com", "biloxi.example.com"]
        _check_set_up(call, played.scene, request)
        _check_in_dialog(call, "bob", "alice", "BYE", house.hops)


@pytest.mark.flow(REINVITE)
def test_reinvite_without_record_route(played: Played, house: House) -> None:
    """RFC 3665 3.7: the proxies step out after the first transaction, ACK and re-INVITE go from end to end (F1 on)."""
    for call in played.calls:
        _check_reinvite_order(call, trying=False)
        _check_set_up(call, played.scene, call.sent("alice", "INVITE"), acknowledged_by=0)
        _check_in_dialog(call, "bob", "alice", "INVITE", 0)
        _check_in_dialog(call, "alice", "bob", "BYE", 0)


@pytest.mark.flow(REINVITE_ROUTED)
def test_reinvite_with_record_route(played: Played, house: House) -> None:
    """The same with proxies that stay in the path: the re-INVITE has a transaction of its own at each of them."""
    for call in played.calls:
        _check_reinvite_order(call, trying=True)
        _check_set_up(call, played.scene, call.sent("alice", "INVITE"))
        _check_in_dialog(call, "bob", "alice", "INVITE", house.hops)
        _check_in_dialog(call, "alice", "bob", "BYE", house.hops)


def _check_reinvite_order(call: Call, trying: bool) -> None:
    first = ("> INVITE", "< 100", "< 180", "< 200", "> ACK")
    check_order(call.alice, *first, "< INVITE", "> 200", "< ACK", "> BYE", "< 200")
    second = ("> INVITE", "< 100", "< 200", "> ACK") if trying else ("> INVITE", "< 200", "> ACK")
    check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", *second, "< BYE", "> 200")


def _check_set_up(call: Call, scene: Scene, request: Message, acknowledged_by: int | None = None) -> None:
    """INVITE, 180, 200 and ACK of a call that was answered. `acknowledged_by`: proxies the ACK passes, all if None."""
    hops = len(scene.servers)
    invite, ok = call.received("bob", "INVITE"), call.sent("bob", "200")
    check_forwarded(invite, request, hops)
    check_record_route(invite, scene.proxies if scene.house.record_route else [])
    assert invite.uri.split("@")[1] == _bracketed(ok.one("Contact")).split("@")[1], "not to the contact he registered"
    for name in ("180", "200"):
        check_response(call.received("alice", name), request, call.sent("bob", name))
    if "100" in [message.name for message in call.alice]:
        assert not tag(call.received("alice", "100").one("To")), "100 Trying with a To tag"
    else:  # something better came meanwhile (RFC 3261 17.2.1)
        asked = call.sent("alice", "INVITE", [m.name for m in call.alice if m.sent].count("INVITE") - 1)
        assert call.received("alice", "180").time - asked.time < 0.2
    ack_sent = call.sent("alice", "ACK", [m.name for m in call.alice if m.sent].count("ACK") - 1)
    ack = call.received("bob", "ACK")
    check_forwarded(ack, ack_sent, hops if acknowledged_by is None else acknowledged_by)
    assert ack.uri == _bracketed(ok.one("Contact"))


def _check_in_dialog(call: Call, sender: str, receiver: str, method: str, hops: int) -> None:
    """A request within the dialog arrives with its Route used up, and its answer comes back."""
    sent, request = call.sent(sender, method), call.received(receiver, method)
    check_forwarded(request, sent, hops)
    assert request.uri == sent.uri
    assert len(sent.all("Route")) == hops
    answers = [m for m in getattr(call, sender) if not m.sent and m.status == 200 and m.method == method]
    assert answers, f"{sender} got no 200 to {method}"
    check_response(answers[0], sent)


def _bracketed(value: str) -> str:
    return value[value.index("<") + 1 : value.index(">")]
