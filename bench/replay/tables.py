"""Costs as tables: for the terminal, and the one that is checked in."""

from __future__ import annotations

import subprocess

from measure import machine, version
from rich.table import Table

from replay.costs import Costs, Growth, grown

MESSAGES = {"call": 6, "register": 2, "fork": 12, "hunt": 8}
"""Messages the server receives for one call, one registration."""


def compiler() -> str:
    done = subprocess.run(["cc", "--version"], capture_output=True, text=True)
    return done.stdout.partition("\n")[0]


def layer_table(path: str, after: Costs, before: Costs | None) -> Table:
    """Instructions per message by layer, and the sums."""
    table = Table()
    table.add_column(path)
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
    unit = "registration" if path == "register" else "call"
    each = MESSAGES[path]
    table.add_row(
        f"per {unit}",
        *([f"{before.per_message * each:,.0f}"] if before else []),
        f"{after.per_message * each:,.0f}",
        *([""] if before else []),
    )
    return table


def top_table(costs: Costs, count: int) -> Table:
    """The functions that cost most by themselves, without what they call."""
    table = Table()
    table.add_column("per message", justify="right")
    table.add_column("share", justify="right")
    table.add_column("layer")
    table.add_column("function")
    for (layer, name), cost in costs.functions.most_common(count):
        table.add_row(f"{cost / costs.messages:,.0f}", f"{cost / costs.total:.1%}", layer, name)
    return table


def growth_table(before: Costs, after: Costs) -> Table:
    """What grew, and below it what shrank: a function with a new name is in both."""
    table = Table()
    table.add_column("function")
    table.add_column("layer")
    for name in ("before", "now", "change"):
        table.add_column(name, justify="right")

    def add(found: list[Growth], least: float) -> None:
        for one in found:
            if abs(one.more) >= least:
                table.add_row(one.name, one.layer, f"{one.before:,.0f}", f"{one.after:,.0f}", f"{one.more:+,.0f}")

    more, less = grown(before, after)
    add(more[:20], 1)
    table.add_section()
    add(less[:10], 5)
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
    lines.append("| per call or registration | " + " | ".join(each) + " |")
    for path, costs in results.items():
        lines += ["", f"## {path}: dearest functions", "", "| per message | layer | function |", "|--:|---|---|"]
        lines += [
            f"| {cost / costs.messages:,.0f} | {layer} | `{name}` |"
            for (layer, name), cost in costs.functions.most_common(20)
        ]
    return "\n".join(lines) + "\n"
