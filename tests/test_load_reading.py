"""What a person types for `fastsip load`, and what is said where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastsip.load import addresses, rates, reading, users
from fastsip.load.setup import Hold, Step


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("500ms", 0.5), ("2m", 120), ("1h30m", 5400), ("1.5s", 1.5), ("200us", 0.0002), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert reading.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "3 s", "3d", "1s2", "nan"])
def test_wrong_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as"):
        reading.duration(text)


@pytest.mark.parametrize(
    ("text", "hold", "words"),
    [
        ("3s", Hold(mean=3000), "3 s"),
        ("exp:3s", Hold(kind="exponential", mean=3000), "exponential, mean 3 s"),
        ("1s..5s", Hold(kind="uniform", least=1000, mean=3000), "1 to 5 s"),
    ],
)
def test_hold_times(text: str, hold: Hold, words: str) -> None:
    assert reading.hold(text) == hold
    assert reading.said(hold) == words


@pytest.mark.parametrize("text", ["5s..1s", "exp:1s..2s", "gauss:3s", "exp:", "2000h"])
def test_wrong_hold_times(text: str) -> None:
    with pytest.raises(ValueError):
        reading.hold(text)


def test_shares_mixes_and_bounds() -> None:
    assert [reading.share(text) for text in ("5%", "0.05", "0", "100%", "1")] == [0.05, 0.05, 0, 1, 1]
    assert reading.mix("call=5,register=2,options=1") == {"call": 0.625, "register": 0.25, "options": 0.125}
    assert reading.bound("3").broken(3, 10) is False and reading.bound("3").broken(4, 10) is True
    assert reading.bound("1%").broken(10, 1000) is False and reading.bound("1%").broken(11, 1000) is True


@pytest.mark.parametrize("text", ["101%", "-1", "5 %", "x", "2"])
def test_wrong_shares(text: str) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        reading.share(text)


@pytest.mark.parametrize(
    ("text", "said"), [("calls=1", "expected one of call"), ("call=1,call=2", "twice"), ("call=0", "weights are 0")]
)
def test_wrong_mixes(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reading.mix(text)


def test_a_constant_rate_has_an_end_by_time_or_by_count() -> None:
    assert rates.plan("500", None, None) == ([Step(0, 500)], 30, "500/s")
    assert rates.plan("10k", 5, None).steps == [Step(0, 10_000)]
    assert rates.plan("500", None, None, count=10).duration == 0


def test_a_ramp_reaches_its_end_with_the_duration() -> None:
    plan = rates.plan("100..5000", 10, None)
    assert plan.steps == [Step(0, 100, 490)]
    assert (plan.rate_at(0), plan.rate_at(5), plan.rate_at(10)) == (100, 2550, 5000)
    assert plan.total == pytest.approx(25_500)
    assert rates.plan("100..0", 10, None).total == pytest.approx(500)


def test_steps_take_their_time_or_share_the_duration() -> None:
    plan = rates.plan("100,200,400", None, 10)
    assert plan.steps == [Step(0, 100), Step(10, 200), Step(20, 400)] and plan.duration == 30
    assert [step.at for step in rates.plan("1,2,3", 6, None).steps] == [0, 2, 4]
    assert plan.total == 7000 and plan.rate_at(15) == 200
    assert plan.divided(2) == [Step(0, 50), Step(10, 100), Step(20, 200)]


@pytest.mark.parametrize("rate", ["", "x", "-5", "0", "1..2..3", "1e9", "100,", "100..x"])
def test_wrong_rates(rate: str) -> None:
    with pytest.raises(ValueError, match="expected a rate"):
        rates.plan(rate, 10, None)


def test_a_step_needs_several_rates() -> None:
    with pytest.raises(ValueError, match="--step is the time of each"):
        rates.plan("100", 10, 5)


def test_patterns_count_and_keep_zeros() -> None:
    assert users.counted("user8..11") == ["user8", "user9", "user10", "user11"]
    assert users.counted("line008..010x") == ["line008x", "line009x", "line010x"]
    (alice,) = users.read_users("alice@example.com", "ignored", "secret")
    assert (alice.aor, alice.name, alice.password) == ("sip:alice@example.com", "alice", "secret")
    assert users.read_users("user0..1", "127.0.0.1:5062")[1].aor == "sip:user1@127.0.0.1:5062"


def test_users_of_a_file_bring_password_and_domain(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("username,password,domain\nalice,a,example.org\n\nbob,,\n")
    alice, bob = users.read_users(str(path), "example.com", "both")
    assert (alice.aor, alice.password) == ("sip:alice@example.org", "a")
    assert (bob.aor, bob.password) == ("sip:bob@example.com", "both")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("alice,a\n", ":1: expected the header username"),
        ("username,ha1,ha1_sha256\n", "hashes do not do"),
        ("username,password\nalice\n", ":2: expected 2 columns"),
        ("username,password\nalice,a\nb b,c\n", ':3: username = "b b"'),
        ("username,domain\nalice,a b\n", ":2: 'a b': expected a host name"),
        ("username\n", "no users in it"),
    ],
)
def test_wrong_rows_are_named_by_line(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "users.csv"
    path.write_text(rows)
    with pytest.raises(users.WrongUsers, match=said):
        users.read_users(str(path), "example.com")


@pytest.mark.parametrize(
    ("text", "said"),
    [("no.csv", "no such file"), ("a b", "expected a CSV file"), ("u9..1", "upwards"), ("u1..2-3..4", "one")],
)
def test_wrong_patterns(text: str, said: str) -> None:
    with pytest.raises(users.WrongUsers, match=said):
        users.read_users(text, "example.com")


@pytest.mark.parametrize(
    ("text", "address", "domain"),
    [
        ("udp:127.0.0.1:5070", ("127.0.0.1", 5070), "127.0.0.1:5070"),
        ("127.0.0.1", ("127.0.0.1", 5060), "127.0.0.1"),
        ("sip:127.0.0.1:5061;transport=udp", ("127.0.0.1", 5061), "127.0.0.1:5061"),
        ("[::1]:5070", ("::1", 5070), "[::1]:5070"),
        ("::1", ("::1", 5060), "[::1]"),
        ("localhost:5070", ("127.0.0.1", 5070), "localhost:5070"),
    ],
)
def test_targets(text: str, address: tuple[str, int], domain: str) -> None:
    target = addresses.read_target(text)
    assert (target.address, target.domain) == (address, domain)


@pytest.mark.parametrize(
    ("text", "transport", "said"),
    [
        ("127.0.0.1", "", "udp:127.0.0.1:5060"),
        ("sip:a@127.0.0.1", "", "udp:127.0.0.1:5060"),
        ("tcp:127.0.0.1:5070", "tcp", "tcp:127.0.0.1:5070"),
        ("TCP:[::1]", "tcp", "tcp:[::1]:5060"),
        ("sip:a@127.0.0.1;lr;Transport=TCP", "tcp", "tcp:127.0.0.1:5060"),
        ("tls:127.0.0.1", "tls", "tls:127.0.0.1:5061"),
        ("sips:a@127.0.0.1", "tls", "tls:127.0.0.1:5061"),
        ("sips:127.0.0.1:5070;transport=tcp", "tls", "tls:127.0.0.1:5070"),
    ],
)
def test_transports_of_targets(text: str, transport: str, said: str) -> None:
    target = addresses.read_target(text)
    assert (target.transport, str(target)) == (transport, said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ws:127.0.0.1", "only udp"),
        ("sips:127.0.0.1;transport=udp", "sips goes by TLS"),
        ("127.0.0.1:x", "expected an address"),
        ("127.0.0.1:0", "expected an address"),
        ("", "expected an address"),
        ("no-such-host.invalid", "cannot find the address of no-such-host.invalid"),
    ],
)
def test_wrong_targets(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        addresses.read_target(text)


def test_sources_are_products_of_ranges() -> None:
    assert addresses.read_source("127.0.0.1") == (["127.0.0.1"], [0])
    assert addresses.read_source("127.0.0.1..3:5080..5081") == (["127.0.0.1", "127.0.0.2", "127.0.0.3"], [5080, 5081])
    assert addresses.read_source("127.0.0.254..127.0.1.1").hosts[2] == "127.0.1.0"
    assert addresses.read_source("[::1]:5080") == (["::1"], [5080])


@pytest.mark.parametrize("text", ["", "host", "127.0.0.5..1", "127.0.0.1:9..1", "127.0.0.1:99999", "127.0.0.1..::1"])
def test_wrong_sources(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        addresses.read_source(text)
