"""scan.h in all its forms: each against plain words of C at every offset, and all of them equal."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import requires_peer

pytestmark = [requires_peer("gcc")]

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "ext")]


def found(folder: Path, *flags: str) -> str:
    """What tests/c/scan.c, compiled with these flags, found in its bytes."""
    program = folder / "scan"
    compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
    command = [compiler, *FLAGS, *flags, str(ROOT / "tests/c/scan.c"), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "cannot find" in built.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_fast_form_finds_what_the_plain_one_finds(tmp_path: Path) -> None:
    fast = found(tmp_path)
    assert len(fast) == 17
    assert fast == found(tmp_path, "-DFASTSIP_SCAN_PLAIN")


@pytest.mark.parametrize("form", ["fast", "plain"])
def test_under_sanitizers(tmp_path: Path, form: str) -> None:
    plain = ["-DFASTSIP_SCAN_PLAIN"] if form == "plain" else []
    found(tmp_path, "-fsanitize=address,undefined", "-fno-sanitize-recover", *plain)
