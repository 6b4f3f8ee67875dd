"""RFC 4475: what it calls torture, on the wire of a running server. The messages are in tests/torture/rfc4475.

1. Every situation of the RFC is there, under its name, in its order.
2. Each message becomes what expected.toml says, and the server answers OPTIONS after it.
3. All of them in one burst, to two workers: the server is there, and nothing of it stays alive.
4. The comparison byte for byte sees any byte that changed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from harness.torture import Case, Ground, check_request, check_response, load

SITUATIONS = {
    "3.1.1": "wsinv intmeth esc01 escnull esc02 lwsdisp longreq dblreq semiuri transports mpart01 unreason noreason",
    "3.1.2": "badinv01 clerr ncl scalar02 scalarlg quotbal ltgtruri lwsruri lwsstart trws escruri baddate regbadct "
    "badaspec baddn badvers mismatch01 mismatch02 bigcode",
    "3.2": "badbranch",
    "3.3": "insuf unkscm novelsc unksm2 bext01 invut regaut01 multi01 mcl01 bcast zeromf cparam01 cparam02 regescrt "
    "sdp01",
    "3.4": "inv2543",
}
CASES = load("rfc4475")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """One server for all messages; at the end it has its processes still, and nothing is left of the messages."""
    with Ground() as made:
        processes = made.server.children()
        yield made
        made.server.quiet()
        assert made.server.children() == processes, f"a process died\n{made.server.log}"
        assert "Traceback" not in made.server.log, made.server.log


def test_all_situations_are_there() -> None:
    wanted = [
        (name, f"{section}.{number}")
        for section, names in SITUATIONS.items()
        for number, name in enumerate(names.split(), 1)
    ]
    assert len(wanted) == 49
    assert [(name, case.section) for name, case in CASES.items() if "." not in name] == wanted
    assert all(case.section == CASES[name.split(".")[0]].section for name, case in CASES.items())


@pytest.mark.parametrize("name", CASES)
def test_message(ground: Ground, name: str) -> None:
    ground.play(CASES[name])


def test_all_at_once() -> None:
    """Nobody waits for an answer here, so much of it is retransmitted, answered late or given up."""
    chance = random.Random(4475)
    cases = [case for document in ("rfc4475", "rfc5118", "bakeoff") for case in load(document).values()] * 3
    with Ground(workers=2) as ground:
        processes = ground.server.children()
        for case in chance.sample(cases, len(cases)):
            ground.throw(case)
        ground.answers()
        ground.server.quiet(20)
        assert ground.server.children() == processes, f"a process died\n{ground.server.log}"
        assert "Traceback" not in ground.server.log, ground.server.log


MAY_DIFFER = re.compile(rb"\A[^\r]*\r\n[^;]*(;branch=[^\r]+)\r\n(Record-Route: <[^>]+>)?")
"""Of the bytes a request arrives with: what the server wrote and nobody else knows."""


@pytest.mark.parametrize("name", ["wsinv", "mpart01", "inv2543"])
def test_a_changed_byte_is_seen(ground: Ground, name: str) -> None:
    case: Case = CASES[name]
    other = case.template.replace(b"otter", b"otter2").replace(b"z9hG4bK", b"z9hG4bK-again-")    # another transaction
    ground.play(Case(f"{name}.again", other, case.section, True, "forwarded", ""))
    sent, got, source, target = ground.forwarded
    check_request(sent, got, ground.hostport, source, target)
    match = MAY_DIFFER.match(got)
    assert match
    free = {at for group in (1, 2) for at in range(*match.span(group))}
    for at in set(range(len(got))) - free:
        changed = got[:at] + bytes([got[at] ^ 1]) + got[at + 1 :]
        with pytest.raises((AssertionError, ValueError, IndexError)):
            check_request(sent, changed, ground.hostport, source, target)
    for changed in (got + b" ", got[:-1], got.replace(b"\r\n", b"\r\nX: y\r\n", 1)):
        with pytest.raises(AssertionError):
            check_request(sent, changed, ground.hostport, source, target)


def test_a_changed_byte_of_a_response_is_seen() -> None:
    sent = b"SIP/2.0 200 Ja\r\nVia: SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\nX:\r\n y\r\nl: 2\r\n\r\nokay"
    got = b"SIP/2.0 200 Ja\r\nv: SIP/2.0/UDP b\r\nX:\r\n y\r\nl: 2\r\n\r\nok"
    check_response(sent, got)
    for at in range(len(got)):
        with pytest.raises(AssertionError):
            check_response(sent, got[:at] + bytes([got[at] ^ 1]) + got[at + 1 :])
