"""Gateways and who may reach them, message by message.

1. One that is trusted is not challenged and is believed who calls; it is no registrar's friend and no open relay.
"""

from __future__ import annotations

from typing import Any

import pytest
from engine import ack, header, headers, reply, request
from turns import got, phones, silent, turns

from fastsip.launch import GatewayAddress
from fastsip.policy.plan import Plan, Step, Target
from fastsip.policy.request import TRUSTED, Question

CLOSED: dict[str, Any] = {"open_relay": False, "required": ["*"]}
GATEWAY = "127.0.0.5"
FAR = "sip:x@far.invalid"


def trusting(**more: Any) -> dict[str, Any]:
    return {**CLOSED, "gateways": [GatewayAddress(0, GATEWAY, 5060, trusted=True)], **more}


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_trusted_gateway_calls_who_lives_here(method: str) -> None:
    claim = "P-Asserted-Identity: <tel:+19725552222>"
    with turns(**trusting()) as engine:
        (bob,), (gateway,) = phones(engine, 1), phones(engine, 1, GATEWAY)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        for caller in (FAR, "sip:alice@example.com"):
            text = request(method, "sip:bob@example.com", gateway, claim, caller=caller)
            gateway.send(text)
            down = got(bob, method)
            assert headers(down, "P-Asserted-Identity") == ["<tel:+19725552222>"]
            bob.send(reply(down, "486 Busy Here"))
            if method == "INVITE":
                got(gateway, "SIP/2.0 100")
                gateway.send(ack(text, got(gateway, "SIP/2.0 486")))
                got(bob, "ACK")
            else:
                got(gateway, "SIP/2.0 486")


@pytest.mark.parametrize("neighbour", [False, True])
def test_a_trusted_gateway_is_no_neighbour_unless_auth_trusted_names_it(neighbour: bool) -> None:
    with turns(**trusting(trusted=[f"{GATEWAY}/32"] if neighbour else [])) as engine:
        (far,), (gateway,) = phones(engine, 1), phones(engine, 1, GATEWAY)
        for uri, extra in (
            (f"sip:x@{far.name}", ()),
            ("sip:bob@example.com", (f"Route: <sip:{engine.address};lr>", f"Route: <sip:{far.name};lr>")),
        ):
            gateway.send(request("MESSAGE", uri, gateway, *extra))
            if neighbour:
                far.send(reply(got(far, "MESSAGE"), "200 OK"))
                got(gateway, "SIP/2.0 200")
            else:
                got(gateway, "SIP/2.0 403")
        assert engine.counters()["relay_denied"] == (0 if neighbour else 2)
        register = request("REGISTER", "sip:example.com", gateway, caller="sip:bob@example.com")
        gateway.send(register)
        got(gateway, "SIP/2.0 200" if neighbour else "SIP/2.0 401")
        assert silent(far, gateway)


def test_a_trusted_gateway_is_routed_by_plans() -> None:
    asked: list[Question] = []
    plans: list[Plan | None] = []

    def decide(question: Question) -> Plan | None:
        asked.append(question)
        return plans.pop()

    with turns(asked=decide, **trusting(asks=["domains"])) as engine:
        (far,), (gateway,) = phones(engine, 1), phones(engine, 1, GATEWAY)
        plans[:] = [None, Plan((Step((Target(f"sip:x@{far.name}"),)),))]
        gateway.send(request("MESSAGE", FAR, gateway))
        far.send(reply(got(far, "MESSAGE"), "200 OK"))
        got(gateway, "SIP/2.0 200")
        gateway.send(request("MESSAGE", f"sip:x@{far.name}", gateway))
        got(gateway, "SIP/2.0 403")
        assert [question.flags for question in asked] == [TRUSTED, TRUSTED]
        assert silent(far, gateway)


def test_a_dialog_of_a_trusted_gateway_goes_on() -> None:
    """Its callee may be elsewhere than where the call was sent."""
    with turns(**trusting()) as engine:
        (bob, other), (gateway,) = phones(engine, 2), phones(engine, 1, GATEWAY)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        gateway.send(request("INVITE", "sip:bob@example.com", gateway, call_id="dialog@x"))
        bob.send(reply(got(bob, "INVITE"), "200 OK", f"Contact: <sip:bob@{other.name}>"))
        got(gateway, "SIP/2.0 100")
        route = f"Route: {header(got(gateway, 'SIP/2.0 200'), 'Record-Route')}"
        for method in ("ACK", "BYE"):
            more = {"call_id": "dialog@x", "to_tag": "b1", "cseq": 1 + (method == "BYE")}
            gateway.send(request(method, f"sip:bob@{other.name}", gateway, route, **more))  # type: ignore[arg-type]
            down = got(other, method)
        other.send(reply(down, "200 OK"))
        got(gateway, "SIP/2.0 200")
