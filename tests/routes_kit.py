"""Requests and dial plans for tests that need no server."""

from __future__ import annotations

import os
from random import Random
from typing import Any

from fastsip._targets import TargetTable, table_format
from fastsip.launch import GatewaySetup, PolicySetup, RouteSetup
from fastsip.policy.request import AUTHENTICATED, KNOWN, OWN, ROUTE, TRUSTED, Question, Request
from fastsip.routes.dialplan import DialPlan

CLOCK = 1_000_000


def target_table(workers: int = 2) -> TargetTable:
    """A fresh one, in memory of its own."""
    memory = os.memfd_create("targets", os.MFD_CLOEXEC)
    table_format(memory, workers)
    table = TargetTable(memory)
    os.close(memory)
    return table


def gateway(slot: int, name: str, **more: Any) -> GatewaySetup:
    fields = {"uri": f"sip:{name}.example.com", "weight": 10, "trusted": False, "probe": 0.0, "try_time": 4.0}
    return GatewaySetup(slot=slot, name=name, **{**fields, **more})


def dial_plan(
    *routes: dict[str, Any], gateways: dict[str, dict[str, Any]] | None = None, seed: int = 1, **more: Any
) -> tuple[DialPlan, TargetTable]:
    """A plan over gateways a to d (or those given), of weight 10; `routes` are RouteSetups."""
    named = gateways if gateways is not None else {name: {} for name in "abcd"}
    table = target_table()
    table.assign([(name, one.get("weight", 10), one.get("calls", 0)) for name, one in named.items()])
    setup = PolicySetup(
        domains=["example.com", "192.0.2.1"],
        gateways=[gateway(slot, name, **one) for slot, (name, one) in enumerate(named.items())],
        routes=[RouteSetup(**{"gateways": [["a"]], **route}) for route in routes],
    )
    return DialPlan(setup, table, random=Random(seed), now=lambda: CLOCK, **more), table


def request(uri: str, flags: int | None = None, call_id: str = "1", method: str = "INVITE") -> Request:
    """One as the desk makes it, from a trusted sender unless `flags` say otherwise."""
    if flags is None:
        flags = TRUSTED | (OWN if uri.partition("@")[2].startswith("example.com") else 0)
    data = (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{call_id}\r\nMax-Forwards: 70\r\n"
        f"From: <sip:alice@example.com>;tag=1\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    return Request(Question(ROUTE, 1, flags, b"", b"", ("192.0.2.9", 5060), data.encode()))


__all__ = ["AUTHENTICATED", "CLOCK", "KNOWN", "OWN", "TRUSTED", "dial_plan", "gateway", "request", "target_table"]
