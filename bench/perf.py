"""Instructions of the hot thread per received message, and that they did not become more.

    python bench/perf.py                          # all paths, this tree against its parent commit: `make perf`
    python bench/perf.py --path call --top 30     # where they go, in this tree alone
    python bench/perf.py --against v0.1           # against another commit

Callgrind counts a fixed replay: keys, clock and traffic are the same every time, so counts are too. `call` is INVITE
100 180 200 ACK BYE 200 through the stateful proxy, with Record-Route and a lookup in the location segment; `register`
is a REGISTER challenged with 401 and the same with Digest credentials, answered 200; `fork` rings three phones at once
and cancels two, `hunt` finds two busy before the third. Counted is what a worker's hot thread does in user space,
libraries too; neither the kernel nor the phones.

Compared with the parent commit (HEAD itself when the tree is dirty), built by the same compiler in build/perf. Ends
with 1 when a path got more than 5 % dearer per message, or is above its limit, or when a datagram sent by `fork` or
`hunt` costs more than 1.15 times one of `call`. Without a parent, in a shallow clone, it says so, and only the limits
hold.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import click
from measure import version
from replay.costs import LIMIT, Costs, change, too_much
from replay.driver import PATHS, ReplayError, clock_library, replay
from replay.tables import growth_table, layer_table, markdown, top_table
from replay.trees import NoParent, TreeError, built, check_built, find_base
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "perf"
RESULT = ROOT / "bench" / "results" / "perf.md"
MOST = {"call": 8_000}
"""Instructions per received message that are never exceeded, whatever the parent did."""

MOST_BESIDE_CALL = 1.15
"""Times the instructions per datagram sent of a plain call that those of other calls may be."""

console = Console(highlight=False)


@dataclass
class Measured:
    """This tree's costs by path, those of the commit it is compared with, and why the latter are missing."""

    now: dict[str, Costs]
    before: dict[str, Costs] = field(default_factory=dict)
    missing: str = ""


def replay_all(
    paths: list[str], tree: Path, name: str, clock: Path, without: list[str] | None = None
) -> dict[str, Costs]:
    """Costs by path. With `without`, it takes the reasons of those that cannot be replayed; else ReplayError."""
    with ThreadPoolExecutor(2) as pool:
        found = {path: pool.submit(replay, path, tree, FOLDER / f"{path}.{name}.out", clock) for path in paths}
        costs = {}
        for path, one in found.items():
            try:
                costs[path] = one.result()
            except ReplayError as error:
                if without is None:
                    raise
                without.append(f"{path}: {error}")
        return costs


def measure(paths: list[str], against: str | None, clock: Path) -> Measured:
    """Replay this tree while its parent is built, then the parent. Raises what this tree's replay raises."""
    try:
        commit, why = find_base(ROOT, against)
    except NoParent as error:
        return Measured(replay_all(paths, ROOT, "now", clock), missing=str(error))
    console.print(f"comparing with {commit[:12]} ({why}); to build that takes about a minute")
    with ThreadPoolExecutor(1) as pool:
        without: list[str] = []
        older = pool.submit(lambda: replay_all(paths, built(ROOT, commit, FOLDER), "before", clock, without))
        measured = Measured(replay_all(paths, ROOT, "now", clock))
        try:
            measured.before = older.result()
        except TreeError as error:
            without.append(str(error))
        if without:
            measured.missing = f"{commit[:12]} cannot be replayed: {'; '.join(without)}"
    return measured


def judge(measured: Measured) -> list[str]:
    """Print what was measured; what of it is too much, a sentence each."""
    complaints = []
    console.print("instructions per received message")
    for path, after in measured.now.items():
        before = measured.before.get(path)
        console.print(layer_table(path, after, before))
        if before and too_much(before, after):
            console.print(growth_table(before, after))
            complaints.append(f"{path}: {change(before, after):+.1%} per message, more than {LIMIT:.0%} is too much")
        limit = MOST.get(path)
        if limit and after.per_message > limit:
            complaints.append(f"{path}: {after.per_message:,.0f} per message, {limit:,} is the most")
    complaints += beside_call(measured.now)
    if measured.missing:
        console.print(
            f"[bold yellow]NOT COMPARED: {measured.missing}.[/] Only the limits were checked. To compare: a clone with "
            "history (git fetch --deepen=1), or --against COMMIT."
        )
    for complaint in complaints:
        console.print(f"[bold red]{complaint}[/]")
    return complaints


def beside_call(now: dict[str, Costs]) -> list[str]:
    """What a datagram costs that is sent for a fork or a hunt, beside one of a plain call."""
    complaints = []
    for path in ("fork", "hunt"):
        if path not in now or "call" not in now:
            continue
        ratio = now[path].per_sent / now["call"].per_sent
        console.print(f"{path}: {now[path].per_sent:,.0f} per datagram sent, {ratio:.2f} times a plain call's")
        if ratio > MOST_BESIDE_CALL:
            limit = f"{MOST_BESIDE_CALL} is the most"
            complaints.append(f"{path}: {ratio:.2f} times a plain call's per datagram sent, {limit}")
    return complaints


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python") if __doc__ else None)
@click.option("--path", "chosen", type=click.Choice(list(PATHS)), multiple=True, help="only this path")
@click.option("--top", type=int, default=0, help="this tree alone, with its N dearest functions")
@click.option("--against", help="commit to compare with, instead of the parent")
@click.option("--write", is_flag=True, help=f"write {RESULT.relative_to(ROOT)}")
def main(chosen: tuple[str, ...], top: int, against: str | None, write: bool) -> None:
    paths = list(chosen) or list(PATHS)
    begun = time.monotonic()
    if not version("valgrind", "--version"):
        raise click.ClickException("valgrind is not installed; on Debian: apt-get install valgrind")
    try:
        check_built(ROOT)
        clock = clock_library(FOLDER)
        if top:
            for path, costs in replay_all(paths, ROOT, "now", clock).items():
                console.print(layer_table(path, costs, None), top_table(costs, top))
            console.print(f"callgrind's files, for kcachegrind: {FOLDER}/*.now.out")
            return
        measured = measure(paths, against, clock)
    except (TreeError, ReplayError) as error:
        raise click.ClickException(str(error)) from None
    complaints = judge(measured)
    if write:
        RESULT.write_text(markdown(measured.now))
        console.print(f"written to {RESULT.relative_to(ROOT)}")
    console.print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
