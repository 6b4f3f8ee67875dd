"""The order of servers by itself: weights, families, failures, what a hop is. No name server."""

from __future__ import annotations

import sys
import threading
import timeit
from collections import Counter
from itertools import permutations
from pathlib import Path
from random import Random

import pytest
from dns_kit import Clock, resolver, shown

from fastsip.dns import DnsSetup, Hop, NoServer, Server
from fastsip.dns.failures import KEPT, Failures
from fastsip.dns.hosts import Hosts, read_hosts
from fastsip.dns.nameservers import NameServer, NameServers, read_resolv_conf
from fastsip.dns.order import Choice, Tier, drawn, fixed, weighed

DRAWS = 20_000


def server(name: str, port: int = 5060) -> Server:
    return Server("udp", f"192.0.2.{ord(name[0]) - 96}", port, name, False)


def tier(**weights: int) -> Tier:
    return weighed([Choice(weight, (server(name),)) for name, weight in weights.items()])


def firsts(*tiers: Tier) -> Counter[str]:
    random = Random(5).random
    return Counter(drawn(tiers, random)[0].host for _ in range(DRAWS))


def chi_square(found: Counter[str], shares: dict[str, float]) -> float:
    return sum((found[name] - DRAWS * share) ** 2 / (DRAWS * share) for name, share in shares.items())


@pytest.mark.parametrize("weights", [{"a": 10, "b": 30}, {"a": 100, "b": 100}, {"a": 100, "b": 200, "c": 700}])
def test_each_is_first_by_its_share(weights: dict[str, int]) -> None:
    """RFC 2782."""
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    assert chi_square(firsts(tier(**weights)), shares) < 16, (
        "more than chance would: 0.1 % at two degrees of freedom is 13.8"
    )


def test_weights_hold_for_the_rest_too() -> None:
    random = Random(6).random
    weights = {"a": 100, "b": 200, "c": 700}
    orders = Counter("".join(one.host for one in drawn([tier(**weights)], random)) for _ in range(DRAWS))
    expected = {}
    for order in permutations(weights):
        first, second, third = (weights[name] for name in order)
        expected["".join(order)] = DRAWS * first / 1000 * second / (second + third)
    assert sum((orders[order] - share) ** 2 / share for order, share in expected.items()) < 40


def test_a_weight_of_zero_has_a_small_chance() -> None:
    """ "A very small chance of being selected" (RFC 2782)."""
    found = firsts(tier(a=0, b=9))
    assert 0.08 < found["a"] / DRAWS < 0.12
    assert firsts(tier(a=0, b=60_000))["a"] < 10


