"""Calls of the load engine: caller against callee, directly and through a proxy."""

from __future__ import annotations

from engine import engine
from load_engines import callee, caller

from fastsip.load.setup import Hold, Scenario


def test_calls_between_two_engines() -> None:
    with callee() as bob, caller(bob.address, rate=2000, count=400) as alice:
        shot = alice.wait()
        counters = shot.counters
        assert counters["done"] == counters["calls_done"] == counters["offered"] == 400
        assert not shot.failures and counters["failed"] == 0
        for name in ("invite_180", "invite_200", "bye_200", "lateness"):
            assert shot.histograms[name].total == 400, name
        bob.until(lambda c: c["answered"] == c["ended"] == 400)


def test_through_a_proxy_with_record_route() -> None:
    scenario = Scenario("call", hold=Hold("exponential", 40), reinvite=0.3)
    with callee(ring=10) as bob, engine() as proxy:
        proxy.register("bob@example.com", f"sip:bob@{bob.address[0]}:{bob.address[1]}")
        to = ["sip:bob@example.com"]
        with caller((proxy.host, proxy.port), scenario, rate=500, count=200, callees=to) as alice:
            shot = alice.wait()
            assert shot.counters["done"] == 200, (shot.counters, shot.failures)
            assert shot.histograms["invite_100"].total == 200
            bob.until(lambda c: c["ended"] == 200)
