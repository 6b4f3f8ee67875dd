"""Registrations by SIPp: new, update, query, cancel, failed (RFC 3665 2.1 to 2.5; draft 2.1.1 to 2.2.1)."""

from __future__ import annotations

import re

import pytest
from harness import (
    PASSWORD,
    Flow,
    Message,
    Outcome,
    Phone,
    Played,
    Scene,
    Server,
    Sipp,
    check_challenge,
    check_order,
    check_response,
    once,
    parameters,
    requires_peer,
)
from harness.sipp import PATIENT, WAIT
from harness.stage import ATLANTA, BOB

STEPS = ("register_new.xml", "register_update.xml", "register_query.xml", "register_cancel.xml", "register_query.xml")


def play_registrations(flow: Flow, scene: Scene) -> Played:
    """The same users do one step after the other; every step is a SIPp run with Call-IDs of its own."""
    outcomes = [_register(flow, scene, step, PASSWORD) for step in STEPS]
    return Played(scene, outcomes[0], outcomes[0], tuple(outcomes))


def play_wrong_password(flow: Flow, scene: Scene) -> Played:
    steps = ((flow.alice, "wrong"), ("register_query.xml", PASSWORD))
    outcomes = [_register(flow, scene, step, word) for step, word in steps]
    return Played(scene, outcomes[0], outcomes[0], tuple(outcomes))


def _register(flow: Flow, scene: Scene, scenario: str, password: str) -> Outcome:
    users = scene.users[: flow.calls]
    phone = Sipp(scenario, scene.first.address, host=BOB, calls=flow.calls, rate=200)
    phone.keys = {**scene.keys(phone), "contact": f"{BOB}:5060", "second": f"{BOB}:5070"}
    phone.rows = [(user, f"[authentication username={user} password={password}]") for user in users]
    phone.options = (*PATIENT, *WAIT)
    return phone.start().wait()


REGISTRATIONS = Flow("register_new.xml", "", calls=30, challenged=True, hops=(1,), play=play_registrations)
WRONG_PASSWORD = Flow("register_failed.xml", "", calls=10, challenged=True, hops=(1,), play=play_wrong_password)


@requires_peer("sipp")
@pytest.mark.flow(REGISTRATIONS)
def test_registration(played: Played) -> None:
    """A contact comes, a second one with a q joins it, both are listed, and `*` removes both (2.1 to 2.4)."""
    new, update, query, cancel, after = [_answers(outcome) for outcome in played.others]
    for user, answer in new.items():
        assert _contacts(answer) == {f"sip:{user}@{BOB}:5060": (1.0, 3600)}
    for found in (update, query):
        assert found.keys() == new.keys()
        for user, answer in found.items():
            contacts = _contacts(answer)
            first, second = f"sip:{user}@{BOB}:5060", f"sip:{user}@{BOB}:5070"
            assert contacts.keys() == {first, second}, str(answer)
            assert contacts[first][0] == 1.0 and 3550 <= contacts[first][1] <= 3600
            assert contacts[second][0] == 0.5 and 1750 <= contacts[second][1] <= 1800
    for found in (cancel, after):
        assert found.keys() == new.keys()
        assert all(not answer.all("Contact") for answer in found.values())


@requires_peer("sipp")
@pytest.mark.flow(WRONG_PASSWORD)
def test_wrong_password(played: Played) -> None:
    """A wrong password is answered with a new challenge and binds nothing (2.5, F1 to F4)."""
    failed, query = played.others
    failed.check()
    for seen in failed.by_call().values():
        check_order(once(seen), "> REGISTER", "< 401", "> REGISTER", "< 401")
        first, second = [message for message in once(seen) if not message.sent]
        check_challenge(first, 401, ATLANTA)
        check_challenge(second, 401, ATLANTA)
    assert all(not answer.all("Contact") for answer in _answers(query).values())


@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
def test_both_algorithms_are_offered(algorithm: str) -> None:
    """RFC 8760: a challenge for each, SHA-256 first; either is enough. (SIPp knows only MD5.)"""
    users = [("bob", PASSWORD, ATLANTA)]
    with (
        Server(host=ATLANTA, users=users, required=["REGISTER"], algorithms=["SHA-256", "MD5"]) as server,
        Phone(server.address) as phone,
    ):
        aor = f"sip:bob@{ATLANTA}"
        first = phone.ask(phone.request("REGISTER", f"sip:{ATLANTA}", sender=aor, to=aor))
        assert first and first.status == 401
        offered = [parameters(value)["algorithm"] for value in first.all("WWW-Authenticate")]
        assert offered == ["SHA-256", "MD5"]
        answer = phone.register(f"bob@{ATLANTA}", f"sip:bob@{BOB}:5060", PASSWORD, algorithm=algorithm)
        assert answer and answer.status == 200, str(answer)
        wrong = phone.register(f"bob@{ATLANTA}", f"sip:bob@{BOB}:5060", "wrong", algorithm=algorithm)
        assert wrong and wrong.status == 401, str(wrong)


def _answers(outcome: Outcome) -> dict[str, Message]:
    """The 200 of each user, after a check of the four messages of the flow."""
    answers = {}
    for seen in outcome.check().by_call().values():
        messages = once(seen)
        check_order(messages, "> REGISTER", "< 401", "> REGISTER", "< 200")
        check_challenge(messages[1], 401, ATLANTA)
        check_response(messages[1], messages[0])
        check_response(messages[3], messages[2])
        user = re.search(r"sip:(\w+)@", messages[0].one("To"))
        assert user
        answers[user.group(1)] = messages[3]
    return answers


def _contacts(answer: Message) -> dict[str, tuple[float, int]]:
    """URI to q (1 where there is none) and expires of the contacts in a 200."""
    found = {}
    for value in answer.all("Contact"):
        uri, _, rest = value.partition("<")[2].partition(">")
        q, expires = re.search(r";\s*q=([\d.]+)", rest), re.search(r";\s*expires=(\d+)", rest)
        assert expires, f"no expires in {value}"
        found[uri] = (float(q.group(1)) if q else 1.0, int(expires.group(1)))
    return found
