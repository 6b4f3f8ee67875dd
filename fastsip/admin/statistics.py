"""What `ctl stats` says: one document, also the JSON. Keys are documented here; they become a contract with 1.0.

version, pid, started (Unix ms), listen, draining, durable,
steering: "ebpf" (datagrams come to the owner of their Call-ID), "cbpf" (responses do) or "off"
workers:  [{worker, pid (null while it is down), incarnation, serving, taken_over_by (null, or a worker),
            behind (it does not follow the newest configuration yet),
            counters: {name: count}}]       names: fastsip._control.COUNTERS
total:    {name: count}                     sums over the workers
gateways: [...]                             see `fastsip.admin.gateways`
restarts: {workers, state}                  children replaced since the start
state:    what the state process says of itself, null while it is down
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MESSAGES_IN = ("requests_in", "responses_in")
MESSAGES_OUT = ("requests_out", "responses_out")
CALLS = (
    ("set up", "calls_set_up"), ("3xx", "calls_failed_3xx"), ("4xx", "calls_failed_4xx"), ("5xx", "calls_failed_5xx"),
    ("6xx", "calls_failed_6xx"), ("cancelled", "calls_cancelled"),
)  # fmt: skip
HEADINGS = ("in", "out", "live", "hand-offs", "drops", *(title for title, _ in CALLS))
LEGEND = "messages in and out, live transactions; calls set up, failed by class, cancelled"


def total(workers: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counters of several workers added up."""
    sums: dict[str, int] = {}
    for counters in workers:
        for name, count in counters.items():
            sums[name] = sums.get(name, 0) + count
    return sums


def drops(counters: Mapping[str, int]) -> int:
    """Everything that was received or to be sent and went nowhere."""
    return sum(count for name, count in counters.items() if name.startswith("dropped_"))


def summary(counters: Mapping[str, int]) -> list[int]:
    """What the table shows of one worker, in the order of HEADINGS."""
    return [
        sum(counters.get(name, 0) for name in MESSAGES_IN),
        sum(counters.get(name, 0) for name in MESSAGES_OUT),
        counters.get("transactions", 0),
        counters.get("handoffs_out", 0),
        drops(counters),
        *(counters.get(name, 0) for _, name in CALLS),
    ]


def worker_line(worker: Mapping[str, Any]) -> str:
    """How a worker is, in a word or two."""
    if worker["taken_over_by"] is not None:
        return f"down, taken over by {worker['taken_over_by']}"
    if worker["pid"] is None:
        return "down"
    if worker["serving"]:
        return f"{worker['pid']}, not reloaded" if worker["behind"] else str(worker["pid"])
    return f"{worker['pid']}, starting"
