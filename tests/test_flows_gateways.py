"""Gateways with SIPp at every end: overflow on 503 and on silence, a number without a route.

draft-ietf-sip-call-flows-00 4.1.3 (SIP to a network gateway), 5.2.1 (a gateway to SIP) and 6.1.2 (gateway to gateway),
with the numbers and headers written there. Neighbours are trusted by their addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from gateway_kit import Routed
from harness import (
    Message,
    Outcome,
    Sipp,
    check_forwarded,
    check_order,
    check_record_route,
    check_response,
    once,
    requires_peer,
    tag,
)
from harness.endings import Endings
from harness.sipp import PATIENT, WAIT

pytestmark = [requires_peer("sipp")]

PROXY, USER, TRUNKS = "127.0.0.2", "127.0.0.21", "127.0.0.31"
DOMAIN = "ss1.wcom.com"
CALLS = 10
NATIONAL = '[[routes]]\nprefix = "+1972"\ngateways = [["gw1"], ["gw2"]]\n'
PRIVATE = (  # what the PBX dials becomes a number of the network
    '[[routes]]\nprefix = "444"\ncontext = "p1234"\nstrip = 3\nadd = "+1918555"\ngateways = [["gw2"], ["gw3"]]\n'
)
PBX = {
    "called": f"sip:444-3333@{DOMAIN};phone-context=p1234",
    "caller": "PBX_A <sip:IdentifierString@gw1.wcom.com>",
    "callee": f"<sip:444-3333@{DOMAIN};phone-context=p1234>",
}


class Trunk(Sipp):
    """A gateway that is called."""

    def __init__(self, scenario: str, number: str = "", pause: int = 0) -> None:
        super().__init__(scenario, host=TRUNKS, calls=CALLS)
        self.keys = {"number": number, "contact": f"{self.host}:{self.port}"}
        self.options = (*PATIENT, "-d", str(pause))
        self.start().listening()


@contextmanager
def proxy(endings: Endings, workers: int, routes: str, **gateways: Sipp) -> Iterator[Routed]:
    tables = ""
    for name, gateway in gateways.items():
        tables += f'[gateways.{name}]\nuri = "sip:{gateway.host}:{gateway.port}"\nprobe = 0\ntry_time = 0.6\n'
        tables += "trusted = true\n"
    server = Routed(
        host=PROXY, workers=workers, domains=[DOMAIN], required=["INVITE"], trusted=[USER], plan=tables + routes
    )
    with ExitStack() as stack:
        stack.enter_context(server)
        yield server
        stack.pop_all()
        endings.take(server)


def call(server: Routed, scenario: str, host: str, **keys: str) -> Outcome:
    caller = Sipp(scenario, server.address, host=host, calls=CALLS)
    caller.keys = {**keys, "contact": f"{caller.host}:{caller.port}"}
    caller.options = (*PATIENT, *WAIT)
    return caller.start().wait().check()


def each(outcome: Outcome) -> dict[str, list[Message]]:
    """What one end saw of every call, retransmissions taken out."""
    calls = {call_id: once(messages) for call_id, messages in outcome.by_call().items()}
    assert len(calls) == CALLS
    return calls


def check_talk(caller: list[Message], gateway: list[Message], uri: str) -> None:
    """INVITE and 200 between the caller and the gateway that took the call."""
    sent, came = caller[0], gateway[0]
    assert came.uri == uri
    check_forwarded(came, sent, 1)
    check_record_route(came, [PROXY])
    for status in ("183", "200"):
        received = next(message for message in caller if message.name == status)
        check_response(received, sent, next(message for message in gateway if message.name == status))


@pytest.mark.parametrize("workers", [1, 4])
def test_sip_to_a_gateway_overflows_on_503(endings: Endings, workers: int) -> None:
    """Draft 4.1.3, F1 to F19."""
    first, second = Trunk("trunk_full.xml"), Trunk("trunk_answer.xml", "+19725552222")
    with proxy(endings, workers, NATIONAL, gw1=first, gw2=second) as server:
        alice = call(
            server,
            "trunk_call.xml",
            USER,
            called=f"sip:+1-972-555-2222@{DOMAIN};user=phone",
            caller=f"BigGuy <sip:+1-314-555-1111@{DOMAIN}>;user=phone",
            callee=f"LittleGuy <sip:+1-972-555-2222@{DOMAIN}>;user=phone",
        )
        busy, free = each(first.wait().check()), each(second.wait().check())
        about = server.gateways()
    for call_id, seen in each(alice).items():
        check_order(seen, "> INVITE", "< 100", "< 183", "< 200", "> ACK", "> BYE", "< 200")
        check_order(busy[call_id], "< INVITE", "> 503", "< ACK")
        check_order(free[call_id], "< INVITE", "> 183", "> 200", "< ACK", "< BYE", "> 200")
        check_talk(seen, free[call_id], f"sip:+19725552222@{second.host}:{second.port};user=phone")
        assert busy[call_id][0].uri == f"sip:+19725552222@{first.host}:{first.port};user=phone"
        assert busy[call_id][0].branch != free[call_id][0].branch
    assert (about["gw1"]["unavailable"], about["gw2"]["unavailable"], about["gw2"]["calls"]) == (CALLS, 0, CALLS)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_number_without_a_route(endings: Endings, workers: int) -> None:
    """Draft 5.2.1, F2 to F4: the gateway makes a REL of it."""
    unused = [Sipp("silent.xml", host=TRUNKS) for _ in range(2)]
    with proxy(endings, workers, PRIVATE, gw2=unused[0], gw3=unused[1]) as server:
        gateway = call(
            server,
            "trunk_604.xml",
            TRUNKS,
            called=f"sip:+1-972-555-9999@{DOMAIN};user=phone",
            caller="<sip:+1-314-555-1111@gw1.wcom.com;user=phone>",
            callee=f"<sip:+1-972-555-9999@{DOMAIN};user=phone>",
        )
    for seen in each(gateway).values():
        check_order(seen, "> INVITE", "< 100", "< 604", "> ACK")
        refusal = seen[-2]
        assert seen[-1].branch == seen[0].branch
        assert refusal.start_line == "SIP/2.0 604 Does Not Exist Anywhere" and tag(refusal.one("To"))
        check_response(refusal, seen[0])


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("scenario", ["trunk_full.xml", "silent.xml"], ids=["503", "silence"])
def test_gateway_to_gateway_overflows(endings: Endings, workers: int, scenario: str) -> None:
    """Draft 6.1.2, F2 to F24, and the same where the second gateway does not answer at all."""
    second, third = Trunk(scenario, pause=2500), Trunk("trunk_out.xml", "+19185553333", pause=100)
    with proxy(endings, workers, PRIVATE, gw2=second, gw3=third) as server:
        first = call(server, "trunk_in.xml", TRUNKS, **PBX)
        full, free = second.wait().check(), each(third.wait().check())
        about = server.gateways()["gw2"]
    silent = scenario == "silent.xml"
    for call_id, seen in each(first).items():
        check_order(seen, "> INVITE", "< 100", "< 183", "< 200", "> ACK", "< BYE", "> 200")
        check_order(free[call_id], "< INVITE", "> 183", "> 200", "< ACK", "> BYE", "< 200")
        check_talk(seen, free[call_id], f"sip:+19185553333@{third.host}:{third.port};user=phone")
        if silent:
            waited = free[call_id][0].time - seen[0].time
            assert waited < 0.1 or 0.5 < waited < 3, "it is tried, or known to be down"
        else:
            check_order(once(full.by_call()[call_id]), "< INVITE", "> 503", "< ACK")
    if silent:
        assert about["timeouts"] > 0
    else:
        assert about["unavailable"] == CALLS
