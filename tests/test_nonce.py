"""The table of nonce counts under threads, under ThreadSanitizer, and under processes that are killed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "c" / "nonce_stress.c"


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("nonce")

    def compiled(name: str, *flags: str) -> Path:
        program = directory / name
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        command = [compiler, "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", *flags, str(SOURCE), "-o", str(program)]
        done = subprocess.run([*command, "-pthread"], capture_output=True, text=True)
        if done.returncode and "sanitize" in "".join(flags) and "tsan" in done.stderr:
            pytest.skip("the compiler has no ThreadSanitizer: " + done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
        return program

    return compiled


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_threads_without_data_races(build):
    run(build("tsan", "-O1", "-fsanitize=thread"), "threads", "100")


def test_threads_at_full_speed(build):
    run(build("fast", "-O2"), "threads", "1000")


def test_processes_killed_at_any_store(build):
    run(build("fast", "-O2"), "killed", "200")
