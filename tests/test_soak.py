"""A minute of everything at once (soak.py): calls and REGISTERs with Digest while processes die, and a bad network."""

from __future__ import annotations

import pytest
from harness import requires_peer
from harness.report import measured
from soak import Soak

pytestmark = [pytest.mark.long, requires_peer("sipp"), pytest.mark.timeout(240)]


def test_processes_die_under_load() -> None:
    """A worker or the state process every 12 seconds: next to nothing is lost, and nothing stays alive."""
    found = Soak(seconds=60, rate=200, kill_for=48, apart=12, seed=7).run()
    calls, registers = found["calls"], found["registers"]
    measured(f"{len(found['deaths'])} deaths at 200 calls/s: {calls['failed']} of {calls['made']} calls failed")
    assert found["left"] == {} and found["status"] == 0
    assert calls["failed"] <= 0.01 * calls["made"]
    assert registers["failed"] <= 0.02 * registers["made"]


def test_a_bad_network_under_load() -> None:
    found = Soak(seconds=30, rate=40, registers=20, loss=0.03).run()
    assert found["left"] == {} and found["status"] == 0
    assert found["calls"]["failed"] == 0
