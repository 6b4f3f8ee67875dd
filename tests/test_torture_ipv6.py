"""RFC 5118: IPv6 addresses where they are easily read wrong, over IPv4 and over IPv6. The messages are in
tests/torture/rfc5118."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.torture import Ground, load

SITUATIONS = {
    "4.1": "ipv6-good",
    "4.2": "ipv6-bad",
    "4.3": "port-ambiguous",
    "4.4": "port-unambiguous",
    "4.5": "via-received-param-with-delim via-received-param-no-delim",
    "4.6": "ipv6-in-sdp",
    "4.7": "mult-ip-in-header",
    "4.8": "mult-ip-in-sdp",
    "4.9": "ipv4-mapped-ipv6",
    "4.10": "ipv6-bug-abnf-3-colons ipv6-correct-abnf-2-colons",
}
CASES = load("rfc5118")


@pytest.fixture(scope="module", params=["", "::1"], ids=["over-ipv4", "over-ipv6"])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with Ground(host=request.param) as made:
        processes = made.server.children()
        yield made
        made.server.quiet()
        assert made.server.children() == processes, f"a process died\n{made.server.log}"
        assert "Traceback" not in made.server.log, made.server.log


def test_all_situations_are_there() -> None:
    wanted = [(name, section) for section, names in SITUATIONS.items() for name in names.split()]
    assert [(name, case.section) for name, case in CASES.items()] == wanted


@pytest.mark.parametrize("name", CASES)
def test_message(ground: Ground, name: str) -> None:
    ground.play(CASES[name])


def test_one_user_however_the_host_is_written(ground: Ground) -> None:
    """4.10: three colons are two; and leading zeros, capitals or the last 32 bits in decimal make no other host."""
    user = f"sip:otter.same.{'6' if ':' in ground.alice.host else '4'}@"
    ground.register(f"{user}[2001:db8::192.0.2.81]", f"sip:same@{ground.bob.hostport}")
    for host in ("[2001:db8:::192.0.2.81]", "[2001:0DB8::192.0.2.81]", "[2001:db8:0:0:0::c000:251]:5070"):
        request = ground.request("MESSAGE", user + host, ground.alice)
        ground.check_forwarding(request, ground.alice, f"sip:same@{ground.bob.hostport}")
    ground.send(ground.alice, ground.request("MESSAGE", f"{user}[2001:db8::192.0.2.82]", ground.alice))
    answer = ground.alice.final()
    assert answer and answer.status == 500, answer


def test_request_uri_of_an_address_in_another_form(ground: Ground) -> None:
    """4.9 and 4.10, where it is the next hop: IPv4 as IPv6 is reached by IPv4, three colons like two."""
    six = ":" in ground.bob.host
    host = ground.bob.host.replace("::", ":::") if six else f"::ffff:{ground.bob.host}"
    request = ground.request("MESSAGE", f"sip:otter@[{host}]:{ground.bob.port}", ground.alice)
    ground.check_forwarding(request, ground.alice, "")
