"""Rings between workers: the C harness under the thread sanitizer, under kill -9 and under wild stores."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastsip import _transport

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-pthread", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
MIB = 1 << 20
Build = Callable[[str], Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compile the harness with one sanitizer, or skip where the compiler lacks it."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")

    def compile_with(sanitizer: str) -> Path:
        program = tmp_path_factory.mktemp("ring") / "ring_stress"
        command = [compiler, *FLAGS]
        command += [f"-fsanitize={sanitizer}"] if sanitizer else []
        command += ["-I", str(ROOT / "ext"), str(ROOT / "tests/c/ring_stress.c"), "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and sanitizer and "cannot find" in done.stderr:
            pytest.skip(f"the compiler has no {sanitizer} sanitizer")
        assert done.returncode == 0, done.stderr
        return program

    return compile_with


def run(program: Path, *arguments: str) -> None:
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_threads_under_the_thread_sanitizer(build: Build) -> None:
    program = build("thread")
    run(program, "threads", "300000")
    run(program, "wake", "100000")


def test_two_threads_millions_of_records(build: Build) -> None:
    program = build("")
    run(program, "threads", "4000000")
    run(program, "wake", "1000000")


def test_either_process_killed_at_any_moment(build: Build) -> None:
    run(build(""), "crash", "600")


def test_wild_stores_lose_records_and_nothing_else(build: Build) -> None:
    run(build("address,undefined"), "damage", "60000")


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8, 16, 23])
def test_the_rings_fit_their_budget(workers: int) -> None:
    assert _transport.rings_size(workers, 64 * MIB) <= 64 * MIB


def test_a_ring_is_never_smaller_than_the_largest_datagram() -> None:
    assert _transport.rings_size(64, 64 * MIB) > 64 * 63 * 128 * 1024
    assert _transport.rings_size(2, 0) > 2 * 128 * 1024
