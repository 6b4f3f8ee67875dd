"""Services with SIPp at every end: forwarding, find-me, screening (RFC 5359 2.7 to 2.9, 2.12 to 2.14).

Alice is challenged; services are given to people while the server runs, as `ctl services` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from harness import (
    Flow,
    House,
    Message,
    Played,
    Scene,
    Sipp,
    check_order,
    check_record_route,
    check_response,
    once,
    requires_peer,
    tag,
)
from harness.server import Kamailio, Server
from harness.sipp import PATIENT, WAIT

from fastsip.admin.client import Client

pytestmark = [requires_peer("sipp")]

CHALLENGED = ("> INVITE", "< 407", "> ACK")
ANSWERED = ("< 200", "> ACK", "> BYE", "< 200")
Given = Callable[[Scene, list[str]], dict[str, Any]]
"""The callee's services, from the addresses of the phones."""


def serve(server: Server, user: str, services: dict[str, Any]) -> None:
    """`ctl services set`."""
    client = Client(server.folder / "ctl.sock")
    try:
        client.ask("services_set", aor=f"{user}@{server.host}", services=services)
    finally:
        client.close()


def only_fastsip(scene: Scene) -> None:
    if isinstance(scene.first, Kamailio):
        pytest.skip("what fastsip is told of services Kamailio would need a script for")


def play(flow: Flow, scene: Scene, given: Given, *scenarios: str) -> Played:
    """Every phone waits, the first one where the callee is registered; Alice calls."""
    only_fastsip(scene)
    phones = []
    for scenario in (flow.bob, *scenarios):
        phone = Sipp(scenario, host=scene.hosts[1], calls=flow.calls)
        phone.keys, phone.options = scene.keys(phone), (*PATIENT, "-d", "100")
        phones.append(phone.start().listening())
    scene.register(phones[0].address)
    serve(scene.last, scene.callee, given(scene, [f"sip:b{n}@{p.host}:{p.port}" for n, p in enumerate(phones, 1)]))
    outcome = alice(flow, scene)
    bobs = [phone.wait() if outcome.status == 0 else phone.stop() for phone in phones]
    return Played(scene, outcome, bobs[-1], tuple(bobs[:-1]))


def refuse(flow: Flow, scene: Scene, where: Callable[[Scene], tuple[Server, list[str], dict[str, Any]]]) -> Played:
    """Alice calls and nobody hears of it."""
    only_fastsip(scene)
    server, users, services = where(scene)
    for user in users:
        serve(server, user, services)
    with_nobody = Sipp(flow.bob, host=scene.hosts[1], calls=None)
    with_nobody.keys = scene.keys(with_nobody)
    with_nobody.start().listening()
    scene.register(with_nobody.address)
    return Played(scene, alice(flow, scene), with_nobody.stop())


def alice(flow: Flow, scene: Scene) -> Any:
    caller = Sipp(flow.alice, scene.first.address, host=scene.hosts[0], calls=flow.calls)
    caller.options = (*PATIENT, *WAIT, "-d", str(flow.pause), *scene.credentials_uri())
    caller.keys, caller.rows = scene.keys(caller), scene.rows(flow.calls)
    return caller.start().wait()


def members(scene: Scene, phones: list[str]) -> list[str]:
    """People who live where the callee does, each registered at one phone."""
    people = scene.users[: len(phones)]
    for user, phone in zip(people, phones, strict=True):
        host, _, port = phone.partition("@")[2].partition(":")
        Scene(scene.house, scene.servers, [*scene.users[:1], user]).register((host, int(port)))
    return [f"sip:{user}@{scene.last.host}" for user in people]


