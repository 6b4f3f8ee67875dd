"""Where people decide: plans, and what those who write them see.

    from fastsip.policy import Plan, Request, fork, redirect, reject

    def route(request: Request) -> Plan | None:
        if request.method == "MESSAGE":
            return reject(405)
        return None  # as without this module
"""

from fastsip.policy.here import Surroundings, lookup, next_gateway, now
from fastsip.policy.plan import (
    ANY,
    BUSY,
    DECLINED,
    FAILURE,
    NO_ANSWER,
    REDIRECTED,
    REJECTED,
    TIMEOUT,
    UNAVAILABLE,
    Answer,
    Outcome,
    Plan,
    Step,
    Target,
    fork,
    hunt,
    redirect,
    reject,
    step,
    target,
)  # fmt: skip
from fastsip.policy.request import Request, Response

__all__ = [
    "ANY", "BUSY", "DECLINED", "FAILURE", "NO_ANSWER", "REDIRECTED", "REJECTED", "TIMEOUT", "UNAVAILABLE",
    "Answer", "Outcome", "Plan", "Request", "Response", "Step",
    "Surroundings", "Target", "fork", "hunt", "lookup", "next_gateway", "now", "redirect", "reject", "step", "target",
]  # fmt: skip
