"""What deciding in Python costs: CPU per request of the whole way to a plain function and back.

    python bench/policy.py [--quick] [--workers 2]

MESSAGEs through the proxy at the same rates, from the same phones: once the compiled core finds the callee in the
location table, once a module is asked and returns a plan with the same target, as a plain function and as a coroutine.
The difference of CPU of all processes, per request, is the price: the question, waking the policy thread, the function,
the plan, and its way back; beside it how long MESSAGE to 200 takes. Then without a server what one question costs the
desk.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from rounds import Round, good, median, once, row
from rows import Bench, Row, alone
from servers import Job

from fastsip._plan import encode_plan
from fastsip.load.setup import Scenario
from fastsip.policy import Plan, Request, fork
from fastsip.policy.complaints import Complaints
from fastsip.policy.desk import Deciders, Desk
from fastsip.policy.module import look_over
from fastsip.policy.request import ROUTE, Question

TITLE = "Policy"
ABOUT = "CPU of all processes per request that a Python function decides, above that of the compiled default"
GATE = 5.0
"""Microseconds per request at 5,000 a second, a plain function."""
RATES = (5_000, 10_000)
MESSAGE = (Scenario("message", body=100),)
CODE = """
from fastsip.policy import fork

METHODS = ("MESSAGE",)

{what} route(request):
    return fork("sip:%s@{host}:{port}" % request.user)
"""
KINDS = {"a plain function": "def", "a coroutine": "async def"}
LIKE_A_PHONE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    b"From: <sip:alice@example.com>;tag=a1\r\nTo: <sip:bob@example.com>\r\nCall-ID: 1@192.0.2.1\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1>\r\nContent-Length: 0\r\n\r\n"
)
QUESTION = Question(ROUTE, 1, 9, b"bob@example.com", b"", ("192.0.2.1", 5060), LIKE_A_PHONE)


def rows(bench: Bench) -> Iterator[Row]:
    number, seconds = bench.pick((1, 0.2), (2, 3.0), (5, 5.0))
    for rate in bench.pick((300,), RATES[:1], RATES):
        yield from _compared(bench, rate, number, seconds)
    yield from _alone(bench.pick(100, 20_000, 100_000))


def _compared(bench: Bench, rate: float, number: int, seconds: float) -> Iterator[Row]:
    found: dict[str, list[Round]] = {"the compiled default": []} | {kind: [] for kind in KINDS}
    for turn in range(number):
        for kind, mine in found.items():
            bench.say(f"{kind}, {rate:,.0f} a second, round {turn + 1} of {number}")
            mine.append(_once(bench, kind, rate, seconds, turn + 1))
    at = f"{rate:,.0f}/s"
    default = found["the compiled default"]
    for kind, mine in found.items():
        yield row(f"MESSAGE by {kind}, {at}", mine)
    for kind in KINDS:
        pairs = zip(found[kind], default, strict=True)
        extra = [one.cpu_us - other.cpu_us for one, other in pairs if not one.note and not other.note]
        extra = extra or [median(found[kind]) - median(default)]
        gate = GATE if kind == "a plain function" and rate >= RATES[0] else None
        spread = min(extra), max(extra)
        yield Row(f"{kind} for the default, {at}", statistics.median(extra), "µs", gate, spread=spread)
    for kind, mine in found.items():
        waits = [one.quantiles.get("message", {}) for one in good(mine)]
        p50, p99 = (statistics.median(one.get(which, 0.0) for one in waits) for which in (50, 99))
        yield Row(f"MESSAGE to 200 by {kind}, {at}, p50", p50, "ms", note=f"p99 {p99:.2f} ms")


def _once(bench: Bench, kind: str, rate: float, seconds: float, seed: int) -> Round:
    if kind not in KINDS:
        return once("fastsip", rate, seconds, Job(bench.workers), MESSAGE, seed=seed)
    job = Job(bench.workers, extra={"policy": {"module": "bench_policy"}})

    def prepare(server: Any, phones: Any) -> None:
        there = phones.callees[0]
        code = CODE.format(what=KINDS[kind], host=there.host, port=there.port)
        (server.folder / "bench_policy.py").write_text(code)

    return once("fastsip", rate, seconds, job, MESSAGE, seed=seed, prepare=prepare)


def _alone(count: int) -> Iterator[Row]:
    """One question at a desk whose engine does nothing."""
    constant = fork("sip:bob@192.0.2.7")
    routes: dict[str, Callable[[Request], Plan | None]] = {
        "that returns None": lambda request: None,
        "that returns a plan it has": lambda request: constant,
        "that makes one from the request's user": lambda request: fork(f"sip:{request.user}@192.0.2.7"),
    }
    loop = asyncio.new_event_loop()
    for name, route in routes.items():

        class Policy:
            pass

        Policy.route = staticmethod(route)  # type: ignore[attr-defined]
        complaints = Complaints(logging.getLogger("bench"))
        desk = Desk(loop, lambda token, plan: None, encode_plan, look_over(Policy), Deciders(), complaints, 5)
        best = min(_timed(desk, count) for _ in range(5))
        yield Row(f"the desk alone, a function {name}", best * 1e9, "ns", note="least of 5")
    loop.close()


def _timed(desk: Desk, count: int) -> float:
    ask, question = desk.ask, QUESTION
    begun = time.thread_time()
    for _ in range(count):
        ask(question)
    return (time.thread_time() - begun) / count


if __name__ == "__main__":
    alone(__name__)