ALWAYS = Flow(
    "forwarded.xml", "answer.xml", name="always", challenged=True,
    play=partial(play, given=lambda scene, phones: {"forward_always": phones[-1]}),
)  # fmt: skip
IF_BUSY = Flow(
    "forwarded.xml", "busy.xml", name="busy", challenged=True,
    play=lambda flow, scene: play(flow, scene, lambda _, phones: {"forward_busy": phones[1]}, "answer.xml"),
)  # fmt: skip
NO_ANSWER = Flow(
    "forwarded.xml", "ring.xml", name="no-answer", challenged=True,
    play=lambda flow, scene: play(
        flow, scene, lambda _, phones: {"forward_no_answer": phones[1], "ring_time": 2}, "answer.xml"
    ),
)  # fmt: skip
FIND_ME = Flow(
    "call_digest.xml", "ring.xml", name="find-me", challenged=True,
    play=lambda flow, scene: play(
        flow, scene, lambda _, phones: {"find_me": [[one] for one in phones], "ring_time": 2},
        "unavailable.xml", "busy.xml", "answer_hangup.xml",
    ),
)  # fmt: skip
AT_ONCE = Flow(
    "forwarded.xml", "ring.xml", name="at-once", challenged=True,
    play=lambda flow, scene: play(flow, scene, lambda _, phones: {"find_me": [phones]}, "ring.xml", "answer.xml"),
)  # fmt: skip
EXTENSION = Flow(
    "call_digest.xml", "ring.xml", name="extension", challenged=True,
    play=lambda flow, scene: play(
        flow, scene, lambda scene, phones: {"find_me": [[one] for one in members(scene, phones)], "ring_time": 2},
        "busy.xml", "answer_hangup.xml",
    ),
)  # fmt: skip
INCOMING = Flow(
    "screened.xml", "answer.xml", name="incoming", challenged=True,
    play=lambda flow, scene: refuse(
        flow, scene, lambda scene: (scene.last, [scene.callee], {"block_incoming": [f"sip:u???@{scene.first.host}"]})
    ),
)  # fmt: skip
OUTGOING = Flow(
    "screened.xml", "answer.xml", name="outgoing", challenged=True,
    play=lambda flow, scene: refuse(
        flow, scene, lambda scene: (scene.first, scene.users[:-1], {"block_outgoing": [f"sip:{scene.callee}@*"]})
    ),
)  # fmt: skip


@pytest.mark.flow(ALWAYS)
def test_forwarded_always(played: Played, house: House) -> None:
    """RFC 5359 2.7: 181 before anybody rings; the gateway is asked with why (F1 to F14)."""
    for call in played.calls:
        check_order(call.alice, *CHALLENGED, "> INVITE", "< 100", "< 181", "< 180", *ANSWERED)
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        _check_diverted(call.received("bob", "INVITE"), played, "unconditional", 302)
        _check_told(call.received("alice", "181"), call.sent("alice", "INVITE", 1))
        check_response(call.received("alice", "200"), call.sent("alice", "INVITE", 1), call.sent("bob", "200"))


@pytest.mark.flow(IF_BUSY)
def test_forwarded_when_busy(played: Played, house: House) -> None:
    """RFC 5359 2.8: the 486 is acknowledged and not told, the next phone rings (F1 to F17)."""
    _check_others(played, ("< INVITE", "> 486", "< ACK"))
    for call in played.calls:
        check_order(call.alice, *CHALLENGED, "> INVITE", "< 100", "< 181", "< 180", *ANSWERED)
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        _check_diverted(call.received("bob", "INVITE"), played, "user-busy", 486)


@pytest.mark.flow(NO_ANSWER)
def test_forwarded_without_an_answer(played: Played, house: House) -> None:
    """RFC 5359 2.9: rings for the ring time, is cancelled, and the next phone rings (F1 to F21)."""
    _check_others(played, ("< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK"))
    for call in played.calls:
        check_order(call.alice, *CHALLENGED, "> INVITE", "< 100", "< 180", "< 181", "< 180", *ANSWERED)
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")
        _check_diverted(call.received("bob", "INVITE"), played, "no-answer", 408)
        rang = call.received("alice", "181").time - call.received("alice", "180").time
        assert 1 < rang < 6, f"rang for {rang:.2f} s, not for two"


@pytest.mark.flow(FIND_ME)
def test_find_me(played: Played, house: House) -> None:
    """RFC 5359 2.12: no answer, not logged in, busy, and the fourth place is where he is (F1 to F26)."""
    _check_others(
        played,
        ("< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK"),
        ("< INVITE", "> 180", "> 480", "< ACK"),
        ("< INVITE", "> 486", "< ACK"),
    )
    for call in played.calls:
        check_order(
            call.alice, *CHALLENGED, "> INVITE", "< 100", "< 180", "< 180", "< 180", "< 200", "> ACK", "< BYE", "> 200"
        )
        invite = call.received("bob", "INVITE")
        assert invite.one("Diversion").endswith(";reason=follow-me;counter=1")
        check_record_route(invite, played.scene.proxies)


