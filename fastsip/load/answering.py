"""`fastsip load answer`: the callee's side alone, until a signal or for a time."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from . import sources
from .asked import read_listen
from .console import Consoles
from .course import Interrupts, answer
from .live import View
from .numbers import Numbers
from .security import read_tls
from .setup import Answer, EngineSetup
from .wrong import Wrong

ROWS = {
    "answered": "calls answered",
    "refused_busy": "refused with 486",
    "cancelled_in": "cancelled by the caller",
    "ended": "ended by the caller",
    "dialogs": "still up",
    "requests_in": "requests received",
    "again_in": "of them again",
    "again_answer": "responses sent again",
    "malformed": "malformed",
    "dropped_socket": "dropped at its socket",
}


def main(given: dict[str, Any]) -> int:
    """Listen, answer, print what came. Raises Wrong, OSError."""
    listen = read_listen(given["listen"])
    tls = read_tls(given, listen.transport)
    if tls is not None and not tls.certificates:
        raise Wrong(f"--listen {listen}: by TLS it needs a certificate, --cert and --key")
    listening = sources.open_listeners(listen.host, listen.port, given["threads"], listen.transport)
    where = f"{listen.transport}:{listening.hostports[0]}"
    told = Answer(ring=given["ring"], busy=given["busy"], silent=given["silent"], body=given["body"])
    setups = [
        EngineSetup(sources=own, answer=told, gather=given["gather"], seed=given["seed"] * 1000 + index, tls=tls)
        for index, own in enumerate(listening.per_engine)
    ]
    consoles = Consoles(given["as_json"])
    view = View(consoles.progress, given["quiet"])
    view.say(f"answering at {where}")
    with Interrupts() as interrupts, view:
        numbers = answer(setups, listening, given["duration"] or 0.0, view, interrupts)
    if given["as_json"]:
        consoles.document({"listen": where, "counters": dict(numbers.counters)})
    else:
        consoles.result.print(_table(numbers), highlight=False)
    return 0


def _table(numbers: Numbers) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, words in ROWS.items():
        if numbers[name] or name == "answered":
            grid.add_row(words, f"{numbers[name]:,}")
    grid.add_row("CPU", f"{numbers.cpu_seconds:.2f} s")
    return grid
