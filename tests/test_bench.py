"""Every bench runs with next to nothing to do, so that none rots; what it measures then means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "bench"))

from rows import Bench, Row, cells  # noqa: E402
from suite import LONG, PARTS  # noqa: E402

SERVERS = ("calls", "jobs", "transports", "balance", "latency", "idle", "generator")
MORE_SERVERS = ("peers", "policy", "resident", "endurance")
COMPILED = [name for name in (*PARTS, *LONG) if name not in SERVERS + MORE_SERVERS]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(COMPILED, id="compiled"),
        pytest.param(SERVERS, id="servers"),
        pytest.param(MORE_SERVERS, id="more_servers", marks=pytest.mark.long),
    ],
)
def test_every_part_gives_its_rows(names: list[str], tmp_path: Path) -> None:
    words = [word for name in names for word in ("--part", name)]
    command = [sys.executable, "bench/suite.py", "--tiny", "--results", str(tmp_path), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (file,) = tmp_path.glob("*.json")
    result: dict[str, Any] = json.loads(file.read_bytes())
    assert {"command", "date", "cpu", "kernel", "python", "fastsip"} <= result["about"].keys()
    assert len(result["parts"]) == len(names)
    page = file.with_suffix(".md").read_text()
    for part in result["parts"]:
        assert part["rows"] or part["title"] == "Instructions"
        for row in part["rows"]:
            assert "what was to come" not in row["name"], row
            assert row["value"] is not None or row["note"], row
            assert row["name"] in page


@pytest.mark.parametrize(
    ("value", "least", "verdict"),
    [(1.0, False, "aim met"), (1.5, False, "gate met"), (2.1, False, "missed"), (2.1, True, "aim met"),
     (1.5, True, "missed"), (None, True, "not measured")],
)  # fmt: skip
def test_verdicts(value: float | None, least: bool, verdict: str) -> None:
    row = Row("row", value, "x", 2.0, 2.1 if least else 1.2, least=least)
    assert row.verdict == verdict
    assert verdict in cells(row)


def test_sizes() -> None:
    assert [Bench(size).pick(1, 2, 3) for size in ("tiny", "quick", "full")] == [1, 2, 3]
