"""Plans of services without an engine: other people's plans expanded, block lists, room, and what it is read from.

1. A step that names one person becomes his steps; what it led to is led to from where these end.
2. A step of several rings each one's devices, none twice. Nobody left: the next step, or an answer.
3. Globs match identities without case, parameters, ports, separators of numbers; a long name costs no time.
4. However many people forward and group each other, a plan has room, and is made in a moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from services_stage import request

from fastsip._control import KEY_BYTES, control_format
from fastsip._location import RECORD_BINDINGS, RECORD_SERVICES, SegmentReader, SegmentWriter, segment_format
from fastsip._message import Uri
from fastsip._plan import encode_plan
from fastsip.location import Binding, BindingSet
from fastsip.policy import ANY, BUSY, NO_ANSWER, Plan, Step, Target, fork, hunt, reject, step
from fastsip.policy.plan import STEPS_AT_MOST, TARGETS_AT_MOST
from fastsip.policy.request import AUTHENTICATED, KNOWN, OWN, ROUTE, TRUSTED, Question, Request
from fastsip.services import Record, Screened, Services
from fastsip.services.globs import compile_globs, forms
from fastsip.services.record import decode, encode
from fastsip.services.source import Published

NOW = 1_800_000_000.0


def test_redirect_of_one_person() -> None:
    devices = [binding("sip:bob@1.y.example", 0.5), binding("sip:bob@2.y.example", expires=NOW + 9.2)]
    bound = {"bob@example.com": devices}
    records = {
        "bob@example.com": Record(redirect=True),
        "amy@example.com": Record(redirect=True, forward_always="tel:+1"),
        "ann@example.com": Record(redirect=True, block_incoming=("sip:*",)),
    }
    services = Services(lambda aor: bound.get(aor, []), records.get, ["example.com"], now=lambda: NOW)

    def answer(callee: str, method: str = "INVITE") -> object:
        message = request(method, f"sip:{callee}", "sip:alice@y.example", "y.example").encode()
        question = Question(ROUTE, 1, OWN | KNOWN, callee.encode(), b"", ("192.0.2.1", 5060), message)
        plan = services.route(Request(question))
        return plan and plan.answer and (plan.answer.status, [value for _, value in plan.answer.headers])

    contacts = ["<sip:bob@2.y.example>;expires=9", "<sip:bob@1.y.example>;q=0.5;expires=60"]
    assert answer("bob@example.com") == answer("bob@example.com", "MESSAGE") == (302, contacts)
    assert answer("amy@example.com") == (302, ["<tel:+1>"])
    assert answer("ann@example.com") == (403, [])
    bound.clear()
    assert answer("bob@example.com") is None


def binding(uri: str, q: float = 1.0, path: str = "", expires: float = NOW + 60) -> Binding:
    source = (4, bytes(16), 5060)
    return Binding(
        uri.encode(), b"r", b"", path.encode(), round(q * 1000), 1, source, 1, 0, int(expires * 1000), 0, 0
    )  # fmt: skip


DEVICES = {
    "bob@example.com": (binding("sip:bob@192.0.2.1"), binding("sip:bob@192.0.2.2")),
    "amy@example.com": (binding("sip:amy@192.0.2.3"),),
    "old@example.com": (binding("sip:old@192.0.2.4", expires=NOW - 1),),
}


def asked(
    user: str = "bob", method: str = "INVITE", caller: str = "sip:alice@atlanta.example", flags: int = OWN | KNOWN
) -> Request:
    text = request(method, f"sip:{user}@example.com", caller, "192.0.2.9:5060")
    aor = f"{user}@example.com".encode()
    sender = caller.removeprefix("sip:").encode() if caller.endswith("@example.com") else b""
    return Request(Question(ROUTE, 1, flags, aor, sender, ("192.0.2.9", 5060), text.encode()))


def services(records: dict[str, Record] | None = None, **more: Any) -> Services:
    named = {f"{name}@example.com": record for name, record in (records or {}).items()}
    return Services(
        lambda aor: DEVICES.get(aor, ()), named.get, ["example.com"], [("192.0.2.250", 5060)], now=lambda: NOW, **more
    )


def told(plan: Plan | None) -> list[str]:
    """A plan as a line for each step: targets, ring time, where outcomes lead."""
    assert plan is not None
    if plan.answer is not None:
        return [f"{plan.answer.status} {plan.answer.reason or ''}".strip()]
    encode_plan(plan)
    lines = []
    for one in plan.steps:
        onward = one.onward if isinstance(one.onward, dict) else {}
        leads = " ".join(f"{o.name.lower()}>{i}" for o, i in sorted(onward.items()) if o in (BUSY, NO_ANSWER))
        ring = f" {one.ring_time:g}s" if one.ring_time is not None else ""
        lines.append(f"{' '.join(t.uri for t in one.targets)}{ring}{' ' if leads else ''}{leads}")
    return lines


BOB, BOB2, AMY = "sip:bob@192.0.2.1", "sip:bob@192.0.2.2", "sip:amy@192.0.2.3"
MAIL = Record(forward_busy="sip:mail@192.0.2.7")

EXPANDED = {
    "one person": (fork("sip:bob@example.com"), {}, [f"{BOB} {BOB2}"]),
    "by a listen address": (fork("sip:bob@192.0.2.250"), {}, [f"{BOB} {BOB2}"]),
    "at another port it is not ours": (fork("sip:bob@192.0.2.250:5070"), {}, ["sip:bob@192.0.2.250:5070"]),
    "with a service": (
        fork("sip:bob@example.com"),
        {"bob": MAIL},
        [f"{BOB} {BOB2} busy>1", "sip:mail@192.0.2.7;cause=486"],
    ),
    "two at once": (fork("sip:bob@example.com", "sip:amy@example.com"), {"bob": MAIL}, [f"{BOB} {BOB2} {AMY}"]),
    "one twice": (fork("sip:bob@example.com", "sip:bob@example.com:5060", BOB), {}, [f"{BOB} {BOB2}"]),
    "a person and a stranger": (fork("sip:amy@example.com", "sip:x@y.example"), {}, [f"{AMY} sip:x@y.example"]),
    "hunt": (
        hunt("sip:bob@example.com", "sip:amy@example.com", ring_time=9),
        {},
        [f"{BOB} {BOB2} 9s busy>1 no_answer>1", f"{AMY} 9s"],
    ),
    "hunt, services of the first before the second": (
        hunt("sip:bob@example.com", "sip:amy@example.com", ring_time=9),
        {"bob": MAIL},
        [f"{BOB} {BOB2} 9s busy>1 no_answer>2", "sip:mail@192.0.2.7;cause=486 9s busy>2 no_answer>2", f"{AMY} 9s"],
    ),
    "hunt, the first is away": (hunt("sip:nobody@example.com", "sip:amy@example.com"), {}, [AMY]),
    "hunt, the one in the middle is away": (
        hunt("sip:x@y.example", "sip:old@example.com", "sip:amy@example.com"),
        {},
        ["sip:x@y.example 20s busy>1 no_answer>1", AMY],
    ),
    "all are away": (hunt("sip:nobody@example.com", "sip:old@example.com"), {}, ["480"]),
    "away, and only busy leads on": (hunt("sip:old@example.com", "sip:amy@example.com", onward={BUSY}), {}, ["480"]),
    "all forward in a circle": (
        fork("sip:bob@example.com"),
        {"bob": Record(forward_always="sip:amy@example.com"), "amy": Record(forward_always="sip:bob@example.com")},
        ["482"],
    ),
    "not to be disturbed, then another": (
        hunt("sip:bob@example.com", "sip:amy@example.com"),
        {"bob": Record(do_not_disturb=True)},
        [AMY],
    ),
    "away in a leap": (
        Plan(
            (
                step("sip:nobody@example.com", onward={NO_ANSWER: 2}),
                step("sip:never@y.example"),
                step("sip:x@y.example", onward={BUSY: 3}),
                step("sip:amy@example.com"),
            )
        ),
        {},
        ["sip:x@y.example busy>1", AMY],
    ),
    "a group of his own": (
        hunt("sip:bob@example.com", "sip:amy@example.com"),
        {"bob": Record(find_me=(("sip:a@y.example",), ("sip:b@y.example", "sip:c@y.example")), ring_time=5)},
        ["sip:a@y.example 5s busy>1 no_answer>1", "sip:b@y.example sip:c@y.example 5s busy>2 no_answer>2", AMY],
    ),
}  # fmt: skip


@pytest.mark.parametrize("plan, records, lines", EXPANDED.values(), ids=EXPANDED)
def test_expanded(plan: Plan, records: dict[str, Record], lines: list[str]) -> None:
    assert told(services(records).expand(plan, asked("carl"))) == lines


def test_a_plan_about_strangers_or_with_a_hop_of_its_own_stays_the_same_object() -> None:
    mine = services({"bob": MAIL})
    for plan in (
        fork("sip:x@y.example", "tel:+1972"), reject(404), fork(Target("sip:bob@example.com", hop="sip:192.0.2.9")),
        fork(Target("sip:bob@example.com", gateway=0)), fork(Target("sip:bob@example.com", routes=("<sip:p;lr>",))),
    ):  # fmt: skip
        assert mine.expand(plan, asked()) is plan
    made = mine.route(asked())
    assert made is not None and mine.expand(made, asked()) is made


def test_what_a_plan_says_of_a_person_is_said_of_his_devices() -> None:
    target = Target("sip:bob@example.com", headers=(("X-A", "1"),), remove=("Subject",), try_time=3)
    plan = Plan((Step((target,), ring_time=7, notify=182),), recurse=True, on_failure=True)
    expanded = services().expand(plan, asked())
    (one,) = expanded.steps
    assert (expanded.recurse, expanded.on_failure, one.ring_time, one.notify) == (True, True, 7, 182)
    assert [(t.headers, t.remove, t.try_time) for t in one.targets] == [(target.headers, target.remove, 3)] * 2


def test_a_device_behind_a_path_and_one_with_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    path = '<sip:edge.example;lr>, "A, B" <sip:edge2.example;lr;x="a,b">'
    monkeypatch.setitem(DEVICES, "amy@example.com", (binding("sip:amy@192.0.2.3;x=y?Subject=z", path=path),))
    (one,) = services().expand(fork("sip:amy@example.com"), asked()).steps
    assert one.targets[0].uri == "sip:amy@192.0.2.3;x=y"
    assert one.targets[0].routes == ("<sip:edge.example;lr>", '"A, B" <sip:edge2.example;lr;x="a,b">')


def test_numbers_go_by_the_dial_plan() -> None:
    def dial(uri: str) -> tuple[Step, ...] | None:
        if "+1973" in uri:
            return fork("sip:amy@example.com").steps  # her number
        if "+1972" not in uri:
            return None
        return hunt(
            Target("sip:1@gw1.example", gateway=0),
            Target("sip:1@gw2.example", gateway=1),
            onward=ANY - {BUSY, NO_ANSWER},
        ).steps

    records = {
        "bob": Record(forward_always="tel:+1972555"),
        "amy": Record(forward_no_answer="sip:+1972555@example.com", forward_busy="tel:+44"),
        "cat": Record(find_me=(("tel:+1972555",), ("sip:amy@example.com",)), ring_time=7),
        "dan": Record(forward_always="tel:+1973555"),
        "eve": Record(find_me=(("tel:+1973555",),)),
    }
    mine = services(records, outside=dial)
    assert told(mine.route(asked())) == ["sip:1@gw1.example", "sip:1@gw2.example"]
    plan = mine.route(asked("amy"))
    assert told(plan) == [f"{AMY} 20s no_answer>1", "sip:1@gw1.example", "sip:1@gw2.example"]
    assert plan is not None and plan.steps[1].targets[0].headers[1][0] == "Diversion"
    assert [dict(s.onward) for s in plan.steps[1:]] == [dict.fromkeys(ANY - {BUSY, NO_ANSWER}, 2), {}]
    assert told(mine.route(asked("dan"))) == told(mine.route(asked("amy")))
    assert told(mine.route(asked("eve"))) == [AMY]
    plan = mine.route(asked("cat"))
    assert told(plan) == [
        "sip:1@gw1.example 7s busy>2 no_answer>2",
        "sip:1@gw2.example 7s busy>2 no_answer>2",
        f"{AMY} 7s",
    ]


def test_numbers_of_plans_go_by_the_dial_plan_for_callers_with_rights() -> None:
    """A target of a policy that is a number of this server's, or a tel URI."""
    one, two = Target("sip:1@gw1.example", gateway=0), Target("sip:1@gw2.example", gateway=1)

    def dial(uri: str) -> tuple[Step, ...] | None:
        if "+1973" in uri:
            return fork("sip:amy@example.com").steps  # her number
        if "+44" in uri:
            return ()
        return hunt(one, two, onward=ANY - {BUSY, NO_ANSWER}).steps if "+1972" in uri else None

    mine = services({"+19721": Record(forward_always="sip:mail@y.example")}, outside=dial)

    def led(plan: Plan, flags: int = TRUSTED) -> list[str]:
        return told(mine.expand(plan, asked("x", flags=OWN | flags)))

    for uri in ("sip:+19725551@example.com", "tel:+19725551"):
        for flags in (TRUSTED, AUTHENTICATED):
            assert led(fork(uri), flags) == [one.uri, two.uri]
        assert led(hunt(uri, "sip:x@y.example", onward={BUSY})) == [
            f"{one.uri} busy>2", f"{two.uri} busy>2", "sip:x@y.example",
        ]  # fmt: skip
        assert led(fork(uri, "sip:amy@example.com")) == [f"{one.uri} {AMY}"]
    assert led(fork("sip:+19725551@example.com"), 0) == ["480"], "on nobody's behalf"
    assert led(fork("tel:+19725551"), 0) == ["480"], "nor by its other name"
    assert led(fork("tel:+19735551")) == led(fork("sip:amy@example.com")) == [AMY]
    assert led(fork("tel:+445")) == led(fork("sip:nobody@example.com")) == ["480"]
    assert led(fork("sip:+19721@example.com")) == ["sip:mail@y.example;cause=302"], "somebody lives under this number"
    plan = Plan((Step((Target("tel:+1972", headers=(("X-A", "1"),)),), ring_time=7),))
    expanded = mine.expand(plan, asked("x", flags=TRUSTED))
    assert [(s.ring_time, s.targets[0].headers, s.targets[0].gateway) for s in expanded.steps] == [
        (7, (("X-A", "1"),), 0), (7, (("X-A", "1"),), 1),
    ]  # fmt: skip
    assert dict(expanded.steps[0].onward) == dict.fromkeys(ANY - {BUSY, NO_ANSWER}, 1)


