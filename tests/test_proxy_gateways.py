"""Gateways and who may reach them, message by message.

1. One that is trusted is not challenged and is believed who calls; it is no registrar's friend and no open relay.
2. Who needs rights and has none is asked who he is, whatever his From says (RFC 3323); with a password for somebody
   here he is that somebody. Who cannot be asked is refused.
3. Whatever leads to a gateway's address, a Request-URI, a Route, a binding, a Contact of a 3xx, is one of its calls,
   and no stranger's without a plan that says so. Nobody registers there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from engine import ack, header, headers, reply, request
from test_proxy_rights import digest
from turns import got, phones, silent, turns

from fastsip.launch import GatewayAddress
from fastsip.policy.plan import Plan, Step, Target, reject
from fastsip.policy.request import AUTHENTICATED, TRUSTED, Question
from fastsip.testing.engine import CLOCK, SETTINGS, Device, Engine

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
            gateway.send(request(method, f"sip:bob@{other.name}", gateway, route, **more))
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


@contextmanager
def gated(asked: Any = None, **settings: Any) -> Iterator[tuple[Engine, Device]]:
    """A server with a gateway that takes one call at a time, and a user, alice."""
    settings = {**CLOSED, **settings}
    with turns(asked=asked, **settings) as engine:
        (gateway,) = phones(engine, 1, GATEWAY)
        here = {"listen": [engine.listening], "gateways": [GatewayAddress(0, GATEWAY, gateway.port)]}
        engine.worker.reload(msgspec.structs.replace(SETTINGS, **settings, **here))
        engine.targets.assign([("gw", 10, 1)])
        engine.user("alice@example.com", "secret")
        yield engine, gateway


def proven_call(engine: Engine, phone: Device, uri: str, *extra: str, **more: Any) -> str:
    """An INVITE with the password that was asked for."""
    text = request("INVITE", uri, phone, *extra, **more)
    phone.send(text)
    challenge = got(phone, "SIP/2.0 407")
    phone.send(ack(text, challenge))
    line = digest(challenge, "Proxy-Authenticate", "INVITE", uri)
    text = request("INVITE", uri, phone, line, *extra, **{**more, "cseq": 2})
    phone.send(text)
    return text


def refused(phone: Device, text: str, status: int) -> None:
    engine = phone.engine
    phone.send(text)
    engine.settle()
    answers = [one for _, one in phone.received if not one.startswith("SIP/2.0 100")]
    phone.received.clear()
    assert [one.split()[1] for one in answers] == [str(status)]
    if text.startswith("INVITE"):
        phone.send(ack(text, answers[0]))
        engine.settle()


def way_to(engine: Engine, gateway: Device, way: str) -> tuple[str, tuple[str, ...]]:
    """A Request-URI and Routes that lead there."""
    if way == "uri":
        return f"sip:+1900@{gateway.name}", ()
    if way == "maddr":
        return f"sip:+1900@far.invalid:{gateway.port};maddr={gateway.host}", ()
    if way == "route":
        return "sip:+1900@far.invalid", (f"Route: <sip:{engine.address};lr>, <sip:{gateway.name};lr>",)
    engine.bind("bob@example.com", f"sip:+1900@{gateway.name}")
    return "sip:bob@example.com", ()


WAYS = ["uri", "maddr", "route", "binding"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_gateway_is_counted(way: str) -> None:
    with gated() as (engine, gateway):
        (alice,) = phones(engine, 1)
        uri, extra = way_to(engine, gateway, way)
        proven_call(engine, alice, uri, *extra, call_id="one@x")
        down = got(gateway, "INVITE sip:+1900@")
        assert engine.targets.status(0)["ringing"] == 1
        gateway.send(reply(down, "200 OK", f"Contact: <sip:{gateway.name}>"))
        got(alice, "SIP/2.0 100")
        route = f"Route: {header(got(alice, 'SIP/2.0 200'), 'Record-Route')}"
        assert (engine.targets.busy(0), engine.targets.status(0)["ringing"]) == (1, 0)
        text = proven_call(engine, alice, uri, *extra)
        alice.send(ack(text, got(alice, "SIP/2.0 500")))
        assert silent(gateway, alice), "it is full"
        dialog = {"call_id": "one@x", "to_tag": "b1"}
        for number, method in ((2, "ACK"), (3, "INFO"), (4, "BYE")):
            alice.send(request(method, f"sip:{gateway.name}", alice, route, cseq=number, **dialog))
            down = got(gateway, method)
            if method != "ACK":
                gateway.send(reply(down, "200 OK"))
                got(alice, "SIP/2.0 200")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("asks", [True, False])
def test_no_way_to_a_gateway_is_a_strangers(way: str, asks: bool) -> None:
    with gated(required=["*"] if asks else ["REGISTER"]) as (engine, gateway):
        (stranger,) = phones(engine, 1)
        uri, extra = way_to(engine, gateway, way)
        for method in ("INVITE", "MESSAGE"):
            for more in ({}, {"to_tag": "forged"}):
                text = request(method, uri, stranger, *extra, caller="sip:x@else.invalid", **more)
                refused(stranger, text, 407 if asks else 403)
        assert silent(gateway)
        assert engine.targets.status(0)["calls"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_forged_dialog_is_no_way_around_limits(way: str) -> None:
    with gated() as (engine, gateway):
        (alice,) = phones(engine, 1)
        uri, extra = way_to(engine, gateway, way)
        text = proven_call(engine, alice, uri, *extra, to_tag="forged")
        alice.send(ack(text, got(alice, "SIP/2.0 403")))
        assert silent(gateway, alice)


@pytest.mark.parametrize("slot", [0, None])
def test_a_plan_may_send_a_stranger_to_a_gateway_if_it_says_so(slot: int | None) -> None:
    plans: list[Plan] = []
    with gated(lambda _: plans[0], asks=["requests"]) as (engine, gateway):
        (stranger,) = phones(engine, 1)
        plans.append(Plan((Step((Target(f"sip:9@{gateway.name}", gateway=slot),)),)))
        text = request("INVITE", "sip:bob@example.com", stranger, caller="sip:x@else.invalid")
        if slot is None:
            refused(stranger, text, 407)
            assert silent(gateway)
            return
        stranger.send(text)
        down = got(gateway, "INVITE sip:9@")
        assert engine.targets.status(0)["ringing"] == 1
        gateway.send(reply(down, "486 Busy Here"))
        got(gateway, "ACK")
        got(stranger, "SIP/2.0 100")
        stranger.send(ack(text, got(stranger, "SIP/2.0 486")))


NOBODYS = {"never anybody's": 1, "of a gateway that is gone": 2, "beyond the table": 1024, "the largest": 65_534}


@pytest.mark.parametrize("slot", NOBODYS.values(), ids=NOBODYS)
@pytest.mark.parametrize("way", ["uri", "hop", "spare"])
def test_a_slot_that_is_nobodys_opens_no_way_to_a_gateway(slot: int, way: str) -> None:
    """What a plan sends there all the same is that gateway's call, and takes the caller's rights."""
    plans: list[Plan] = []
    with gated(lambda _: plans[0], asks=["requests"]) as (engine, gateway):
        if slot == 2:
            engine.targets.assign([("gw", 10, 1), ("other", 10, 1), ("gone", 10, 1)])
            engine.targets.assign([("gw", 10, 1), ("other", 10, 1)])
        stranger, alice = phones(engine, 2)
        there = f"sip:9@{gateway.name}"
        more: dict[str, Any] = {
            "uri": {},
            "hop": {"hop": there},
            "spare": {"hop": "sip:x@far.invalid", "spares": (there,)},
        }
        uri = there if way == "uri" else "sip:9@far.invalid"
        plans.append(Plan((Step((Target(uri, gateway=slot, **more[way]),)),)))
        text = request("INVITE", "sip:bob@example.com", stranger, caller="sip:x@else.invalid")
        refused(stranger, text, 407)
        assert silent(gateway) and engine.targets.status(0)["calls"] == 0
        proven_call(engine, alice, "sip:bob@example.com")
        down = got(gateway, "INVITE sip:9@")
        assert engine.targets.status(0)["ringing"] == 1
        gateway.send(reply(down, "486 Busy Here"))
        got(gateway, "ACK")
        got(alice, "SIP/2.0 100")
        got(alice, "SIP/2.0 486")


def test_a_redirect_to_a_gateway_is_not_followed_for_strangers() -> None:
    with gated(recurse=True) as (engine, gateway):
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        moved = f"Contact: <sip:+1900@{gateway.name}>"
        text = request("INVITE", "sip:bob@example.com", alice, caller="sip:x@else.invalid")
        alice.send(text)
        bob.send(reply(got(bob, "INVITE"), "302 Moved", moved))
        got(bob, "ACK")
        got(alice, "SIP/2.0 100")
        alice.send(ack(text, got(alice, "SIP/2.0 302")))
        assert silent(gateway)
        text = proven_call(engine, alice, "sip:bob@example.com")
        bob.send(reply(got(bob, "INVITE"), "302 Moved", moved))
        got(bob, "ACK")
        down = got(gateway, "INVITE sip:+1900@")
        assert engine.targets.status(0)["ringing"] == 1
        gateway.send(reply(down, "486 Busy Here"))
        got(gateway, "ACK")
        got(alice, "SIP/2.0 100")
        alice.send(ack(text, got(alice, "SIP/2.0 486")))


def test_a_gateway_that_wants_to_be_left_alone_is() -> None:
    with gated() as (engine, gateway):
        (alice,) = phones(engine, 1)
        engine.targets.unavailable(0, 60, CLOCK)
        text = proven_call(engine, alice, f"sip:+1900@{gateway.name}")
        alice.send(ack(text, got(alice, "SIP/2.0 500")))
        assert silent(gateway, alice)


@pytest.mark.parametrize("contact", ["sip:bob@{0}", "<sip:bob@{0};transport=tcp>", "<sip:x@y:{1};maddr={2}>;q=0.1"])
def test_a_gateways_address_is_nobodys_contact(contact: str) -> None:
    with gated() as (engine, gateway):
        (alice,) = phones(engine, 1)
        where = contact.format(gateway.name, gateway.port, gateway.host)
        registers = {"caller": "sip:alice@example.com", "callee": "sip:alice@example.com"}
        text = request("REGISTER", "sip:example.com", alice, f"Contact: {where}", **registers)
        alice.send(text)
        challenge = got(alice, "SIP/2.0 401")
        for number, (line, status) in enumerate(
            (
                (f"Contact: {where}", "403"),
                (f"Contact: <sip:a@{alice.name}>, {where}", "403"),
                (f"Contact: {where};expires=0", "503"),
                (f"Contact: <sip:a@{alice.name}>", "503"),
            ),
            1,
        ):
            more = {"nc": number, "name": "Authorization"}
            password = digest(challenge, "WWW-Authenticate", "REGISTER", "sip:example.com", **more)
            alice.send(request("REGISTER", "sip:example.com", alice, line, password, **registers))
            engine.advance(6)  # there is no state process
            got(alice, f"SIP/2.0 {status}")


def test_many_gateways_are_told_apart() -> None:
    """Those that share a place of the table, and an address in the words of IPv6."""
    hosts = [f"127.1.{number >> 8}.{number & 255}" for number in range(600)]
    found = [GatewayAddress(slot, host, 5060) for slot, host in enumerate(hosts)]
    with turns(**CLOSED, gateways=found) as engine:
        (alice,) = phones(engine, 1)
        for host in ("127.1.0.1:5060", "127.1.2.87", "[::ffff:127.1.1.1]"):
            engine.bind("bob@example.com", f"sip:bob@{host}")
            refused(alice, request("MESSAGE", "sip:bob@example.com", alice, caller="sip:x@else.invalid"), 407)
        (far,) = phones(engine, 1)
        engine.bind("bob@example.com", f"sip:bob@{far.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, caller="sip:x@else.invalid"))
        far.send(reply(got(far, "MESSAGE"), "200 OK"))
        got(alice, "SIP/2.0 200")
