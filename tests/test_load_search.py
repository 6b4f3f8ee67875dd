"""The benchmarking algorithm of RFC 7502 4.10 against systems that fail above a rate, and its report."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from fastsip.load.addresses import Target
from fastsip.load.benchmark import Benchmark
from fastsip.load.rates import constant
from fastsip.load.search import Parameters, Search, max_sps
from fastsip.load.setup import Scenario, User
from fastsip.load.work import Work


def at_most(limit: float) -> Callable[[int], bool]:
    return lambda rate: rate <= limit


def test_the_example_of_the_rfc() -> None:
    """Appendix A: "assume that a DUT handles 460 sps ... find_R(100) ... [1] 458"."""
    found = max_sps(Parameters(), at_most(460))
    assert (found.rate, found.ended) == (458, "converged")


def test_its_first_steps() -> None:
    found = max_sps(Parameters(rate=100), at_most(125))
    assert [trial.rate for trial in found.trials[:8]] == [100, 110, 121, 133, 119, 130, 117, 128]
    assert [trial.succeeded for trial in found.trials[:8]] == [True, True, True, False, True, False, True, False]
    assert found.trials[4].best == 121


def test_weights_fall_to_a_tenth_and_not_below() -> None:
    found = max_sps(Parameters(rate=100, increase=0.8), at_most(1000))
    assert [trial.rate for trial in found.trials[:6]] == [100, 180, 324, 583, 1049, 629]
    assert (found.trials[4].increase, found.trials[4].decrease) == (0.8, 0.4)
    assert (found.trials[5].increase, found.trials[5].decrease) == (0.4, 0.2)
    assert min(trial.increase for trial in found.trials) == min(trial.decrease for trial in found.trials) == 0.1


def test_a_decrease_of_ones_own() -> None:
    assert Parameters(increase=0.5).weight_down == 0.25 and Parameters(increase=0.1).weight_down == 0.1
    assert max_sps(Parameters(rate=100, decrease=0.5), at_most(99)).trials[1].rate == 50


@pytest.mark.parametrize("limit", [150, 1_000, 7_777, 100_000])
def test_it_comes_within_a_tenth_from_below(limit: int) -> None:
    found = max_sps(Parameters(), at_most(limit))
    assert 0.9 * limit < found.rate <= limit and found.ended == "converged"
    assert sum(trial.succeeded and trial.rate <= trial.best for trial in found.trials) == 10


def test_a_start_that_is_too_high_comes_down() -> None:
    assert 900 < max_sps(Parameters(rate=50_000), at_most(1000)).rate <= 1000


def test_what_fails_now_and_then_still_converges() -> None:
    drawn = random.Random(7)
    found = max_sps(Parameters(), lambda rate: rate < 2000 and drawn.random() > 0.05)
    assert found.ended == "converged" and found.rate < 2000


def test_what_never_succeeds_ends() -> None:
    found = max_sps(Parameters(), lambda rate: False)
    assert (found.rate, found.ended) == (0, "failed") and found.trials[-1].rate == 1


def test_what_dies_ends() -> None:
    tried = 0

    def dies(rate: int) -> bool:
        nonlocal tried
        tried += 1
        return tried < 5

    found = max_sps(Parameters(), dies)
    assert (found.rate, found.ended) == (133, "failed")


def test_stopped_it_says_the_best_so_far() -> None:
    answers = iter([True, True, None])
    found = max_sps(Parameters(), lambda rate: next(answers))
    assert (found.rate, found.ended, len(found.trials)) == (110, "stopped", 2)


@pytest.mark.parametrize(
    "wrong",
    [{"sessions": 0}, {"rate": 0}, {"increase": 0}, {"increase": 1.1}, {"decrease": 0}, {"rate": 9, "increase": 0.1}],
)
def test_wrong_parameters(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Parameters(**wrong)  # type: ignore[arg-type]


def _benchmark(name: str, found: Search) -> Benchmark:
    target = Target("127.0.0.1", 5060, "127.0.0.1")
    kind = "call" if name == "call" else "register"
    made = Benchmark(Work(name, target, [Scenario(kind)], constant(1), [User("sip:a@b")]), Parameters(), literal=True)
    made.search = found
    return made


def test_the_report_has_every_row_of_the_rfc() -> None:
    rows = dict(_benchmark("call", max_sps(Parameters(), at_most(460))).rows())
    assert rows["Session Establishment Rate, R"] == "458 per second"
    assert rows["Session Attempt Rate"].startswith("100 per second")
    for name in ("SIP Transport Protocol", "DUT receives requests on one connection",
                 "DUT sends requests on one connection", "Session Duration", "Total Sessions Attempted",
                 "Media Streams per Session", "Associated Media Protocol", "Codec", "Media Packet Size",
                 "Establishment Threshold time", "TLS ciphersuite used", "IPsec profile used",
                 "Is DUT acting as a media relay?"):  # fmt: skip
        assert rows[name], name
    rows = dict(_benchmark("register", max_sps(Parameters(), at_most(460))).rows())
    assert rows["Registration Rate"] == "458 per second" and rows["Re-registration Rate"] == "not measured"
    assert "1 addresses-of-record" in rows["Notes"]


def test_a_search_without_an_end_has_no_rate() -> None:
    stopped = _benchmark("call", Search(110, "stopped"))
    assert stopped.document()["session_establishment_rate"] is None and stopped.exit_code == 1
    assert dict(stopped.rows())["Session Establishment Rate, R"].startswith("not converged")