def test_numbers_that_a_route_makes_meet_block_lists() -> None:
    """strip and add: 0 1900... becomes +1900..."""

    class Dial:
        def route(self, request: Request) -> Plan | None:
            return Plan(self.steps(str(request.uri)) or ())

        def steps(self, uri: str) -> tuple[Step, ...] | None:
            number = "+" + uri.partition(":")[2].partition("@")[0].lstrip("0")
            gateways = [Target(f"sip:{number}@gw{slot}.example;user=phone", gateway=slot) for slot in range(2)]
            return hunt(*gateways).steps

    blocks = ("tel:+1900*",)
    records = {
        "amy": Record(block_outgoing=blocks),
        "ann": Record(block_outgoing=("sip:+1900*@*",)),
        "bob": Record(forward_always="tel:01900555", block_outgoing=blocks),
        "dan": Record(forward_always="tel:01901555", block_outgoing=blocks),
        "eve": Record(find_me=(("sip:amy@example.com", "sip:bob@example.com", "sip:dan@example.com"),)),
    }
    dial = Dial()
    mine = services(records, outside=dial.steps)
    screened = Screened(dial, mine)
    for sender, barred in (("amy", True), ("ann", True), ("eve", False), ("old", False)):
        request = asked("01900555", caller=f"sip:{sender}@example.com", flags=TRUSTED | OWN)
        assert (told(screened.route(request)) == ["403 Screening Failure (Originating)"]) is barred
        request = asked("01901555", caller=f"sip:{sender}@example.com", flags=TRUSTED | OWN)
        assert told(screened.route(request))[0] == "sip:+1901555@gw0.example;user=phone"
    assert told(mine.route(asked("bob"))) == ["403 Screening Failure (Terminating)"]
    assert told(mine.route(asked("dan")))[0].startswith("sip:+1901555@gw0")
    (line,) = told(mine.route(asked("eve")))
    assert AMY in line and "+1901555@gw0" in line and "1900" not in line


