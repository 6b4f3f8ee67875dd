"""The segment in C: a race detector over writer and readers, a death at every store, accessors on damaged values."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(tmp_path: Path, name: str, sanitizers: str, *arguments: str) -> str:
    """Build tests/c/NAME.c with these sanitizers and run it; skips where the compiler lacks them."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path / name
    command = [compiler, "-std=gnu11", "-O2", "-g", "-Wall", "-Werror", "-pthread", "-D_GNU_SOURCE", "-DFASTSIP_DEBUG"]
    command += [f"-fsanitize={sanitizers}", "-I", str(ROOT / "ext")]
    command += [str(ROOT / f"tests/c/{name}.c"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip(f"the compiler has no {sanitizers} sanitizer")
    assert built.returncode == 0, built.stderr
    # What a writer held when it died leaks, in this one process.
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_writer_and_three_readers_without_a_race(tmp_path: Path) -> None:
    assert "searches" in run(tmp_path, "segment_stress", "thread")


def test_a_writer_may_die_at_every_store(tmp_path: Path) -> None:
    assert "deaths" in run(tmp_path, "segment_crash", "address,undefined")


def test_a_damaged_binding_set_never_leads_out_of_its_record(tmp_path: Path) -> None:
    assert "taken for a set" in run(tmp_path, "binding_fuzz", "address,undefined")
