"""Gateways and who may reach them, message by message.

1. One that is trusted is not challenged and is believed who calls; it is no registrar's friend and no open relay.
2. Who needs rights and has none is asked who he is, whatever his From says (RFC 3323); with a password for somebody
   here he is that somebody. Who cannot be asked is refused.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from engine import ack, header, headers, reply, request
from test_proxy_rights import digest
from turns import got, phones, silent, turns

from fastsip.launch import GatewayAddress
from fastsip.policy.plan import Plan, Step, Target, reject
from fastsip.policy.request import AUTHENTICATED, TRUSTED, Question
from fastsip.testing.engine import Device

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


ANONYMOUS = "sip:anonymous@anonymous.invalid"
STRANGERS = [ANONYMOUS, "sip:x@else.invalid"]
NUMBER = "sip:+19185553333@example.com"


def deciding(plan: Plan, seen: list[Question]) -> Any:
    """A dial plan of one line: strangers are asked who they are."""

    def decide(question: Question) -> Plan:
        seen.append(question)
        return plan if question.flags & (TRUSTED | AUTHENTICATED) else reject(407)

    return decide


def proven(phone: Device, text: str, challenge: str, *extra: str, **more: Any) -> None:
    """Send a request again, with the password that was asked for."""
    method, uri = text.split()[:2]
    line = digest(challenge, "Proxy-Authenticate", method, uri, **more)
    caller = re.search("<(.*?)>", header(text, "From"))
    assert caller
    phone.send(request(method, uri, phone, line, *extra, cseq=2, caller=caller[1]))


@pytest.mark.parametrize("caller", STRANGERS)
@pytest.mark.parametrize("realm", [None, "phones"])
def test_whoever_needs_rights_is_asked_who_he_is(caller: str, realm: str | None) -> None:
    """RFC 3323 4.1.1.3: at a routed number, and at somebody else's domain."""
    seen: list[Question] = []
    with turns(**CLOSED, asks=["numbers"], realm=realm) as engine:
        alice, far = phones(engine, 2)
        engine.asked = deciding(Plan((Step((Target(f"sip:9@{far.name}"),)),)), seen)
        engine.user("alice@example.com", "secret", realm)
        for uri in (NUMBER, f"sip:x@{far.name}"):
            text = request("MESSAGE", uri, alice, caller=caller)
            alice.send(text)
            challenge = got(alice, "SIP/2.0 407")
            assert f'realm="{realm or "example.com"}"' in challenge
            proven(alice, text, challenge, password="wrong")
            got(alice, "SIP/2.0 407")
            proven(alice, text, challenge, user="nobody")
            got(alice, "SIP/2.0 407")
            proven(alice, text, challenge)
            down = got(far, "MESSAGE")
            assert not headers(down, "Proxy-Authorization")
            asserted = [] if caller == ANONYMOUS else ["<sip:alice@example.com>"]
            assert headers(down, "P-Asserted-Identity") == asserted, "nobody is named to whom nobody trusts"
            far.send(reply(down, "200 OK"))
            got(alice, "SIP/2.0 200")
        assert [question.caller for question in seen if question.flags & AUTHENTICATED] == [b"alice@example.com"]


def test_an_anonymous_caller_is_named_to_a_trusted_gateway() -> None:
    seen: list[Question] = []
    with turns(**trusting(asks=["numbers"])) as engine:
        (alice,), (gateway,) = phones(engine, 1), phones(engine, 1, GATEWAY)
        engine.asked = deciding(Plan((Step((Target(f"sip:9@{gateway.name}", gateway=0),)),)), seen)
        engine.user("alice@example.com", "secret")
        text = request("INVITE", NUMBER, alice, caller=ANONYMOUS)
        alice.send(text)
        got(alice, "SIP/2.0 100")
        challenge = got(alice, "SIP/2.0 407")
        alice.send(ack(text, challenge))
        proven(alice, text, challenge, "Privacy: id")
        down = got(gateway, "INVITE")
        assert headers(down, "P-Asserted-Identity") == ["<sip:alice@example.com>"]
        gateway.send(reply(down, "486 Busy Here"))
        got(gateway, "ACK")
        got(alice, "SIP/2.0 100")
        got(alice, "SIP/2.0 486")


def test_a_password_does_not_help_where_there_is_no_right() -> None:
    with turns(asked=lambda _: reject(407), **CLOSED, asks=["numbers"]) as engine:
        (alice,) = phones(engine, 1)
        engine.user("alice@example.com", "secret")
        for caller in (ANONYMOUS, "sip:alice@example.com"):
            text = request("MESSAGE", NUMBER, alice, caller=caller)
            alice.send(text)
            proven(alice, text, got(alice, "SIP/2.0 407"))
            got(alice, "SIP/2.0 403 Forbidden")


@pytest.mark.parametrize("required", [[], ["INVITE"]])
def test_nobody_is_asked_where_passwords_are_not(required: list[str]) -> None:
    with turns(asked=lambda _: reject(407), **{**CLOSED, "required": required}, asks=["numbers"]) as engine:
        (alice,) = phones(engine, 1)
        for uri in (NUMBER, FAR):
            alice.send(request("MESSAGE", uri, alice, caller=ANONYMOUS))
            got(alice, "SIP/2.0 403")
        alice.send(request("ACK", FAR, alice, caller=ANONYMOUS))
        assert silent(alice)


def test_other_peoples_credentials_are_nothing_to_us() -> None:
    """A stranger may call who lives here, with a password for somewhere else and without any."""
    with turns(**CLOSED) as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        line = 'Proxy-Authorization: Digest username="x", realm="else.invalid", nonce="1", uri="sip:x", response="1"'
        for extra in ((), (line,), ("Proxy-Authorization: ,",)):
            alice.send(request("MESSAGE", "sip:bob@example.com", alice, *extra, caller="sip:x@else.invalid"))
            down = got(bob, "MESSAGE")
            assert headers(down, "Proxy-Authorization") == [one.partition(": ")[2] for one in extra]
            bob.send(reply(down, "200 OK"))
            got(alice, "SIP/2.0 200")