GLOBS = [
    ("sip:spammer@*", "sip:spammer@x.example", True),
    ("sip:spammer@*", "sips:SPAMMER@X.example:5061;transport=tls?Subject=x", True),
    ("sip:spammer@*", "sip:sp%61mmer@x.example", True),
    ("sip:spammer@*", "sip:spammer2@x.example", False),
    ("sip:spammer", "sip:spammer@x.example", True),
    ("*@x.example", "sip:anyone@x.example;a=b", True),
    ("*@x.example", "sip:anyone@x.example.org", False),
    ("sip:+1900*", "sip:+19005551234@gw.example;user=phone", True),
    ("sip:+1900*", "tel:+1-900-555-1234;isub=1", True),
    ("tel:+1900*", "sip:+1(900)555.1234@gw.example", True),
    ("tel:+1-900-*", "sip:+19005551234@gw.example", True),
    ("sip:+19005551234", "sip:+1-900-5551234;isub=1@gw.example", True),
    ("sip:7042@*", "sip:7042;phone-context=example.com@gw.example;user=phone", True),
    ("sip:+1900???????@*", "tel:+19005551234", True),
    ("sip:+1900*", "sip:+1901555@gw.example", False),
    ("sip:a?c@*", "sip:abc@x", True),
    ("sip:a?c@*", "sip:ac@x", False),
    ("sip:a.c@*", "sip:abc@x", False),
    ("sip:[ab]@*", "sip:a@x", False),
    ("sips:bob@x", "sip:bob@x", True),
    ("*", "mailto:a@b", True),
    ("sip:*b*d@x", "sip:abcd@x", True),
    ("sip:*b*b@x", "sip:ab@x", False),
    ("sip:x.example", "sip:x.example", True),
]


