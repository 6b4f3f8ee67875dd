"""The dial plan: which route a request takes, what becomes of the number, and what is refused with which status."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest
from routes_kit import AUTHENTICATED, CLOCK, KNOWN, OWN, TRUSTED, dial_plan, request

from fastsip.policy.plan import FAILURE, TIMEOUT, UNAVAILABLE, Plan
from fastsip.routes.patterns import is_slow
from fastsip.routes.prefixes import Prefixes


def uris(plan: Plan | None) -> list[str]:
    assert plan is not None
    return [target.uri for step in plan.steps for target in step.targets]


def status(plan: Plan | None) -> int | None:
    return plan.answer.status if plan is not None and plan.answer is not None else None


def test_longest_prefix() -> None:
    plan, _ = dial_plan(
        {"prefix": "+1", "gateways": [["a"]]},
        {"prefix": "+1972", "gateways": [["b"]]},
        {"prefix": "+19725", "gateways": [["c"]]},
        {"prefix": "", "gateways": [["d"]]},
    )
    for number, name in (("+1-972-555-2222", "c"), ("+1-972-655-2222", "b"), ("+1-314", "a"), ("+44", "d"), ("7", "d")):
        digits = number.replace("-", "")
        assert uris(plan.route(request(f"tel:{number}"))) == [f"sip:{digits}@{name}.example.com;user=phone"]


def test_prefixes_before_patterns_and_patterns_in_the_order_of_the_file() -> None:
    plan, _ = dial_plan(
        {"regex": r"\+1.*", "gateways": [["a"]]},
        {"regex": r"\+1972.*", "gateways": [["b"]]},
        {"prefix": "+1972555", "gateways": [["c"]]},
        {"regex": r"conf-\d+", "gateways": [["d"]]},
    )
    assert uris(plan.route(request("tel:+19726"))) == ["sip:+19726@a.example.com;user=phone"]
    assert uris(plan.route(request("tel:+19725551"))) == ["sip:+19725551@c.example.com;user=phone"]
    assert uris(plan.route(request("sip:conf-12@example.com"))) == ["sip:conf-12@d.example.com"]
    assert plan.route(request("sip:conf-12x@example.com")) is None, "a pattern is of the whole name"


def test_strip_and_add() -> None:
    plan, _ = dial_plan(
        {"prefix": "+1972", "strip": 2, "add": "9"},
        {"prefix": "0", "strip": 1, "add": "+44"},
        {"regex": "room-.*", "strip": 5},
        {"prefix": "8", "strip": 9},
        gateways={"a": {"uri": "sip:trunk@gw.example.net:5070;transport=udp"}},
    )

    def sent(uri: str) -> list[str]:
        return uris(plan.route(request(uri)))

    end = "@gw.example.net:5070;transport=udp"
    assert sent("sip:+1-972-555;isub=3@example.com;user=phone") == [f"sip:9972555;isub=3{end};user=phone"]
    assert sent("tel:020-7946;phone-context=example.com") == [f"sip:+44207946{end};user=phone"]
    assert sent("sip:room-7%20a@example.com") == [f"sip:7%20a{end}"]
    assert status(plan.route(request("tel:81;phone-context=example.com"))) == 484, "nothing would be left"


def test_contexts_of_local_numbers() -> None:
    plan, _ = dial_plan(
        {"prefix": "7", "gateways": [["a"]]},
        {"prefix": "7", "context": "p1234", "gateways": [["b"]]},
        {"prefix": "7", "context": "+1972", "gateways": [["c"]]},
    )

    def sent(uri: str) -> list[str]:
        return uris(plan.route(request(uri)))

    assert sent("sip:7042@example.com") == ["sip:7042@a.example.com;user=phone"]
    assert sent("tel:70-42;phone-context=example.com") == [
        "sip:7042;phone-context=example.com@a.example.com;user=phone"
    ]
    assert sent("sip:7042@example.com;phone-context=p1234") == ["sip:7042;phone-context=p1234@b.example.com;user=phone"]
    assert sent("tel:7042;phone-context=+1-972") == ["sip:7042;phone-context=+1972@c.example.com;user=phone"]
    assert status(plan.route(request("tel:7042;phone-context=other.example"))) == 604, "not a number of this plan"
    assert status(plan.route(request("sip:7042;phone-context=+44@example.com;user=phone"))) == 604
    assert plan.route(request("sip:7042;phone-context=+44@example.com")) is None, "it may be a name"


def test_no_route() -> None:
    plan, _ = dial_plan({"prefix": "+1972"})
    assert status(plan.route(request("tel:+44-20"))) == 604
    assert status(plan.route(request("sip:+4420@example.com"))) == 604
    assert status(plan.route(request("sip:7042@example.com;user=phone"))) == 604
    assert plan.route(request("sip:7042@example.com")) is None, "it may be a name: 404 or 480 as for any other"
    assert plan.route(request("sip:bob@example.com")) is None
    assert plan.route(request("sip:example.com", TRUSTED | OWN, method="OPTIONS")) is None
    assert plan.route(request("sip:+19725@example.com", TRUSTED | OWN | KNOWN)) is None, "somebody has registered it"
    nothing, _ = dial_plan()
    assert nothing.route(request("tel:+44-20")) is None


def test_too_short() -> None:
    plan, _ = dial_plan({"prefix": "+1972", "shortest": 11}, {"prefix": "+44"})
    assert status(plan.route(request("tel:+1972-555-222"))) == 484
    assert uris(plan.route(request("tel:+1972-555-2222")))
    assert status(plan.route(request("tel:+197"))) == 484, "the beginning of a prefix that wants more digits"
    assert status(plan.route(request("tel:+198"))) == 604
    assert status(plan.route(request("tel:+4"))) == 604, "the plan does not say how long these are"


def test_domains() -> None:
    plan, _ = dial_plan({"domain": "example.net", "gateways": [["a", "b"]]})
    found = plan.route(request("sip:bob@Example.NET:5080;transport=udp", TRUSTED))
    assert found is not None
    assert uris(found) == ["sip:bob@Example.NET:5080;transport=udp"] * 2
    assert {step.targets[0].hop for step in found.steps} == {"sip:a.example.com", "sip:b.example.com"}
    assert plan.route(request("sip:bob@example.org", TRUSTED)) is None
    assert plan.route(request("sip:bob@example.com")) is None


def test_steps_go_on_to_the_next_gateway() -> None:
    plan, _ = dial_plan(
        {"prefix": "+", "gateways": [["a"], ["b"], ["c"]]}, gateways=dict(a={}, b={"try_time": 1.5}, c={})
    )
    found = plan.route(request("tel:+1"))
    assert found is not None
    targets = [step.targets[0] for step in found.steps]
    assert [step.onward for step in found.steps] == [frozenset({FAILURE, UNAVAILABLE, TIMEOUT})] * 2 + [frozenset()]
    assert [target.gateway for target in targets] == [0, 1, 2]
    assert [target.try_time for target in targets] == [4.0, 1.5, 4.0]


def test_strangers_do_not_reach_gateways_nor_learn_what_has_a_route() -> None:
    plan, _ = dial_plan({"prefix": "+1972", "shortest": 11}, {"domain": "example.net"})
    for uri in ("tel:+19725552222", "tel:+1972", "tel:+1", "tel:+44", "sip:7042@example.com", "tel:7;phone-context=x"):
        assert status(plan.route(request(uri, 0 if uri.startswith("tel") else OWN))) == 407, uri
    assert status(plan.route(request("sip:bob@example.net", 0))) == 407
    for uri in ("sip:bob@example.org", "sip:bob@example.com", "sip:example.com"):
        assert plan.route(request(uri, OWN if "com" in uri else 0)) is None, uri
    assert plan.route(request("sip:+19725552222@example.com", OWN | KNOWN)) is None
    assert uris(plan.route(request("tel:+19725552222", AUTHENTICATED)))
    assert uris(plan.route(request("tel:+19725552222", TRUSTED)))
    resident, _ = dial_plan({"prefix": "+1"}, known=lambda aor: aor == "+1555@example.com")
    assert uris(resident.route(request("tel:+1-555", 0))) == ["sip:+1555@example.com"]
    named, _ = dial_plan({"regex": "conf-.*"})
    for name in ("conf-1", "bob"):
        assert status(named.route(request(f"sip:{name}@example.com", OWN))) == 407


def test_numbers_of_people_who_live_here() -> None:
    asked = []

    def known(aor: str) -> bool:
        asked.append(aor)
        return aor == "+19725552222@example.com"

    plan, _ = dial_plan({"prefix": "+1"}, known=known)
    assert uris(plan.route(request("sip:+1-972-555-2222@example.com;user=phone"))) == ["sip:+19725552222@example.com"]
    assert uris(plan.route(request("tel:+1-972-555-2222"))) == ["sip:+19725552222@example.com"]
    assert uris(plan.route(request("tel:+1-972"))) == ["sip:+1972@a.example.com;user=phone"]
    assert uris(plan.route(request("sip:+1972@example.com"))) == ["sip:+1972@a.example.com;user=phone"]
    assert asked == ["+19725552222@example.com"] * 2 + ["+1972@example.com"], "as it stands it was looked up already"


def test_steps_for_a_call_somebody_here_forwards() -> None:
    plan, table = dial_plan(
        {"prefix": "+1", "gateways": [["a"], ["b"]]},
        {"domain": "example.net", "gateways": [["a"]]},
        gateways={"a": {"calls": 1}, "b": {"calls": 1}},
        known=lambda aor: aor in ("+1555@example.com", "bob@example.com"),
    )

    def sent(uri: str) -> list[str] | None:
        steps = plan.steps(uri)
        return None if steps is None else [target.uri for step in steps for target in step.targets]

    gateways = ["sip:+1972@a.example.com;user=phone", "sip:+1972@b.example.com;user=phone"]
    assert sent("tel:+1-972") == sent("sip:+1972@example.com") == gateways
    assert sent("sip:bob@example.net") == ["sip:bob@example.net"]
    assert sent("tel:+1555") == ["sip:+1555@example.com"], "somebody here"
    assert sent("sip:+1555@example.com") is None and sent("sip:bob@example.com") is None
    assert sent("sip:bob@example.org") is None and sent("nothing") is None
    assert sent("tel:+44") == []
    table.begin(0, 0)
    assert sent("tel:+1-972") == gateways[1:]
    table.begin(1, 0)
    assert sent("tel:+1-972") == []


def test_a_call_forwarded_to_a_gateways_address_is_one_of_its_calls() -> None:
    gateways = {"a": {"uri": "sip:192.0.2.7", "calls": 1}, "b": {"uri": "sip:[2001:db8::7]:5070"}}
    gateways["c"] = {"uri": "sip:192.0.2.7;transport=tcp"}
    gateways["d"], gateways["e"] = {"uri": "sip:192.0.2.8;transport=tls"}, {"uri": "sips:192.0.2.9"}
    plan, table = dial_plan(gateways=gateways)
    for uri, slot in (
        ("sip:mail@192.0.2.7", 0),
        ("sip:mail@192.0.2.7;transport=tcp", 2),
        ("sip:mail@192.0.2.8:5061;transport=tls", 3),
        ("sip:mail@192.0.2.8:5061", 3),
        ("sip:mail@192.0.2.9;transport=tls", 4),
        ("sip:mail@192.0.2.7:5060;transport=udp", 0),
        ("sip:mail@far.invalid;maddr=192.0.2.7", 0),
        ("sip:mail@[2001:DB8:0::7]:5070", 1),
    ):
        (step,) = plan.steps(uri) or ()
        assert [(one.uri, one.gateway) for one in step.targets] == [(uri, slot)]
    assert plan.steps("sip:mail@192.0.2.7:5070") is None and plan.steps("sip:mail@192.0.2.8") is None
    table.begin(0, 0)
    assert plan.steps("sip:mail@192.0.2.7") == (), "it is full"


def test_patterns_are_not_for_strangers_nor_for_long_names() -> None:
    plan, _ = dial_plan({"regex": "(a+)+b", "gateways": ["a"]})
    long = "sip:" + 40 * "a" + "c@example.com"
    assert status(plan.route(request(long, OWN))) == 407
    assert plan.route(request("sip:" + 3000 * "a" + "c@example.com")) is None
    assert isinstance(plan.route(request("sip:aab@example.com")), Plan)


def test_no_gateway_left() -> None:
    plan, table = dial_plan(
        {"prefix": "+", "gateways": [["a"], ["b"]]}, gateways={"a": {"calls": 1}, "b": {"calls": 1}}
    )
    table.begin(0, 0)
    table.begin(1, 0)
    found = plan.route(request("tel:+1"))
    assert found is not None
    assert found.answer is not None
    assert (found.answer.status, found.answer.headers) == (500, ())


def test_one_gateway_for_a_policy_of_ones_own() -> None:
    plan, table = dial_plan()
    first = plan.choose(["a", "b"], "+1-972")
    assert first is not None
    second = plan.choose(["a", "b"], "+1-972", [first])
    assert second is not None
    assert {first.uri, second.uri} == {"sip:+1972@a.example.com;user=phone", "sip:+1972@b.example.com;user=phone"}
    assert (first.try_time, {first.gateway, second.gateway}) == (4.0, {0, 1})
    assert plan.choose(["a", "b"], "+1", [first, second]) is None
    named = plan.choose(["c"], "conf 1")
    assert named is not None
    assert named.uri == "sip:conf%201@c.example.com"
    left = plan.choose([], None, ["a", "b", "c"])
    assert left is not None
    assert left.uri == "sip:d.example.com"
    table.unavailable(3, 30, CLOCK)
    assert plan.choose([], None, ["a", "b", "c"]) is None
    with pytest.raises(ValueError, match=r"no gateway is called 'e' \(there are: a, b, c, d\)"):
        plan.choose(["e"])


def test_prefixes_are_what_a_search_one_by_one_finds() -> None:
    chance = random.Random(7)
    for digits, count in (("01", 40), ("0123456789", 300)):
        table = {"".join(chance.choices(digits, k=chance.randint(0, 9))): place for place in range(count)}
        prefixes = Prefixes(table)
        for _ in range(3000):
            text = "".join(chance.choices(digits, k=chance.randint(0, 12)))
            slowly = next((table[text[:end]] for end in range(len(text), -1, -1) if text[:end] in table), None)
            assert prefixes.longest(text) == slowly
    assert Prefixes[int]({}).longest("1") is None


def cpu(work: Callable[[], object]) -> float:
    """Least CPU seconds of several runs."""
    best = float("inf")
    for _ in range(7):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def test_ten_thousand_prefixes_cost_what_ten_do() -> None:
    """A microsecond is the gate (bench/routes.py measures it); here, without a clock that others on the machine slow
    down: no more than ten looks into one dictionary."""
    chance = random.Random(1)
    prefixes: dict[str, int] = {}
    while len(prefixes) < 10_000:
        prefixes["+" + "".join(chance.choices("0123456789", k=chance.randint(2, 9)))] = len(prefixes)
    numbers = ["+" + "".join(chance.choices("0123456789", k=11)) for _ in range(10_000)]
    longest = Prefixes(prefixes).longest
    lookups = cpu(lambda: [longest(number) for number in numbers])
    bare = cpu(lambda: [prefixes.get(number[:6]) for number in numbers])
    assert lookups < 12 * bare, f"{lookups / len(numbers) * 1e9:.0f} ns against {bare / len(numbers) * 1e9:.0f}"
    assert lookups / len(numbers) < 5e-6


@pytest.mark.parametrize(
    ("pattern", "slow"),
    [
        (r"(a+)+b", True),
        (r"(\d+-)+", True),
        (r"(a|aa)+", True),
        (r"(?:11|1){0,24}x", True),
        (r"(?i:(ab|Ac){30})", True),
        (r"(a?){30}b", True),
        (r"(?=(a+)+)b", True),
        (r"(?>(a|ab)*)c", True),
        (r"\d*\d*\d*\d*x", True),
        (r"((\d{0,9}){0,9}){0,9}", True),
        (r"(a)?(?(1)(b+)+|c)", True),
        (r"\d*\d*\d*x", False),
        (r"(?:11|1){0,18}x", False),
        (r"\+?1?[2-9]\d{2}[2-9]\d{6}", False),
        (r"(?:\+|00)44(\d{3,10})", False),
        (r"(12|34)+5?", False),
        (r"(?:\d{3}-)*\d{4}", False),
        (r"room-.*", False),
        (r"(?=.*\d)[a-z0-9]*", False),
    ],
)
def test_a_pattern_that_could_hold_up_a_worker_is_known(pattern: str, slow: bool) -> None:
    assert is_slow(pattern) is slow
    if not slow:
        begun = time.process_time()
        for text in ("1" * 63 + "!", "a" * 63 + "!", "12" * 31 + "!", "123-" * 15 + "!"):
            re.compile(pattern).fullmatch(text)
        assert time.process_time() - begun < 0.2
