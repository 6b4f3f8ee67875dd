"""CPU per proxied call, fastsip and Kamailio in turn, driven by SIPp at both ends at the same rate.

    python bench/calls.py                       # 3 rounds at 2,000 calls/s, 2 workers each
    python bench/calls.py --target none         # SIPp to SIPp: what the generator itself can do

A call is INVITE 100 180 200 ACK BYE 200 with Record-Route and a lookup in the location table. CPU is that of all the
server's processes, from schedstat. SIPp takes part of the same CPUs, so a rate it cannot hold says nothing about the
server; such rounds are marked. Results go to bench/results as JSON and Markdown.
"""

from __future__ import annotations

import csv
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import orjson
from measure import busy, cpu, drops, machine, tree, version
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from harness import Kamailio, Phone, Server, Sipp  # noqa: E402

HOST, CALLER, CALLEE = "127.0.0.6", "127.0.0.7", "127.0.0.8"
"""The server, which is responsible for all of its host, and the phones, which therefore live elsewhere."""
USERS = 100
SETTLE = 0.5
"""Seconds after the last call that still count: the server's timers of its last transactions."""
PATIENCE = 8.0
"""Seconds after the last call was begun; what is not over then has failed."""
TIRED = 0.97
"""A SIPp that used more than this share of a CPU was the limit; below this share of the rate, the rate was not held."""
STRANGERS = 0.2
"""CPUs that other processes may use before a round counts as disturbed."""


@dataclass(frozen=True)
class Round:
    """What one run of one target came to. `cpu_us` is microseconds of CPU per call of the server's processes, `others`
    how many CPUs processes used that have nothing to do with it, `note` why not to trust the round, "" for none."""

    target: str
    round: int
    calls: int
    rate: float
    cpu_us: float
    failed: int
    retransmissions: int
    drops: int
    sipp_busy: float
    others: float
    note: str


def run(target: str, number: int, rate: int, seconds: float, workers: int, hold: int) -> Round:
    """One run: start the server, register the callees, make calls, stop it."""
    calls = int(rate * seconds)
    server = make(target, workers)
    with tempfile.TemporaryDirectory(prefix="calls-") as folder:
        if server:
            server.start()
        try:
            return _drive(server, target, number, rate, calls, hold, Path(folder))
        finally:
            if server:
                server.stop(check=False)


def make(target: str, workers: int) -> Server | None:
    """The server under test, configured for the same job."""
    if target == "fastsip":
        return Server(host=HOST, workers=workers, timers={})
    if target == "kamailio":
        rival = Kamailio(host=HOST, workers=workers, timers={})
        rival.processes = workers
        return rival
    return None


def _drive(server: Server | None, target: str, number: int, rate: int, calls: int, hold: int, folder: Path) -> Round:
    users = [f"user{n}" for n in range(USERS)]
    callee = _sipp("callee.xml", None, CALLEE, rate, folder)
    callee.calls = None
    callee.start().listening()
    if server:
        with Phone(server.address) as phone:
            for user in users:
                answer = phone.register(f"{user}@{HOST}", f"sip:{user}@{CALLEE}:{callee.port}")
                if answer is None or answer.status != 200:
                    raise click.ClickException(f"{target} does not take a REGISTER: {answer}\n{server.log}")
    caller = _sipp("caller.xml", server.address if server else callee.address, CALLER, rate, folder)
    caller.calls, caller.rows = calls, [(user,) for user in users]
    caller.keys = {"away": server.hostport if server else f"{CALLEE}:{callee.port}"}
    caller.options += ("-d", str(hold))
    processes = tree(server.pid) if server else []
    before, own, lost = cpu(processes), cpu([os.getpid()]), drops(server.port) if server else 0
    started = {callee: cpu([callee.pid]), caller: 0.0}
    ends = dict.fromkeys(started, 0.0)
    others, machine_before = 0.0, busy()
    begun = time.monotonic()
    caller.start()
    while caller.running() and (elapsed := time.monotonic() - begun) < calls / rate + PATIENCE:
        if elapsed < calls / rate:
            ends = {sipp: (cpu([sipp.pid]) - started[sipp]) / elapsed for sipp in ends}
            ours = sum(ends.values()) * elapsed + cpu([*processes, os.getpid()]) - before - own
            others = max(0.0, (busy() - machine_before - ours) / elapsed)
        time.sleep(0.1)
    outcome = caller.stop()
    time.sleep(SETTLE)
    used = cpu(processes) - before
    callee.stop()
    figures, achieved = _figures(folder / "caller.csv", calls)
    made = int(figures["TotalCallCreated"])
    share = max(ends.values())
    if made == 0:
        raise click.ClickException(f"SIPp made no call\n{outcome.errors[-2000:]}")
    return Round(
        target=target,
        round=number,
        calls=made,
        rate=achieved,
        cpu_us=used / made * 1e6,
        failed=calls - int(figures["SuccessfulCall(C)"]),
        retransmissions=int(figures["Retransmissions(C)"]),
        drops=drops(server.port) - lost if server else 0,
        sipp_busy=share,
        others=others,
        note=_note(share, achieved / rate, others),
    )