@pytest.mark.parametrize("glob, uri, matches", GLOBS)
def test_glob(glob: str, uri: str, matches: bool) -> None:
    for blocks in (compile_globs([glob]), compile_globs(["sip:never@never", glob])):
        assert blocks is not None and blocks(forms(Uri(uri))) is matches


def test_a_name_of_any_length_costs_no_time() -> None:
    blocks = compile_globs(["sip:*a*b*c*d*e*f@x", "*aaaa*aaaa*aaab*"])
    assert blocks is not None
    begun = time.monotonic()
    assert not blocks(["sip:" + "abcdef" * 10_000 + "@y", "a" * 60_000])
    assert time.monotonic() - begun < 1


def test_everybody_groups_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"u{n}" for n in range(40)]
    for name in names:
        found = tuple(binding(f"sip:{name}@192.0.2.{n}") for n in range(10))
        monkeypatch.setitem(DEVICES, f"{name}@example.com", found)
    everybody = tuple(f"sip:{name}@example.com" for name in names[:32])
    others = {
        "forward_busy": "sip:u39@example.com", "forward_no_answer": "sip:u38@example.com",
        "forward_unavailable": "sip:u37@example.com",
    }  # fmt: skip
    groups = {name: Record(find_me=(everybody,) * 16, **others) for name in names[:32]}
    forwards = {
        name: Record(
            forward_busy=f"sip:u{(n * 7 + 1) % 40}@example.com",
            forward_no_answer=f"sip:u{(n * 11 + 2) % 40}@example.com",
            forward_unavailable=f"sip:u{(n * 13 + 3) % 40}@example.com",
        )
        for n, name in enumerate(names)
    }  # fmt: skip
    for records in (groups, forwards):
        begun = time.monotonic()
        plan = services(records).route(asked("u0"))
        taken = time.monotonic() - begun
        assert plan is not None and 2 <= len(plan.steps) <= STEPS_AT_MOST and taken < 0.5
        assert sum(len(one.targets) for one in plan.steps) <= TARGETS_AT_MOST
        assert {BUSY, NO_ANSWER} <= set(plan.steps[0].onward)
        encode_plan(plan)


