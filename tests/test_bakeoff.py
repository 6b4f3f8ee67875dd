"""The messages of the bake-offs (draft-ietf-sip-call-flows-00 section 8), on the wire of a running server. They are in
tests/torture/bakeoff."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from harness.torture import Case, Ground, load

CASES = load("bakeoff")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as made:
        processes = made.server.children()
        yield made
        made.server.quiet()
        assert made.server.children() == processes, f"a process died\n{made.server.log}"
        assert "Traceback" not in made.server.log, made.server.log


def test_all_situations_are_there() -> None:
    assert {f"8.{number:02}" for number in range(1, 20)} <= set(CASES)
    assert all(case.section == f"8.{int(name.split('.')[1])}" for name, case in CASES.items() if name[0] == "8")


@pytest.mark.parametrize("name", CASES)
def test_message(ground: Ground, name: str) -> None:
    ground.play(CASES[name])


@pytest.fixture(scope="module")
def outside() -> Iterator[Ground]:
    """All of it at an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        host = asking.getsockname()[0]
    with Ground(host=host) as made:
        yield made
        made.server.quiet()


RESPONSE = b"SIP/2.0 200 OK\r\n${top}\r\nVia: SIP/2.0/UDP %b\r\nFrom: ${from}\r\nTo: ${to};tag=bank\r\n" \
           b"Call-ID: ${call_id}\r\nCSeq: ${cseq}\r\n\r\n"  # fmt: skip


@pytest.mark.parametrize("sent_by", ["127.0.0.1:${port};branch=0", "[::1]:${port}", " 127.9.9.9"])
def test_loopback_of_somebody_else(outside: Ground, sent_by: str) -> None:
    """8.14: a response whose next Via is loopback, to a request that came from elsewhere."""
    name = f"8.14.loopback.{sum(sent_by.encode())}"
    outside.play(Case(name, RESPONSE % sent_by.encode(), "8.14", True, "dropped", ""))


def test_loopback_that_is_the_callers_own_word(outside: Ground) -> None:
    """A phone that thinks it is at 127.0.0.1 is known by `received`, and gets its answer."""
    uri, contact = "sip:otter.home@brook.example", f"sip:home@{outside.bob.hostport}"
    outside.register(uri, contact)
    request = outside.request("MESSAGE", uri, outside.alice)
    request = request.replace(outside.alice.host.encode(), b"127.0.0.1", 1)
    outside.check_forwarding(request, outside.alice, contact)
