"""Plans that cannot be sent: the field that is wrong is named, in the order somebody would look for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastsip._plan import encode_plan
from fastsip.names import HEADERS
from fastsip.policy import BUSY, Answer, Plan, Step, Target, fork, reject

ONE = "sip:bob@192.0.2.1"
ROUTE = "<sip:192.0.2.9;lr>"


def one(**fields: Any) -> Plan:
    return fork(Target(ONE, **fields))


def only(*targets: Any, **fields: Any) -> Plan:
    return Plan((Step(targets or (Target(ONE),), **fields),))


IN = r"plan\.steps\[0\]"
AT = rf"{IN}\.targets\[0\]: "
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (Plan(), "plan: neither steps nor an answer"),
    "steps of text": (Plan(steps=ONE), rf"plan\.steps = '{ONE}': expected a tuple of Steps"),  # type: ignore[arg-type]
    "steps of a number": (Plan(steps=5), r"plan\.steps = 5: expected a tuple of Steps"),  # type: ignore[arg-type]
    "no step": (Plan((Target(ONE),)), rf"{IN} = Target\(.*\): expected a Step"),  # type: ignore[arg-type]
    "targets of text": (Plan((Step(ONE),)), rf"{IN}: targets = '{ONE}': expected a tuple of Targets"),  # type: ignore[arg-type]
    "no targets": (Plan((Step(()),)), f"{IN}: it has no targets"),
    "no target": (only(ONE), f"{AT}'{ONE}': expected a Target"),
    "too many": (only(*[Target(ONE)] * 129), "plan: 1 steps, 129 targets and 0 spares; at most"),
    "uri of bytes": (fork(Target(b"sip:x@y")), f"{AT}uri: expected a text, not bytes"),  # type: ignore[arg-type]
    "empty uri": (fork(Target("")), f"{AT}uri: it is empty"),
    "space in a uri": (fork(Target("sip:a b@c")), f"{AT}uri: 'sip:a b@c' is no URI"),
    "second line": (one(hop="sip:a\r\nX: y"), f"{AT}hop: a line break or NUL"),
    "q": (one(q=1.5), rf"{AT}q = 1\.5: expected a number from 0 to 1"),
    "q of text": (one(q="1"), f"{AT}q = '1': expected a number from 0 to 1"),
    "no number": (one(q=float("nan")), f"{AT}q = nan: expected a number from 0 to 1"),
    "routes of text": (one(routes="<sip:a;lr>"), f"{AT}routes = '<sip:a;lr>': expected a tuple of Route values"),
    "headers of text": (one(headers="X-A: 1"), f"{AT}headers = 'X-A: 1': expected a tuple of names and values"),
    "one flat header": (one(headers=("X-A", "1")), f"{AT}headers: 'X-A': expected a name and a value"),
    "value of a number": (one(headers=(("X-A", 1),)), f"{AT}headers: expected a text, not int"),
    "no name": (one(headers=(("X A", "1"),)), f"{AT}headers: 'X A' is no header's name"),
    "a second CSeq": (one(headers=(("X-A", "1"), ("CSeq", "7 BYE"))), f"{AT}headers: 'CSeq' is the proxy's own"),
    "a Route": (one(headers=(("Route", ROUTE),)), f"{AT}headers: 'Route' is the proxy's own: `routes` has those"),
    "remove of text": (one(remove="Diversion"), f"{AT}remove = 'Diversion': expected a tuple of names"),
    "remove of a number": (one(remove=(5,)), f"{AT}remove: 5: expected a header's name"),
    "try_time": (one(try_time=0), f"{AT}try_time = 0: expected seconds, above 0"),
    "try_time of text": (one(try_time="4"), f"{AT}try_time = '4': expected seconds"),
    "gateway of text": (one(gateway="gw1"), f"{AT}gateway = 'gw1': expected a slot of the target table"),
    "gateway below all": (one(gateway=-1), f"{AT}gateway = -1: expected a slot"),
    "spares of text": (one(spares=ONE), f"{AT}spares = '{ONE}': expected a tuple of SIP URIs"),
    "spares of a number": (one(spares=(5,)), f"{AT}spares: expected a text, not int"),
    "eight spares": (one(spares=(ONE,) * 8), f"{AT}spares: 8 of them; at most 7"),
    "too many of both": (only(*[Target(ONE, spares=(ONE,) * 7)] * 17), "plan: 1 steps, 17 targets and 119 spares; at"),
    "patience": (one(spares=(ONE,), patience=0), f"{AT}patience = 0: expected seconds, above 0"),
    "ring_time": (only(ring_time=100_000), f"{IN}: ring_time = 100000: expected seconds, above 0 and at most a day"),
    "ring_time of text": (only(ring_time="20"), f"{IN}: ring_time = '20': expected seconds"),
    "onward of one step": (only(onward={"busy"}), f"{IN}: onward: 'busy' is no Outcome"),
    "onward of text": (only(onward="busy"), f"{IN}: onward = 'busy': expected a tuple of Outcomes"),
    "an outcome beyond all": (only(onward={1 << 40}), f"{IN}: "),
    "no such outcome": (only(onward={9}), f"{IN}: onward: 9 is no Outcome"),
    "onward to itself": (only(onward={BUSY: 0}), rf"{IN}: onward: 0 is no later step \(there are 1\)"),
    "onward to a name": (only(onward={BUSY: "next"}), f"{IN}: onward: 'next' is no later step"),
    "notify": (only(notify=100), f"{IN}: notify = 100: expected a status from 101 to 199"),
    "notify of text": (only(notify="181"), f"{IN}: notify = '181': expected a status from 101 to 199"),
    "an answer that is none": (Plan(answer=486), r"plan\.answer = 486: expected an Answer"),  # type: ignore[arg-type]
    "status": (Plan(answer=Answer(200)), r"plan\.answer\.status = 200: expected a status from 300 to 699"),
    "status of text": (Plan(answer=Answer("486")), r"plan\.answer\.status = '486': expected a status"),  # type: ignore[arg-type]
    "reason": (Plan(answer=Answer(486, 5)), r"plan\.answer\.reason: expected a text, not int"),  # type: ignore[arg-type]
    "headers of an answer": (
        Plan(answer=Answer(486, None, ("X-A", "1"))),  # type: ignore[arg-type]
        r"plan\.answer\.headers: 'X-A': expected a name and a value",
    ),
    "length of an answer": (
        reject(486, headers=[("content-length", "5")]),
        r"plan\.answer\.headers: 'content-length' is the proxy's own",
    ),
}


@pytest.mark.parametrize(("plan", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_by_its_field(plan: Plan, message: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError), match=f"^{message}"):
        encode_plan(plan)


OF_ANSWERS = ("Via", "From", "To", "Call-ID", "CSeq", "Content-Length", "Record-Route", "v", "f", "t", "i", "l")
OF_REQUESTS = (*OF_ANSWERS, "Max-Forwards", "Max-Breadth", "Route")


@pytest.mark.parametrize("write", [str, str.lower, str.upper])
def test_what_the_proxy_and_its_transactions_live_from_is_no_plans(write: Callable[[str], str]) -> None:
    for name in map(write, OF_REQUESTS):
        with pytest.raises(ValueError, match=f"^{AT}headers: '{name}' is the proxy's own"):
            encode_plan(one(headers=((name, "1"),)))
        with pytest.raises(ValueError, match=f"^{AT}remove: '{name}' is the proxy's own"):
            encode_plan(one(remove=("X-A", name)))
    for name in map(write, OF_ANSWERS):
        with pytest.raises(ValueError, match=rf"^plan\.answer\.headers: '{name}' is the proxy's own"):
            encode_plan(reject(486, headers=[(name, "1")]))


def test_all_else_is() -> None:
    names = {*(long for long, _ in HEADERS), *(short for _, short in HEADERS if short), "X-A", "Via-X", "ia"}
    for name in names.difference(OF_REQUESTS):
        encode_plan(one(headers=((name, "1"),), remove=(name,)))
    for name in names.difference(OF_ANSWERS):
        encode_plan(reject(486, headers=[(name, "1")]))


def test_what_may_be_written_otherwise() -> None:
    tuples = Plan((Step((Target(ONE, remove=("X-A",)),), onward={BUSY}), Step((Target(ONE),), onward={BUSY})))
    lists = Plan([Step([Target(ONE, remove=["X-A"])], onward=[BUSY]), Step([Target(ONE)], onward=(BUSY,))])  # type: ignore[arg-type]
    assert encode_plan(lists) == encode_plan(tuples)
