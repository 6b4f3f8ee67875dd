"""After the flows: nothing is left alive in the servers that played them, and they end with 0."""

from __future__ import annotations

import pytest
from harness import House, Stage, requires_peer
from test_flows_calls import REINVITE, REINVITE_ROUTED, SIMPLE, TWO_PROXIES, TWO_REALMS

pytestmark = [requires_peer("sipp")]

HOUSES = [house for flow in (SIMPLE, TWO_PROXIES, TWO_REALMS, REINVITE, REINVITE_ROUTED) for house in flow.houses()]


@pytest.mark.parametrize("house", dict.fromkeys(HOUSES), ids=str)
def test_servers_are_quiet_and_end_with_0(stage: Stage, house: House) -> None:
    """Transactions and response contexts fall to zero once the timers have run out; SIGTERM ends every process."""
    stage.ended(house)
