"""Instructions of the hot thread per received message, and that they did not become more.

    python bench/perf.py                          # both paths, this tree against its parent commit: `make perf`
    python bench/perf.py --path call --top 30     # where they go, in this tree alone
    python bench/perf.py --against v0.1           # against another commit

Callgrind counts a fixed replay: keys, clock and traffic are the same every time, so counts are too. `call` is INVITE
100 180 200 ACK BYE 200 through the stateful proxy, with Record-Route and a lookup in the location segment; `register`
is a REGISTER challenged with 401 and the same with Digest credentials, answered 200. Counted is what a worker's hot
thread does in user space, libraries too; neither the kernel nor the phones.

Compared with the parent commit (HEAD itself when the tree is dirty), built by the same compiler in build/perf. Ends
with 1 when a path got more than 5 % dearer per message, or is above its limit. Without a parent, in a shallow clone, it
says so, and only the limits hold.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from measure import machine, version
from replay.costs import LIMIT, Costs, change, grown, too_much
from replay.driver import PATHS, ReplayError, clock_library, replay
from replay.trees import NoParent, TreeError, built, check_built, find_base
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "perf"
RESULT = ROOT / "bench" / "results" / "perf.md"
MESSAGES = {"call": 6, "register": 2}
"""Messages the server receives for one call, one registration."""
MOST = {"call": 16_000}
"""Instructions per received message that are never exceeded, whatever the parent did."""

console = Console(highlight=False)


def compiler() -> str:
    done = subprocess.run(["cc", "--version"], capture_output=True, text=True)
    return done.stdout.partition("\n")[0]


def layer_table(path: str, after: Costs, before: Costs | None) -> Table:
    """Instructions per message by layer, and the sums."""
    table = Table(title=f"{path}: instructions per received message", title_justify="left")
    table.add_column("layer")
    for name in ("before", "now", "change") if before else ("now",):
        table.add_column(name, justify="right")
    layers = sorted(set(after.layers) | set(before.layers if before else ()), key=lambda one: -after.layers[one])
    rows = [
        (layer, before.layers[layer] / before.messages if before else 0.0, after.layers[layer] / after.messages)
        for layer in layers
    ]
    rows.append(("all", before.per_message if before else 0.0, after.per_message))
    for layer, old, new in rows:
        share = f"{new / old - 1:+.1%}" if old else "new"
        table.add_row(
            layer,
            *([f"{old:,.0f}", f"{new:,.0f}", share] if before else [f"{new:,.0f}"]),
            end_section=layer == rows[-2][0],
        )
    unit = "call" if path == "call" else "registration"
    each = MESSAGES[path]
    table.add_row(
        f"per {unit}",
        *([f"{before.per_message * each:,.0f}"] if before else []),
        f"{after.per_message * each:,.0f}",
        *([""] if before else []),
    )
    return table


def top_table(path: str, costs: Costs, count: int) -> Table:
    """The functions that cost most by themselves, without what they call."""
    table = Table(title=f"{path}: dearest functions, instructions per received message", title_justify="left")
    table.add_column("per message", justify="right")
    table.add_column("share", justify="right")
    table.add_column("layer")
    table.add_column("function")
    for (layer, name), cost in costs.functions.most_common(count):
        table.add_row(f"{cost / costs.messages:,.0f}", f"{cost / costs.total:.1%}", layer, name)
    return table


def growth_table(path: str, before: Costs, after: Costs) -> Table:
    table = Table(title=f"{path}: what grew, instructions per received message", title_justify="left")
    table.add_column("function")
    table.add_column("layer")
    for name in ("before", "now", "more"):
        table.add_column(name, justify="right")
    for one in grown(before, after)[:20]:
        table.add_row(one.name, one.layer, f"{one.before:,.0f}", f"{one.after:,.0f}", f"{one.more:+,.0f}")
    return table


def markdown(results: dict[str, Costs]) -> str:
    """The table that is checked in, for reading."""
    about = machine()
    lines = [
        "# Instructions of the hot thread per received message",
        "",
        f"`make perf ARGS=--write`, {about['date']}, {compiler()}, Python {about['python']}, "
        f"valgrind {version('valgrind', '--version')}. For reading: the gate compares with the parent commit, not with "
        "this.",
        "",
        "| layer | " + " | ".join(results) + " |",
        "|---|" + "--:|" * len(results),
    ]
    layers = dict.fromkeys(layer for costs in results.values() for layer, _ in costs.layers.most_common())
    for layer in layers:
        cells = [f"{costs.layers[layer] / costs.messages:,.0f}" for costs in results.values()]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    lines.append("| **all** | " + " | ".join(f"**{costs.per_message:,.0f}**" for costs in results.values()) + " |")
    each = [f"{costs.per_message * MESSAGES[path]:,.0f}" for path, costs in results.items()]
    lines.append("| per call, per registration | " + " | ".join(each) + " |")
    for path, costs in results.items():
        lines += ["", f"## {path}: dearest functions", "", "| per message | layer | function |", "|--:|---|---|"]
        lines += [
            f"| {cost / costs.messages:,.0f} | {layer} | `{name}` |"
            for (layer, name), cost in costs.functions.most_common(20)
        ]
    return "\n".join(lines) + "\n"


def replay_all(paths: list[str], tree: Path, name: str, clock: Path) -> dict[str, Costs]:
    with ThreadPoolExecutor(2) as pool:
        found = {path: pool.submit(replay, path, tree, FOLDER / f"{path}.{name}.out", clock) for path in paths}
        return {path: one.result() for path, one in found.items()}


def parent_costs(commit: str, paths: list[str], clock: Path) -> dict[str, Costs]:
    return replay_all(paths, built(ROOT, commit, FOLDER), "before", clock)


def judge(results: dict[str, Costs], before: dict[str, Costs]) -> int:
    """Print and say whether the gate holds: 0, or 1."""
    failed = 0
    for path, after in results.items():
        old = before.get(path)
        console.print(layer_table(path, after, old))
        if old and too_much(old, after):
            failed = 1
            console.print(growth_table(path, old, after))
            console.print(f"[red]{path}: {change(old, after):+.1%} per message; more than {LIMIT:.0%} is too much[/]")
        elif old:
            console.print(f"{path}: {change(old, after):+.1%} per message")
        limit = MOST.get(path)
        if limit and after.per_message > limit:
            failed = 1
            console.print(f"[red]{path}: {after.per_message:,.0f} per message, above {limit:,}[/]")
    return failed


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
                console.print(layer_table(path, costs, None), top_table(path, costs, top))
            console.print(f"callgrind's files, for kcachegrind: {FOLDER}/*.now.out")
            return
        before: dict[str, Costs] = {}
        missing = ""
        with ThreadPoolExecutor(1) as pool:
            try:
                commit, why = find_base(ROOT, against)
                console.print(f"comparing with {commit[:12]} ({why}); a build of it takes about a minute")
                older = pool.submit(parent_costs, commit, paths, clock)
            except NoParent as error:
                older, missing = None, str(error)
            results = replay_all(paths, ROOT, "now", clock)
            if older:
                try:
                    before = older.result()
                except (TreeError, ReplayError) as error:
                    missing = f"{commit[:12]} cannot be replayed: {error}"
    except (TreeError, ReplayError) as error:
        raise click.ClickException(str(error)) from None
    failed = judge(results, before)
    if missing:
        console.print(
            f"[bold yellow]NOT COMPARED: {missing}.[/] Only the limits were checked. To compare: a clone with "
            "history (git fetch --deepen=1) or --against COMMIT."
        )
    if write:
        RESULT.write_text(markdown(results))
        console.print(f"written to {RESULT.relative_to(ROOT)}")
    console.print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(failed)


if __name__ == "__main__":
    main()
