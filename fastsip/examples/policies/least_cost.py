"""Least-cost routing: the cheapest gateway that is up takes the number, dearer ones follow when it fails.

    [policy]
    module = "fastsip.examples.policies.least_cost"

    [gateways.oceanic]
    uri = "sip:gw.oceanic.example.net"
    # and so on for every name in RATES

`RATES` is read when the module is loaded: change it, send SIGHUP, and no call is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastsip.policy import (
    FAILURE,
    REJECTED,
    TIMEOUT,
    UNAVAILABLE,
    Plan,
    Request,
    Response,
    Target,
    next_gateway,
    reject,
    step,
)

METHODS = ("INVITE",)

RATES: dict[str, dict[str, float]] = {
    "+1": {"oceanic": 0.004, "continental": 0.006, "premium": 0.011},
    "+1900": {"premium": 0.95},
    "+44": {"oceanic": 0.009, "premium": 0.013},
    "+447": {"continental": 0.021, "oceanic": 0.034, "premium": 0.040},
}
"""Price of a minute, by the longest prefix that fits."""

ONWARD = frozenset({UNAVAILABLE, FAILURE, TIMEOUT, REJECTED})
"""What another gateway may do better: never a callee who is busy, does not answer, or declines."""
LAST_RESORT = "premium"
CONGESTED = (500, 502, 503, 504, 408)


def route(request: Request) -> Plan | None:
    """Numbers go out by price; everybody else is none of our business."""
    number = request.user or ""
    if not number.startswith("+"):
        return None
    if not (request.trusted or request.authenticated):
        return reject(403)  # strangers do not call at our expense
    prices = _prices(number)
    if prices is None:
        return reject(404, "No Rate For This Number")
    targets = list(_up(sorted(prices, key=lambda name: prices[name]), number))
    if not targets:
        return reject(503, headers=[("Retry-After", "10")])
    steps = tuple(step(one, onward=ONWARD) for one in targets)
    return Plan(steps, on_failure=LAST_RESORT not in prices)


def on_failure(request: Request, responses: Sequence[Response]) -> Plan | None:
    """All of them congested: lose money rather than the call. None: the caller is told what the last one said."""
    if all(response.status in CONGESTED for response in responses):
        last = next_gateway(LAST_RESORT, number=request.user)
        if last is not None:
            return Plan((step(last),))
    return None


def _prices(number: str) -> dict[str, float] | None:
    """What each gateway asks for this number, None where nobody takes it."""
    for length in range(len(number), 1, -1):
        found = RATES.get(number[:length])
        if found is not None:
            return found
    return None


def _up(names: Sequence[str], number: str) -> Iterator[Target]:
    for name in names:
        found = next_gateway(name, number=number)
        if found is not None:
            yield found