def _note(sipp_busy: float, held: float, others: float) -> str:
    if sipp_busy > TIRED:
        return "SIPp was the limit"
    if others > STRANGERS:
        return "others used the CPUs"
    return "rate not held" if held < TIRED else ""


def _sipp(scenario: str, target: tuple[str, int] | None, host: str, rate: int, folder: Path) -> Sipp:
    sipp = Sipp(str(ROOT / "bench" / "sipp" / scenario), target, host=host, rate=rate, trace=False, timeout=300)
    name = scenario.removesuffix(".xml")
    sipp.options = (
        "-trace_stat",
        "-stf",
        str(folder / f"{name}.csv"),
        "-fd",
        "1",
        "-buff_size",
        "4194304",
        "-l",
        "20000",
    )
    return sipp


def _figures(path: Path, calls: int) -> tuple[dict[str, str], float]:
    """SIPp's last row of figures, and the rate at which it made calls until it had made nearly all."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    rising = [row for row in rows if 0 < int(row["TotalCallCreated"]) < calls] or rows
    seconds = [float(part) for part in rising[-1]["ElapsedTime(C)"].split(":")[:3]]
    elapsed = seconds[0] * 3600 + seconds[1] * 60 + seconds[2]
    return rows[-1], int(rising[-1]["TotalCallCreated"]) / elapsed if elapsed else 0.0


def medians(rounds: list[Round]) -> dict[str, float]:
    """Median CPU per call of each target, rounds with a note left out unless all have one."""
    found = {}
    for target in dict.fromkeys(round.target for round in rounds):
        mine = [round for round in rounds if round.target == target]
        good = [round for round in mine if not round.note] or mine
        found[target] = statistics.median(round.cpu_us for round in good)
    return found


HEADINGS = (
    "target",
    "round",
    "calls/s",
    "CPU per call",
    "failed",
    "retransmissions",
    "drops",
    "SIPp busy",
    "others",
    "",
)


def rows(rounds: list[Round]) -> list[tuple[str, ...]]:
    return [
        (
            round.target,
            str(round.round),
            f"{round.rate:,.0f}",
            f"{round.cpu_us:,.1f} µs" if round.target != "none" else "",
            f"{round.failed:,}",
            f"{round.retransmissions:,}",
            f"{round.drops:,}",
            f"{round.sipp_busy:.0%}",
            f"{round.others:.2f} CPU",
            round.note,
        )
        for round in rounds
    ]


def conclusion(rounds: list[Round]) -> list[str]:
    """The sentences under the table."""
    middle = medians(rounds)
    lines = []
    if {"fastsip", "kamailio"} <= middle.keys():
        ratio = middle["fastsip"] / middle["kamailio"]
        lines.append(
            f"fastsip {middle['fastsip']:.1f} µs, Kamailio {middle['kamailio']:.1f} µs of CPU per call (medians): "
            f"{ratio:.2f} of Kamailio's, 1/{1 / ratio:.1f}."
        )
    if any(round.failed and not round.drops for round in rounds if round.target == "kamailio"):
        lines.append("Kamailio's failed calls got 180 after 200: its processes swap them now and then.")
    if any(round.drops for round in rounds):
        lines.append("Rounds with drops overflowed the server's receive buffer; their calls were not all served.")
    notes = {
        "SIPp was the limit": "Where SIPp was the limit, it and not the server set the pace.",
        "others used the CPUs": "Where others used the CPUs, repeat the run on a machine with nothing else to do.",
        "rate not held": "Where the rate was not held, calls piled up that the server was too slow to answer.",
    }
    lines += [text for note, text in notes.items() if any(round.note == note for round in rounds)]
    return lines


def markdown(about: dict[str, str], rounds: list[Round]) -> str:
    lines = [f"# Calls through a proxy, {about['date']}", "", f"`{about['command']}`", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key not in ("date", "command")]
    lines += ["", "| " + " | ".join(HEADINGS) + " |", "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(rounds)]
    return "\n".join([*lines, "", *conclusion(rounds), ""])


@click.command(context_settings={"show_default": True})
@click.option("--target", "targets", multiple=True, type=click.Choice(["kamailio", "fastsip", "none"]),
              help="Run through this only; may be repeated.  [default: kamailio and fastsip]")  # fmt: skip
@click.option("--rate", default=2000, help="Calls per second.")
@click.option("--seconds", default=10.0, help="Length of one run.")
@click.option("--rounds", "number", default=3, help="Runs of each target, in turn.")
@click.option("--workers", default=2, help="Workers of each server.")
@click.option("--hold", default=0, help="Milliseconds between ACK and BYE.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "bench" / "results",
              show_default="bench/results", help="Folder for JSON and Markdown.")  # fmt: skip
def main(
    targets: tuple[str, ...], rate: int, seconds: float, number: int, workers: int, hold: int, results: Path
) -> None:
    """CPU per proxied call, fastsip and Kamailio in turn."""
    targets = targets or ("kamailio", "fastsip")
    sipp = version("sipp", "-v")
    if not sipp:
        raise click.ClickException("SIPp is not installed: apt-get install sip-tester")
    if "kamailio" in targets and not version("kamailio", "-v"):
        raise click.ClickException("Kamailio is not installed: apt-get install kamailio, or --target fastsip")
    from fastsip.version import __version__

    about = {
        "command": " ".join(["python", "bench/calls.py", *sys.argv[1:]]),
        **machine(),
        "fastsip": __version__,
        "kamailio": version("kamailio", "-v"),
        "sipp": sipp,
        "workload": f"{rate:,} calls/s for {seconds:g} s, {workers} workers, {hold} ms between ACK and BYE",
    }
    console = Console() if sys.stdout.isatty() else Console(width=132)
    for key, value in about.items():
        console.print(f"{key:>9}  {value}", highlight=False)
    done: list[Round] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=number * len(targets))
        for turn in range(1, number + 1):
            for target in targets:
                progress.update(task, description=f"round {turn} of {number}: {target}")
                done.append(run(target, turn, rate, seconds, workers, hold))
                progress.advance(task)
                last = done[-1]
                progress.console.print(
                    f"round {turn}  {target:<9} {last.rate:7,.0f} calls/s  {last.cpu_us:8.1f} µs", highlight=False
                )
    table = Table(*HEADINGS)
    for row in rows(done):
        table.add_row(*row)
    console.print(table)
    for line in conclusion(done):
        console.print(line, highlight=False)
    results.mkdir(parents=True, exist_ok=True)
    name = "calls-" + about["date"].replace(" UTC", "").replace(" ", "-").replace(":", "")
    whole = {"about": about, "median_cpu_us": medians(done), "rounds": [asdict(round) for round in done]}
    (results / f"{name}.json").write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
    (results / f"{name}.md").write_text(markdown(about, done))
    console.print(f"written to {results / name}.json and .md", highlight=False)
    sys.exit(1 if any(round.failed for round in done if round.target == "fastsip") else 0)


if __name__ == "__main__":
    main()
