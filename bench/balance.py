"""How evenly four workers share the calls of one peer address, with steering and without.

    python bench/balance.py [--quick]

With one address on either side the kernel alone gives all datagrams of a side to one worker, which hands on what
belongs to others. Steering lets the kernel find the owner. With it, the busiest worker's CPU over the mean counts;
without, its share of relaying, in messages taken in by their owner, as the receiving of them cannot be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from measure import cpu
from rounds import once
from rows import Bench, Row, alone, missing
from servers import Job, Target
from traffic import Phones

TITLE = "Balance"
ABOUT = "busiest of four workers over their mean, one peer address on either side"
WORKERS = 4
WAYS = {"with steering": "auto", "without steering": "off"}
GATES = {"with steering": (1.3, 1.1), "without steering": (1.15, 1.05)}


def rows(bench: Bench) -> Iterator[Row]:
    rate = bench.pick(300.0, 2_000.0, 3_000.0)
    seconds = bench.pick(0.2, 3.0, 6.0)
    for way, steering in list(WAYS.items())[bench.pick(1, 0, 0) :]:
        bench.say(f"four workers {way}")
        job = Job(WORKERS, extra={"server": {"steering": steering}})
        try:
            found = once("fastsip", rate, seconds, job, watch=_watch).extra
        except AssertionError as error:
            yield missing(f"busiest worker {way}", str(error).strip().splitlines()[-1], "x")
            continue
        kind = found["steering"]
        if way == "with steering" and kind != "ebpf":
            why = f"the kernel lets this user have {kind or 'none'} only; by Call-ID it needs CAP_BPF and CAP_PERFMON"
            yield missing("busiest worker's CPU over the mean, with steering", why, "x")
        cpu_over, work_over = _over(found["cpu"]), _over(found["work"])
        note = f"{kind or 'no'} steering, {found['handoffs']:,} hand-offs, {rate:,.0f} calls/s"
        gates: dict[str, Any] = dict(zip(("gate", "aim"), GATES[way], strict=True))
        steered = way == "with steering" and kind == "ebpf"
        yield Row(f"busiest worker's CPU over the mean, {way}", cpu_over, "x", note=note, raw=found["cpu"],
                  **(gates if steered else {}))  # fmt: skip
        yield Row(f"busiest worker's relaying over the mean, {way}", work_over, "x", note=note, raw=found["work"],
                  **(gates if way == "without steering" else {}))  # fmt: skip


def _over(values: list[float]) -> float:
    return max(values) / (sum(values) / len(values)) if sum(values) else 0.0


def _watch(target: Target, phones: Phones) -> Callable[[], dict[str, Any]]:
    """CPU and messages of each worker while the work lasts."""
    server: Any = target
    pids = [pid for pid, name in server.children().items() if name == "worker"]
    before = [cpu([pid]) for pid in pids]
    counted = _work(server)

    def after() -> dict[str, Any]:
        stats = server.stats()
        return {
            "cpu": [cpu([pid]) - then for pid, then in zip(pids, before, strict=True)],
            "work": [now - then for now, then in zip(_work(server), counted, strict=True)],
            "handoffs": stats["total"].get("handoffs_out", 0),
            "steering": stats.get("steering", ""),
        }

    return after


def _work(server: Any) -> list[float]:
    return [
        worker["counters"]["requests_in"] + worker["counters"]["responses_in"] for worker in server.stats()["workers"]
    ]


if __name__ == "__main__":
    alone(__name__)