@pytest.fixture
def segment() -> Iterator[tuple[SegmentWriter, SegmentReader]]:
    import os

    control, memory = os.memfd_create("control"), os.memfd_create("segment")
    control_format(control, 1, bytes(range(KEY_BYTES)))
    segment_format(memory, control)
    writer, reader = SegmentWriter(memory, control), SegmentReader(memory, control)
    yield writer, reader
    reader.close()
    writer.close()
    os.close(control)
    os.close(memory)


def test_published_records_are_decoded_once(segment: tuple[SegmentWriter, SegmentReader]) -> None:
    writer, reader = segment
    published = Published(reader)
    assert published.services("bob@example.com") is None and published.lookup("bob@example.com") == ()
    writer.put(RECORD_SERVICES, b"bob@example.com", encode(MAIL))
    writer.put(RECORD_BINDINGS, b"bob@example.com", BindingSet(1, DEVICES["bob@example.com"]).encode())
    first = published.services("bob@example.com")
    assert first == MAIL and published.services("bob@example.com") is first
    changed = Record(ring_time=9, find_me=(("sip:a@b",),), added=("ring_time",), below=Record(redirect=True))
    writer.put(RECORD_SERVICES, b"bob@example.com", encode(changed))
    assert published.services("bob@example.com") == changed
    assert [each.uri for each in published.lookup("bob@example.com")] == [BOB.encode(), BOB2.encode()]


