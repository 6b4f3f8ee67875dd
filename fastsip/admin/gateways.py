"""How gateways are: what `ctl gateways` and `ctl stats` say of them. Keys are documented here.

name, uri
transport: "udp", "tcp" or "tls"; null where the host is a name and DNS says which
state: "up", "on trial" (was down, one call tries it), "full", "waiting" (its Retry-After is not over), "down"
weight, limit (calls at the same time, 0 for any number), ringing, open: calls now; ringing counts branches
calls, failed (5xx), unavailable (503), timeouts (no answer at all): since the server started
failures: without any answer between them
free_in: seconds until it may be tried again, null if it may be now
probe:   null before the first OPTIONS, else {status (null: no answer), ms (of its round trip), ago (seconds)}
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from fastsip._targets import DOWN, FULL, ON_TRIAL, UP, WAITING, TargetTable, now_ms
from fastsip.dns.hop import Hop, address_transport
from fastsip.dns.order import numeric

STATES = {UP: "up", ON_TRIAL: "on trial", FULL: "full", WAITING: "waiting", DOWN: "down"}
COUNTS = ("ringing", "open", "calls", "failed", "unavailable", "timeouts")


def describe(table: TargetTable, gateways: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """All gateways of a configuration, each its name and URI, in this order."""
    now = now_ms()
    return [_one(table, slot, name, uri, now) for name, uri in gateways if (slot := table.slot_of(name)) is not None]


def _one(table: TargetTable, slot: int, name: str, uri: str, now: int) -> dict[str, Any]:
    status = table.status(slot, now)
    free_at = max(status["down_until"], status["retry_until"])
    probed = status["probed"]
    answered = status["probe_status"]
    return {
        "name": name,
        "uri": uri,
        "transport": _transport(uri),
        "state": STATES.get(status["state"], "unused"),
        "weight": status["weight"],
        "limit": status["limit"],
        **{key: status[key] for key in COUNTS},
        "failures": status["failures"],
        "free_in": round((free_at - now) / 1000, 3) if free_at > now else None,
        "probe": {
            "status": answered or None,
            "ms": status["probe_us"] / 1000 if answered else None,
            "ago": round((now - probed) / 1000, 3),
        }
        if probed
        else None,
    }


def _transport(uri: str) -> str | None:
    hop = Hop.of(uri)
    return address_transport(hop) if hop.transport or hop.sips or numeric(hop.host) is not None else None


def show(items: Iterable[Mapping[str, Any]]) -> None:
    """As a table for a person."""
    from rich.console import Console  # a tenth of a second that only who looks needs
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("gateway", "uri", "by", "state", "weight", *COUNTS, "last probe"):
        table.add_column(heading, justify="right" if heading in ("weight", *COUNTS) else "left", no_wrap=True)
    for item in items:
        calls = [f"{item[key]:,}" for key in COUNTS]
        if item["limit"]:
            calls[1] += f"/{item['limit']:,}"
        state = item["state"] if item["free_in"] is None else f"{item['state']}, {item['free_in']:.0f} s more"
        by = item["transport"] or "DNS"
        row = item["name"], item["uri"], by, state, str(item["weight"]), *calls, _probe(item["probe"])
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _probe(probe: Mapping[str, Any] | None) -> str:
    if probe is None:
        return ""
    said = f"{probe['status']} in {probe['ms']:.1f} ms" if probe["status"] else "no answer"
    return f"{said}, {probe['ago']:.0f} s ago"
