"""Services, case by case, in virtual time through the real engine; how a case is written is told in services_stage.py.

1. Forwarding: always, busy, no answer, unavailable; to others, to people here with services of their own, to nobody.
2. Chains and circles end, with the status that led there.
3. find_me: groups in order, all at once, people in groups; single-line extension.
4. Screening: who may call and be called, anonymous callers, do not disturb.
5. Ring times, q, forks, CANCEL, 6xx, late answers: the rules of RFC 3261 16.7 hold in every combination.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from services_stage import Stage, told


class Case(NamedTuple):
    people: dict[str, dict[str, Any]]
    devices: dict[str, str]
    told: str
    call: dict[str, str] = {}  # noqa: RUF012


RING, ANSWER, BUSY = "180@0", "180@0 200@3", "486@0.5"
SPAM = {"caller": "sip:spammer@bad.example"}
ANON = {"caller": "sip:anonymous@anonymous.invalid"}
LOCAL = {"caller": "sip:amy@example.com"}
ALWAYS, IF_BUSY, IF_SILENT, IF_AWAY = "forward_always", "forward_busy", "forward_no_answer", "forward_unavailable"

CASES = {
    # Nothing to do with a call, or next to nothing
    "nobody has services": Case({}, {"bob": ANSWER}, "0: bob <180 / 3: <200"),
    "somebody else has services": Case({"amy": {ALWAYS: "bob"}}, {"bob": ANSWER}, "0: bob <180 / 3: <200"),
    "screening that lets him through": Case(
        {"bob": {"block_incoming": ("sip:spam*",)}}, {"bob": ANSWER}, "0: bob <180 / 3: <200"
    ),
    "not registered": Case({"bob": {"ring_time": 9}}, {}, "0: <480"),
    "ring time alone": Case({"bob": {"ring_time": 9}}, {"bob": RING}, "0: bob <180 / 9: bob! <408"),
    "answered within his ring time": Case(
        {"bob": {"ring_time": 9}}, {"bob": "180@0 200@8.9"}, "0: bob <180 / 8.9: <200"
    ),
    # Forward always
    "always": Case({"bob": {ALWAYS: "@cell"}}, {"bob": RING, "@cell": ANSWER}, "0: <181 <180 @cell / 3: <200"),
    "always, not registered": Case({"bob": {ALWAYS: "@cell"}}, {"@cell": ANSWER}, "0: <181 <180 @cell / 3: <200"),
    "always, and busy there": Case(
        {"bob": {ALWAYS: "@cell", IF_BUSY: "@mail"}}, {"@cell": BUSY, "@mail": ANSWER}, "0: <181 @cell / 0.5: <486"
    ),
    "always, to somebody here": Case(
        {"bob": {ALWAYS: "amy"}}, {"bob": RING, "amy": ANSWER}, "0: <181 <180 amy / 3: <200"
    ),
    "always, to somebody here who is not registered": Case({"bob": {ALWAYS: "amy"}}, {"bob": RING}, "0: <480"),
    "always, to nobody": Case({"bob": {ALWAYS: "tel:+1972555"}}, {"bob": RING}, "0: <480"),
    "always, and rings until the caller has enough": Case(
        {"bob": {ALWAYS: "@cell"}}, {"@cell": RING}, "0: <181 <180 @cell / 181: @cell! <408"
    ),
    "always, to somebody who always forwards": Case(
        {"bob": {ALWAYS: "amy"}, "amy": {ALWAYS: "@cell"}}, {"amy": RING, "@cell": ANSWER},
        "0: <181 <180 @cell / 3: <200"
    ),
    "always, to somebody who forwards when busy": Case(
        {"bob": {ALWAYS: "amy"}, "amy": {IF_BUSY: "@mail"}}, {"amy": BUSY, "@mail": ANSWER},
        "0: <181 amy / 0.5: <181 <180 @mail / 3.5: <200"
    ),
    "always, not for a MESSAGE": Case(
        {"bob": {ALWAYS: "@cell"}}, {"bob": RING, "@cell": ANSWER}, "0: bob=MESSAGE <200", {"method": "MESSAGE"}
    ),
    # Forward busy
    "busy": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "@mail": ANSWER}, "0: bob / 0.5: <181 <180 @mail / 3.5: <200"
    ),
    "busy, but he answers": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": ANSWER, "@mail": ANSWER}, "0: bob <180 / 3: <200"
    ),
    "busy, but he does not answer": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": "180@0 480@30", "@mail": ANSWER}, "0: bob <180 / 30: <480"
    ),
    "busy, but he is not registered": Case({"bob": {IF_BUSY: "@mail"}}, {"@mail": ANSWER}, "0: <480"),
    "busy, and busy there": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "@mail": "486@1"}, "0: bob / 0.5: <181 @mail / 1.5: <486"
    ),
    "busy, and nobody there": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "@mail": "404@1"}, "0: bob / 0.5: <181 @mail / 1.5: <486"
    ),
    "busy, on one of two": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "bob.2": "180@0 200@9", "@mail": ANSWER},
        "0: bob bob.2 <180 / 9: <200"
    ),
    "busy, on both": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "bob.2": "486@2", "@mail": ANSWER},
        "0: bob bob.2 / 2: <181 <180 @mail / 5: <200"
    ),
    "busy here, declined there": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "bob.2": "603@2", "@mail": ANSWER}, "0: bob bob.2 / 2: <603"
    ),
    "busy everywhere": Case({"bob": {IF_BUSY: "@mail"}}, {"bob": "600@1", "@mail": ANSWER}, "0: bob / 1: <600"),
    "declined": Case(
        {"bob": {IF_BUSY: "@mail", IF_SILENT: "@mail"}}, {"bob": "180@0 603@4", "@mail": ANSWER},
        "0: bob <180 / 4: <603"
    ),
    "rejected": Case(
        {"bob": {IF_BUSY: "@mail", IF_SILENT: "@mail"}}, {"bob": "488@1", "@mail": ANSWER}, "0: bob / 1: <488"
    ),
    # Forward no answer
    "no answer": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": RING, "@mail": ANSWER},
        "0: bob <180 / 20: bob! <181 <180 @mail / 23: <200"
    ),
    "no answer, his own ring time": Case(
        {"bob": {IF_SILENT: "@mail", "ring_time": 8}}, {"bob": RING, "@mail": ANSWER},
        "0: bob <180 / 8: bob! <181 <180 @mail / 11: <200"
    ),
    "no answer, and he says so himself": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": "180@0 480@6", "@mail": ANSWER},
        "0: bob <180 / 6: <181 <180 @mail / 9: <200"
    ),
    "no answer, but he answers at the last moment": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": "180@0 200@19.9", "@mail": ANSWER}, "0: bob <180 / 19.9: <200"
    ),
    "no answer, but he answers as he is cancelled": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": "deaf 200@20.2", "@mail": "180@0 200@9"},
        "0: bob <180 / 20: bob! <181 <180 @mail / 20.2: <200 @mail!"
    ),
    "no answer, and nobody there either": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": RING, "@mail": "180@0 480@5"},
        "0: bob <180 / 20: bob! <181 <180 @mail / 25: <480"
    ),
    "no answer, busy is another matter": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": BUSY, "@mail": ANSWER}, "0: bob / 0.5: <486"
    ),
    "no answer or busy: no answer": Case(
        {"bob": {IF_SILENT: "@mail", IF_BUSY: "@cell"}}, {"bob": RING, "@mail": ANSWER, "@cell": ANSWER},
        "0: bob <180 / 20: bob! <181 <180 @mail / 23: <200"
    ),
    "no answer or busy: busy": Case(
        {"bob": {IF_SILENT: "@mail", IF_BUSY: "@cell"}}, {"bob": BUSY, "@mail": ANSWER, "@cell": ANSWER},
        "0: bob / 0.5: <181 <180 @cell / 3.5: <200"
    ),
    "no answer on one, busy on the other": Case(
        {"bob": {IF_SILENT: "@mail", IF_BUSY: "@cell"}},
        {"bob": BUSY, "bob.2": RING, "@mail": ANSWER, "@cell": ANSWER},
        "0: bob bob.2 <180 / 20: bob.2! <181 <180 @cell / 23: <200"
    ),
    "no answer, and no response at all": Case(
        {"bob": {IF_SILENT: "@mail"}}, {"bob": "dead", "@mail": ANSWER}, "0: bob / 20: <181 <180 @mail / 23: <200"
    ),
    "no answer, later than Timer B": Case(
        {"bob": {IF_SILENT: "@mail", "ring_time": 60}}, {"bob": "dead", "@mail": ANSWER},
        "0: bob / 32: <181 <180 @mail / 35: <200"
    ),
    "no answer, as long as Timer C": Case(
        {"bob": {IF_SILENT: "@mail", "ring_time": 180}}, {"bob": RING, "@mail": ANSWER},
        "0: bob <180 / 180: bob! <181 <180 @mail / 183: <200"
    ),
    "no answer, not registered": Case({"bob": {IF_SILENT: "@mail"}}, {"@mail": ANSWER}, "0: <181 <180 @mail / 3: <200"),
    # Forward unavailable
    "unavailable": Case(
        {"bob": {IF_AWAY: "@cell", IF_SILENT: "@mail"}}, {"@cell": ANSWER, "@mail": ANSWER},
        "0: <181 <180 @cell / 3: <200"
    ),
    "unavailable, device gone": Case(
        {"bob": {IF_AWAY: "@cell", IF_SILENT: "@mail", "ring_time": 60}},
        {"bob": "dead", "@cell": ANSWER, "@mail": ANSWER}, "0: bob / 32: <181 <180 @cell / 35: <200"
    ),
    "unavailable, device says 503": Case(
        {"bob": {IF_AWAY: "@cell"}}, {"bob": "503@1", "@cell": ANSWER}, "0: bob / 1: <181 <180 @cell / 4: <200"
    ),
    "unavailable is not no answer": Case(
        {"bob": {IF_AWAY: "@cell"}}, {"bob": "180@0 480@9", "@cell": ANSWER}, "0: bob <180 / 9: <480"
    ),
    # Chains and circles
    "A to B to A, always": Case(
        {"bob": {ALWAYS: "amy"}, "amy": {ALWAYS: "bob"}}, {"bob": RING, "amy": RING}, "0: <482"
    ),
    "A to B to C to A, always": Case(
        {"bob": {ALWAYS: "amy"}, "amy": {ALWAYS: "cat"}, "cat": {ALWAYS: "bob"}}, {"bob": RING}, "0: <482"
    ),
    "A to B to A, busy": Case(
        {"bob": {IF_BUSY: "amy"}, "amy": {IF_BUSY: "bob"}}, {"bob": BUSY, "amy": BUSY},
        "0: bob / 0.5: <181 amy / 1: <486"
    ),
    "A to B to A, no answer": Case(
        {"bob": {IF_SILENT: "amy"}, "amy": {IF_SILENT: "bob"}}, {"bob": RING, "amy": RING},
        "0: bob <180 / 20: bob! <181 <180 amy / 201: amy! <408"
    ),
    "no answer, to somebody who always forwards back": Case(
        {"bob": {IF_SILENT: "amy"}, "amy": {ALWAYS: "bob"}}, {"bob": "180@0 480@5", "amy": RING},
        "0: bob <180 / 5: <480"
    ),
    "busy, then no answer of the next": Case(
        {"bob": {IF_BUSY: "amy"}, "amy": {IF_SILENT: "@mail", "ring_time": 7}},
        {"bob": BUSY, "amy": RING, "@mail": ANSWER},
        "0: bob / 0.5: <181 <180 amy / 7.5: amy! <181 <180 @mail / 10.5: <200"
    ),
    "six in a row are one too many": Case(
        {f"p{n}": {IF_BUSY: f"p{n + 1}"} for n in range(7)}, {f"p{n}": "486@1" for n in range(8)},
        "0: p0 / 1: <181 p1 / 2: <181 p2 / 3: <181 p3 / 4: <181 p4 / 5: <181 p5 / 6: <486", {"to": "p0"}
    ),
    "six in a row, always": Case({f"p{n}": {ALWAYS: f"p{n + 1}"} for n in range(7)}, {}, "0: <480", {"to": "p0"}),
    "diverted five times before": Case(
        {"bob": {ALWAYS: "@cell"}}, {"@cell": ANSWER}, "0: <480",
        {"headers": "Diversion: <sip:x@y>;reason=unknown;counter=5\r\n"}
    ),
    "diverted four times before": Case(
        {"bob": {ALWAYS: "@cell"}}, {"@cell": ANSWER}, "0: <181 <180 @cell / 3: <200",
        {"headers": "Diversion: <sip:x@y>;counter=3\r\nDiversion: <sip:z@y>\r\n"}
    ),
    "forwarding to a number he may not call": Case(
        {"bob": {ALWAYS: "sip:+19005551234@gw.example", "block_outgoing": ("tel:+1900*",)}}, {"bob": RING}, "0: <403"
    ),
    "busy, to a number he may not call": Case(
        {"bob": {IF_BUSY: "sip:+19005551234@gw.example", "block_outgoing": ("tel:+1900*",)}}, {"bob": BUSY},
        "0: bob / 0.5: <486"
    ),
    # find_me and single-line extension
    "one after another": Case(
        {"bob": {"find_me": ["@b1", "@b2", "@b3", "@b4"], "ring_time": 10}},
        {"@b1": RING, "@b2": "480@1", "@b3": "486@1", "@b4": ANSWER},
        "0: @b1 <180 / 10: @b1! @b2 / 11: @b3 / 12: @b4 <180 / 15: <200"
    ),
    "all at once": Case(
        {"bob": {"find_me": ["@b1 @b2 @b3"]}}, {"@b1": RING, "@b2": "180@1 200@4", "@b3": "486@1"},
        "0: @b1 @b2 @b3 <180 / 1: <180 / 4: <200 @b1!"
    ),
    "two groups": Case(
        {"bob": {"find_me": ["@b1 @b2", "@b3"]}}, {"@b1": RING, "@b2": RING, "@b3": ANSWER},
        "0: @b1 @b2 <180 <180 / 20: @b1! @b2! @b3 <180 / 23: <200"
    ),
    "his devices, then his cell": Case(
        {"bob": {"find_me": ["bob", "@cell"]}}, {"bob": RING, "bob.2": RING, "@cell": ANSWER},
        "0: bob bob.2 <180 <180 / 20: bob! bob.2! @cell <180 / 23: <200"
    ),
    "his devices and his cell": Case(
        {"bob": {"find_me": ["bob @cell"]}}, {"bob": RING, "@cell": ANSWER}, "0: bob @cell <180 <180 / 3: <200 bob!"
    ),
    "his devices are not in it": Case(
        {"bob": {"find_me": ["@cell"]}}, {"bob": RING, "@cell": ANSWER}, "0: @cell <180 / 3: <200"
    ),
    "nobody is in it": Case({"bob": {"find_me": ["amy", "cat"]}}, {"bob": RING}, "0: <480"),
    "single-line extension": Case(
        {"help": {"find_me": ["amy", "bob", "cat"], "ring_time": 6}}, {"amy": RING, "bob": BUSY, "cat": ANSWER},
        "0: amy <180 / 6: amy! bob / 6.5: cat <180 / 9.5: <200", {"to": "help"}
    ),
    "extension at once, first wins": Case(
        {"help": {"find_me": ["amy bob cat"]}}, {"amy": "180@0 200@5", "bob": BUSY, "cat": ANSWER},
        "0: amy bob cat <180 <180 / 3: <200 amy!", {"to": "help"}
    ),
    "extension, nobody answers, to the mail": Case(
        {"help": {"find_me": ["amy", "bob"], IF_SILENT: "@mail", "ring_time": 5}},
        {"amy": RING, "bob": RING, "@mail": ANSWER},
        "0: amy <180 / 5: amy! bob <180 / 10: bob! <181 <180 @mail / 13: <200", {"to": "help"}
    ),
    "extension, all busy, to the mail": Case(
        {"help": {"find_me": ["amy bob"], IF_BUSY: "@mail"}}, {"amy": BUSY, "bob": "486@1", "@mail": ANSWER},
        "0: amy bob / 1: <181 <180 @mail / 4: <200", {"to": "help"}
    ),
    "a member's own mail box is not in the way": Case(
        {"help": {"find_me": ["amy", "bob"]}, "amy": {IF_BUSY: "@mail", IF_SILENT: "@mail"}},
        {"amy": BUSY, "bob": ANSWER, "@mail": ANSWER}, "0: amy / 0.5: bob <180 / 3.5: <200", {"to": "help"}
    ),
    "a member who always forwards": Case(
        {"help": {"find_me": ["amy", "bob"]}, "amy": {ALWAYS: "@cell"}}, {"amy": RING, "bob": ANSWER, "@cell": BUSY},
        "0: @cell / 0.5: bob <180 / 3.5: <200", {"to": "help"}
    ),
    "a member who is not to be disturbed": Case(
        {"help": {"find_me": ["amy bob"]}, "amy": {"do_not_disturb": True}}, {"amy": RING, "bob": ANSWER},
        "0: bob <180 / 3: <200", {"to": "help"}
    ),
    "a member who blocks this caller": Case(
        {"help": {"find_me": ["amy bob"]}, "amy": {"block_incoming": ("sip:spam*",)}}, {"amy": RING, "bob": ANSWER},
        "0: bob <180 / 3: <200", {"to": "help", **SPAM}
    ),
    "a member with a group of his own": Case(
        {"help": {"find_me": ["amy", "bob"]}, "amy": {"find_me": ["cat dan"]}},
        {"amy": RING, "bob": ANSWER, "cat": BUSY, "dan": "486@1"}, "0: cat dan / 1: bob <180 / 4: <200",
        {"to": "help"}
    ),
    "groups that contain each other": Case(
        {"a": {"find_me": ["a b"]}, "b": {"find_me": ["b a"]}}, {"a": RING, "b": ANSWER},
        "0: a b <180 <180 / 3: <200 a!", {"to": "a"}
    ),
    "forwarded to a group": Case(
        {"bob": {IF_BUSY: "help"}, "help": {"find_me": ["amy", "cat"]}}, {"bob": BUSY, "amy": BUSY, "cat": ANSWER},
        "0: bob / 0.5: <181 amy / 1: cat <180 / 4: <200"
    ),
    "declined by one of a group": Case(
        {"help": {"find_me": ["amy", "bob"]}}, {"amy": "180@0 603@2", "bob": ANSWER}, "0: amy <180 / 2: <603",
        {"to": "help"}
    ),
    # q
    "q: one after another, then the mail": Case(
        {"bob": {IF_SILENT: "@mail", "ring_time": 5}}, {"bob": RING, "bob.2;q=0.5": RING, "@mail": ANSWER},
        "0: bob <180 / 5: bob! bob.2 <180 / 10: bob.2! <181 <180 @mail / 13: <200"
    ),
    "q: busy is the whole person's": Case(
        {"bob": {IF_BUSY: "@mail"}}, {"bob": BUSY, "bob.2;q=0.5": BUSY, "@mail": ANSWER},
        "0: bob / 0.5: bob.2 / 1: <181 <180 @mail / 4: <200"
    ),
    "q: at once in a group": Case(
        {"bob": {"find_me": ["bob @cell"]}}, {"bob": RING, "bob.2;q=0.5": RING, "@cell": ANSWER},
        "0: bob bob.2 @cell <180 <180 <180 / 3: <200 bob! bob.2!"
    ),
    # Screening
    "blocked": Case(
        {"bob": {"block_incoming": ("sip:spam*",), ALWAYS: "@cell"}}, {"bob": RING, "@cell": ANSWER}, "0: <403", SPAM
    ),
    "blocked by P-Asserted-Identity": Case(
        {"bob": {"block_incoming": ("tel:+1900*",)}}, {"bob": RING}, "0: <403",
        {"headers": 'P-Asserted-Identity: "X" <sip:+1-900-555@gw.example;user=phone>\r\n'}
    ),
    "blocked by an address he logged in with": Case(
        {"bob": {"block_incoming": ("sip:amy@example.com",)}}, {"bob": RING}, "0: <403",
        {"caller": "sip:AMY@example.com:5060"}
    ),
    "a MESSAGE is blocked too": Case(
        {"bob": {"block_incoming": ("*@bad.example",)}}, {"bob": RING}, "0: <403", {"method": "MESSAGE", **SPAM}
    ),
    "blocked by whom it is forwarded to": Case(
        {"bob": {ALWAYS: "amy"}, "amy": {"block_incoming": ("*spam*",)}}, {"amy": RING}, "0: <403", SPAM
    ),
    "blocked by whom it would be forwarded to": Case(
        {"bob": {IF_BUSY: "amy"}, "amy": {"block_incoming": ("*spam*",)}}, {"bob": BUSY, "amy": RING},
        "0: bob / 0.5: <486", SPAM
    ),
    "he may not call there": Case(
        {"amy": {"block_outgoing": ("sip:bob@*",)}, "bob": {ALWAYS: "@cell"}}, {"bob": RING, "@cell": RING}, "0: <403",
        LOCAL
    ),
    "he may not call that number": Case(
        {"amy": {"block_outgoing": ("sip:+1900*",)}}, {}, "0: <403", {"to": "sip:+1-900-555-1234@gw.example", **LOCAL}
    ),
    "he may not call there by a Route": Case(
        {"amy": {"block_outgoing": ("sip:*@gw.example",)}}, {}, "0: <403",
        {"to": "sip:x@far.example", "headers": "Route: <sip:gw.example;lr>\r\n", **LOCAL}
    ),
    "nor by a strict router": Case(
        {"amy": {"block_outgoing": ("tel:+1900*",)}}, {}, "0: <403",
        {"to": "sip:x@far.example", "headers": 'Route: "<sip:x@y>" <sip:+1-900-555@gw.example>;a="<b>"\r\n', **LOCAL}
    ),
    "nor by maddr": Case(
        {"amy": {"block_outgoing": ("sip:*@192.0.2.7",)}}, {}, "0: <403",
        {"to": "sip:x@far.example;maddr=192.0.2.7", **LOCAL}
    ),
    "he may call there": Case(
        {"amy": {"block_outgoing": ("sip:+1900*",)}}, {"bob": ANSWER}, "0: bob <180 / 3: <200", LOCAL
    ),
    "others may call there": Case(
        {"amy": {"block_outgoing": ("sip:bob@*",)}}, {"bob": ANSWER}, "0: bob <180 / 3: <200"
    ),
    "anonymous": Case({"bob": {"refuse_anonymous": True}}, {"bob": RING}, "0: <433", ANON),
    "anonymous by Privacy": Case(
        {"bob": {"refuse_anonymous": True}}, {"bob": RING}, "0: <433", {"headers": "Privacy: id;critical\r\n"}
    ),
    "anonymous, and he does not mind": Case({"bob": {"ring_time": 30}}, {"bob": ANSWER}, "0: bob <180 / 3: <200", ANON),
    "not anonymous": Case(
        {"bob": {"refuse_anonymous": True}}, {"bob": ANSWER}, "0: bob <180 / 3: <200",
        {"headers": "Privacy: none\r\n"}
    ),
    # Do not disturb
    "do not disturb": Case(
        {"bob": {"do_not_disturb": True, IF_SILENT: "@mail"}}, {"bob": RING, "@mail": ANSWER}, "0: <480"
    ),
    "do not disturb, to the mail": Case(
        {"bob": {"do_not_disturb": True, IF_BUSY: "@mail"}}, {"bob": RING, "@mail": ANSWER},
        "0: <181 <180 @mail / 3: <200"
    ),
    "do not disturb, forwarded always": Case(
        {"bob": {"do_not_disturb": True, ALWAYS: "@cell", IF_BUSY: "@mail"}}, {"@cell": ANSWER, "@mail": ANSWER},
        "0: <181 <180 @cell / 3: <200"
    ),
    "do not disturb, a MESSAGE does not": Case(
        {"bob": {"do_not_disturb": True}}, {"bob": RING}, "0: bob=MESSAGE <200", {"method": "MESSAGE"}
    ),
    "busy, to somebody who is not to be disturbed": Case(
        {"bob": {IF_BUSY: "amy"}, "amy": {"do_not_disturb": True}}, {"bob": BUSY, "amy": RING}, "0: bob / 0.5: <486"
    ),
    "busy, to somebody not to be disturbed, to his mail": Case(
        {"bob": {IF_BUSY: "amy"}, "amy": {"do_not_disturb": True, IF_BUSY: "@mail"}},
        {"bob": BUSY, "amy": RING, "@mail": ANSWER}, "0: bob / 0.5: <181 <180 @mail / 3.5: <200"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case) -> None:
    stage = Stage(case.people, case.devices)
    happened = stage.call(**{"to": "bob", **case.call})
    stage.close()
    assert happened == told(case.told)