def test_a_plan_is_kept_while_nothing_changes(segment: tuple[SegmentWriter, SegmentReader]) -> None:
    writer, reader = segment
    published, clock = Published(reader), [NOW]
    mine = Services(published.lookup, published.services, ["example.com"], now=lambda: clock[0])

    def bind(*bindings: Binding) -> None:
        writer.put(RECORD_BINDINGS, b"bob@example.com", BindingSet(1, bindings).encode())

    def serve(name: str, record: Record) -> None:
        writer.put(RECORD_SERVICES, f"{name}@example.com".encode(), encode(record))

    def made() -> list[str]:
        plan = mine.route(asked())
        assert mine.route(asked()) is plan and plan is not None and mine.expand(plan, asked()) is plan
        return told(plan)

    serve("bob", Record(forward_busy="sip:amy@example.com"))
    bind(binding(BOB), binding(BOB2, expires=NOW + 30))
    assert made() == [f"{BOB} {BOB2}"]
    serve("amy", Record(forward_always="sip:x@y.example"))
    assert made() == [f"{BOB} {BOB2} busy>1", "sip:x@y.example;cause=302"]
    serve("amy", Record(forward_always="sip:z@y.example", block_incoming=("sip:spam*",)))
    assert made() == [f"{BOB} {BOB2} busy>1", "sip:z@y.example;cause=302"]
    assert told(mine.route(asked(caller="sip:spammer@y.example"))) == [f"{BOB} {BOB2}"]
    assert made() == [f"{BOB} {BOB2} busy>1", "sip:z@y.example;cause=302"]
    clock[0] += 31
    assert made() == [f"{BOB} busy>1", "sip:z@y.example;cause=302"]
    bind(binding(BOB2))
    assert made() == [f"{BOB2} busy>1", "sip:z@y.example;cause=302"]
    serve("bob", Record(ring_time=9))
    assert made() == [f"{BOB2} 9s"]


def test_a_damaged_record_says_so() -> None:
    for value in (b"", b"\xc1", b"\x81\xa9ring_time\xa1x", encode(MAIL)[:-1]):
        with pytest.raises(ValueError, match="not a record of services"):
            decode(value)
    assert decode(b"\x81\xa5later\x01") == Record()
