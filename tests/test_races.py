"""Interleavings of one call to several phones at random, from seeds (races.py); what must hold is in race_rules.py."""

from __future__ import annotations

import pytest
from harness.report import measured
from races import races

CHUNK = 10_000


def test_a_thousand_calls() -> None:
    races(0, 1000)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(100))
def test_a_million_calls(chunk: int) -> None:
    rate = races(1_000_000 + chunk * CHUNK, CHUNK)
    if chunk % 10 == 0:
        measured(f"races: {rate:.0f} calls/s, from seed {1_000_000 + chunk * CHUNK}")
