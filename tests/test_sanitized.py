"""The public faces of parser and transaction table, and TLS, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = "_layout,_message,_table,_timer,_tls,_transaction"
TESTS = ("test_parse.py", "test_table.py", "test_table_fuzz.py", "test_tls.py", "test_door.py")


@pytest.mark.long
@pytest.mark.timeout(400)
def test_nothing_is_read_or_written_where_it_must_not(tmp_path: Path) -> None:
    for part in ("ext", "fastsip", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    built = {**os.environ, "FASTSIP_SANITIZE": "1", "FASTSIP_DEBUG": "1", "FASTSIP_ONLY": MODULES}
    build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(build, cwd=tmp_path, env=built, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}.so"], capture_output=True, text=True).stdout.strip()
        for name in ("libasan", "libubsan")
    ]
    env = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own would be reported
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *(f"tests/{t}" for t in TESTS)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "runtime error" not in done.stderr, done.stdout[-4000:] + done.stderr[-4000:]
