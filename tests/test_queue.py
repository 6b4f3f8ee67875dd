"""The queue between two threads of a process, in C: under the thread sanitizer, and at every edge under the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import requires_peer

pytestmark = [requires_peer("gcc")]

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Werror"]


def run(folder: Path, sanitizers: str, *arguments: str) -> str:
    """Build tests/c/queue_stress.c with these sanitizers and run it; skips where the compiler lacks them."""
    program = folder / "queue_stress"
    command = [os.environ.get("CC") or shutil.which("gcc") or "cc", *FLAGS]
    command += [f"-fsanitize={sanitizers}"] if sanitizers else []
    command += ["-I", str(ROOT / "ext"), str(ROOT / "tests/c/queue_stress.c"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and sanitizers and "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no {sanitizers} sanitizer")
    assert built.returncode == 0, built.stderr
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_threads_under_the_thread_sanitizer(tmp_path: Path) -> None:
    assert "20000 records" in run(tmp_path, "thread", "threads", "20000")


def test_two_threads_at_full_speed(tmp_path: Path) -> None:
    assert "records" in run(tmp_path, "", "threads", "200000")


@pytest.mark.parametrize(("sanitizers", "records"), [("thread", "20000"), ("", "300000")])
def test_a_reader_that_hushes_the_bell_sleeps_over_nothing(tmp_path: Path, sanitizers: str, records: str) -> None:
    assert "looked" in run(tmp_path, sanitizers, "bell", records)


def test_every_edge(tmp_path: Path) -> None:
    """Every length at every offset that matters, and a queue that is exactly full."""
    assert "records" in run(tmp_path, "address,undefined", "edges")