def test_weights_that_are_all_zero_say_nothing() -> None:
    assert chi_square(firsts(tier(a=0, b=0, c=0)), {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) < 16


def test_priorities_are_never_mixed() -> None:
    random = Random(7).random
    for _ in range(200):
        order = [one.host for one in drawn([tier(a=1, b=9), tier(c=100, d=0), tier(e=5)], random)]
        assert set(order[:2]) == {"a", "b"} and set(order[2:4]) == {"c", "d"} and order[4] == "e"


def test_all_servers_of_a_record_stay_together() -> None:
    both = Choice(5, (server("a"), server("b")))
    random = Random(8).random
    orders = {"".join(one.host for one in drawn([(both, Choice(5, (server("c"),)))], random)) for _ in range(50)}
    assert orders == {"abc", "cab"}


@pytest.mark.parametrize("mark", [0.0, 0.5, 0.999999999])
def test_every_draw_names_all_of_them_once(mark: float) -> None:
    order = drawn([tier(a=0, b=0, c=1, d=65535)], lambda: mark)
    assert sorted(one.host for one in order) == ["a", "b", "c", "d"]


def test_a_stateless_proxy_gets_one_order() -> None:
    """RFC 3263 4.4."""
    assert [one.host for one in fixed([tier(c=5, a=5, b=9), tier(d=0)])] == ["b", "a", "c", "d"]


# Failures


def test_what_failed_comes_last_and_comes_back() -> None:
    clock = Clock()
    failures = Failures(clock)
    a, b, c = map(server, "abc")
    failures.failed(a, 30)
    assert failures.last([a, b, c]) == [b, c, a]
    failures.failed(b, 10)
    assert failures.last([a, b, c]) == [c, a, b]
    clock.forward(10)
    assert failures.last([a, b, c]) == [b, c, a]
    clock.forward(20)
    assert failures.last([a, b, c]) == [a, b, c]
    assert not failures, "and is forgotten"


def test_a_shorter_failure_does_not_end_a_longer_one() -> None:
    clock = Clock()
    failures = Failures(clock)
    failures.failed(server("a"), 30)
    failures.failed(server("a"), 5)
    clock.forward(10)
    assert failures.last([server("a"), server("b")])[0].host == "b"


def test_when_all_failed_they_are_tried_in_their_order() -> None:
    failures = Failures(Clock())
    for name in "ab":
        failures.failed(server(name), 30)
    assert [one.host for one in failures.last([server("a"), server("b")])] == ["a", "b"]


def test_an_answer_ends_it() -> None:
    failures = Failures(Clock())
    failures.failed(server("a"), 30)
    failures.answered(server("a"))
    assert not failures


def test_it_is_the_place_that_failed_not_the_name() -> None:
    failures = Failures(Clock())
    failures.failed(server("a"), 30)
    again = server("a")._replace(host="other.example.com")
    elsewhere = server("a", 5070)
    assert failures.last([again, elsewhere]) == [elsewhere, again]


def test_the_memory_is_bounded() -> None:
    clock = Clock()
    failures = Failures(clock)
    for port in range(1, KEPT + 100):
        failures.failed(server("a", port), 30 + port)
    assert len(failures) == KEPT
    assert failures.last([server("a", KEPT + 99), server("b")])[0].host == "b"


def test_a_reload_forgets_no_failure() -> None:
    asked = resolver([], frozenset({"tcp"}))
    asked.failed(server("a"), 30)
    renewed = asked.renewed(DnsSetup(prefer="ipv6"), frozenset({"udp"}), frozenset({4, 6}))
    located = renewed.cached("sip:192.0.2.1")
    assert located is not None and shown(located) == ["udp 192.0.2.1:5060"]
    assert renewed.statistics()["failed"] == 1


# Hops


@pytest.mark.parametrize(
    ("uri", "hop"),
    {
        "sip:bob@Example.COM": Hop("example.com"),
        "sip:bob@example.com.": Hop("example.com"),
        "sips:example.com:5061": Hop("example.com", 5061, None, True),
        "sip:example.com;Transport=TCP": Hop("example.com", None, "tcp"),
        "sip:[2001:DB8::1]:5060": Hop("2001:db8::1", 5060),
        "sip:example.com:5070;maddr=192.0.2.1": Hop("192.0.2.1", 5070),
        "sip:example.com;maddr=[2001:db8::1]": Hop("2001:db8::1"),
    }.items(),
)
def test_what_a_hop_is(uri: str, hop: Hop) -> None:
    assert Hop.of(uri) == hop
    assert Hop.of(str(hop)) == hop


@pytest.mark.parametrize("uri", ["tel:+19725552222", "http://example.com", "nonsense", "sip:192.0.2.1:99999"])
def test_what_is_no_hop(uri: str) -> None:
    with pytest.raises(NoServer, match="URI"):
        Hop.of(uri)


def test_what_is_known_is_cheap() -> None:
    """Also what was never asked, an address. 1 us where this was written; the bound is for busy machines."""
    asked = resolver([])
    hop = Hop.of("sip:192.0.2.1;transport=tcp")
    located = asked.cached(hop)
    assert located is not None and shown(located) == ["tcp 192.0.2.1:5060"]
    assert asked.cached(Hop.of("sip:example.com")) is None
    assert min(timeit.repeat(lambda: asked.cached(hop), number=100, repeat=50)) / 100 < 10e-6


def test_any_thread_may_ask_what_is_known() -> None:
    """More hops than are kept, and servers that fail and answer, from several threads at once."""
    asked = resolver([], cache=100)
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        random = Random(seed)
        try:
            for _ in range(4000):
                port = random.randrange(1, 300)
                located = asked.cached(Hop("192.0.2.1", port))
                assert located is not None and located.servers[0].port == port
                random.choice([lambda one: asked.failed(one, 0.0), asked.answered])(located.servers[0])
        except BaseException as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong and asked.statistics()["hops"] <= 100


# Files of the system


def test_hosts_file() -> None:
    found = read_hosts("127.0.0.1 localhost  me # you\n\n# no\nnonsense here\n192.0.2.1 GW1.example.com\n::1 localhost")
    assert found == {
        "localhost": ("127.0.0.1", "::1"),
        "me": ("127.0.0.1",),
        "gw1.example.com": ("192.0.2.1",),
    }


def test_hosts_file_is_followed(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "hosts"
    hosts = Hosts(clock, path)
    assert hosts.addresses("gw1") is None
    path.write_text("192.0.2.1 gw1\n")
    clock.forward(2)
    assert hosts.addresses("gw1") == ("192.0.2.1",)
    path.write_text("192.0.2.22 gw1\n")
    clock.forward(2)
    assert hosts.addresses("gw1") == ("192.0.2.22",)
    path.unlink()
    clock.forward(2)
    assert hosts.addresses("gw1") is None


def test_resolv_conf() -> None:
    lines = (
        "# here",
        "search a.example",
        "nameserver 192.0.2.53",
        "nameserver 2001:db8::53",
        "nameserver no",
        "options x",
    )
    assert read_resolv_conf("\n".join(lines)) == ("192.0.2.53", "2001:db8::53")
    assert read_resolv_conf("") == ("127.0.0.1",)


def test_resolv_conf_is_followed(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.53\n")
    servers = NameServers([], clock, path)
    assert [str(one) for one in servers.order()] == ["192.0.2.53:53"]
    servers.silent(servers.order()[0], clock())
    path.write_text("nameserver 192.0.2.53\nnameserver 192.0.2.54\n")
    clock.forward(1)
    assert [str(one) for one in servers.order()] == ["192.0.2.53:53", "192.0.2.54:53"], "it has rested"
    servers.silent(servers.order()[0], clock())
    assert [str(one) for one in servers.order()] == ["192.0.2.54:53", "192.0.2.53:53"]


# Health of name servers


def test_silence_makes_a_name_server_rest_longer_and_longer() -> None:
    clock = Clock()
    servers = NameServers(["192.0.2.1", "192.0.2.2"], clock)
    first = servers.order()[0]
    for rest in (1, 2, 4, 8, 16, 32, 60, 60):
        assert servers.order()[0] is first
        servers.silent(first, clock())
        clock.forward(rest - 0.01)
        assert servers.order()[0] is not first
        clock.forward(0.02)
    servers.silent(first, clock())
    servers.answered(first)
    assert servers.order()[0] is first


def test_one_that_answers_others_meanwhile_does_not_rest() -> None:
    clock = Clock()
    servers = NameServers(["192.0.2.1", "192.0.2.2"], clock)
    first = servers.order()[0]
    asked = clock()
    clock.forward(0.2)
    servers.answered(first)
    clock.forward(0.3)
    servers.silent(first, asked)
    assert servers.order()[0] is first


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "192.0.2.53": "192.0.2.53:53",
        "192.0.2.53:5353": "192.0.2.53:5353",
        "2001:db8::53": "[2001:db8::53]:53",
        "[2001:db8::53]:5353": "[2001:db8::53]:5353",
    }.items(),
)
def test_name_server_addresses(text: str, expected: str) -> None:
    assert str(NameServer.of(text)) == expected


@pytest.mark.parametrize("text", ["ns.example.com", "192.0.2.53:0", "192.0.2.53:x", "[2001:db8::53", ""])
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError):
        NameServer.of(text)