@pytest.mark.flow(AT_ONCE)
def test_find_me_all_at_once(played: Played, house: House) -> None:
    """The first to answer has the call, the others are cancelled."""
    ringing = ("< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK")
    _check_others(played, ringing, ringing)
    for call in played.calls:
        names = [message.name for message in call.alice if not message.sent]
        assert names.count("200") == 2 and set(names) == {"407", "100", "180", "200"}, names
        check_order(call.bob, "< INVITE", "> 180", "> 200", "< ACK", "< BYE", "> 200")


@pytest.mark.flow(EXTENSION)
def test_single_line_extension(played: Played, house: House) -> None:
    """Draft 7.9: one number, three people who are asked in turn; the one to answer is the active set."""
    _check_others(
        played, ("< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK"), ("< INVITE", "> 486", "< ACK")
    )
    for call in played.calls:
        check_order(
            call.alice, *CHALLENGED, "> INVITE", "< 100", "< 180", "< 180", "< 200", "> ACK", "< BYE", "> 200"
        )
        history = call.received("bob", "INVITE").one("History-Info").split(",")
        assert ";mp=1" in history[1] and ";rc=1.3" in history[2], history


@pytest.mark.flow(INCOMING)
def test_incoming_calls_are_screened(played: Played, house: House) -> None:
    """RFC 5359 2.13: who is on Bob's list is told so once it is known who he is (F4 to F9)."""
    _check_screened(played, "Screening Failure (Terminating)")


@pytest.mark.flow(OUTGOING)
def test_outgoing_calls_are_screened(played: Played, house: House) -> None:
    """RFC 5359 2.14: who may not call Bob is told so by his own proxy (F1 to F6)."""
    _check_screened(played, "Screening Failure (Originating)")


def _check_screened(played: Played, reason: str) -> None:
    played.alice.check()
    for messages in played.alice.by_call().values():
        check_order(once(messages), *CHALLENGED, "> INVITE", "< 100", "< 403", "> ACK")
        refusal = next(message for message in messages if message.name == "403")
        assert refusal.raw.split(b"\r\n")[0].decode() == f"SIP/2.0 403 {reason}"
        assert tag(refusal.one("To"))
    assert not [message for message in played.bob.messages if message.name == "INVITE"]


def _check_others(played: Played, *orders: tuple[str, ...]) -> None:
    """What each phone before the one that answers saw of every call."""
    assert len(played.others) == len(orders)
    for outcome, order in zip(played.others, orders, strict=True):
        outcome.check()
        for messages in outcome.by_call().values():
            check_order(once(messages), *order)


def _check_diverted(invite: Message, played: Played, reason: str, cause: int) -> None:
    """It says who was called, and why it comes here (RFC 5806, RFC 7044, RFC 4458)."""
    scene = played.scene
    called = f"sip:{scene.callee}@{scene.last.hostport}"
    assert invite.uri.endswith(f";cause={cause}")
    assert invite.all("Diversion") == [f"<{called}>;reason={reason};counter=1"]
    first, *rang, last = invite.one("History-Info").split(",")
    why = f"?Reason=SIP%3Bcause%3D{cause}"
    if cause == 302:
        assert (first, rang) == (f"<{called}{why}>;index=1", [])
    else:
        assert first == f"<{called}>;index=1" and len(rang) == 1
        assert rang[0].startswith(f"<sip:{scene.callee}@") and rang[0].endswith(f"{why}>;index=1.1;rc=1")
    assert last == f"<{invite.uri}>;index=1.{1 + len(rang)};mp=1"
    assert not tag(invite.one("To"))
    check_record_route(invite, scene.proxies)


def _check_told(notice: Message, request: Message) -> None:
    """A 181 of the proxy's own: the request's headers and a To tag (RFC 3261 8.2.6)."""
    check_response(notice, request)
    assert tag(notice.one("To")) and not notice.body
