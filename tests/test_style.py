"""Lint and types as tests, so that a mistake in style looks like a mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_ruff() -> None:
    _run("ruff", "check", "--quiet", ".")


def test_mypy_strict() -> None:
    _run("mypy")
