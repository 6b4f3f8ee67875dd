"""Draw the transaction machines from the table the server runs (ext/fsm.h).

python ext/draw_machines.py | dot -Tsvg -O
"""

from __future__ import annotations

from itertools import groupby

from fastsip._testing import machines


def draw(machine: str, arrows: list[tuple[str, str, str, tuple[str, ...]]]) -> str:
    lines = [
        f'digraph "{machine}" {{',
        "  node [shape=box, fontname=monospace]; edge [fontname=monospace, fontsize=10];",
    ]
    lines += ['  start [shape=point, label=""];']
    for state, event, next_state, actions in arrows:
        label = "\\n".join([event, *(actions or ("-",))])
        lines.append(f'  "{state}" -> "{next_state}" [label="{label}"];'.replace('  ""', "  start"))
    return "\n".join([*lines, "}"])


if __name__ == "__main__":
    for machine, rows in groupby(machines(), key=lambda row: row[0]):
        print(draw(machine, [row[1:] for row in rows]))
