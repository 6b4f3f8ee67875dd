"""A test that fails among others has a second chance, by itself; many have none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

FLAKY = """
from pathlib import Path

def test_busy():
    seen = Path(__file__).with_suffix(".seen")
    first, _ = not seen.exists(), seen.touch()
    assert not first

def test_fine():
    pass
"""


def twice(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(code)
    command = [sys.executable, str(HERE / "twice.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_who_passes_by_itself_is_named(tmp_path: Path) -> None:
    done = twice(tmp_path, FLAKY, "-m", "not alone")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert done.stdout.endswith("passed by itself, and not among others:\n  test_some.py::test_busy\n")


def test_who_fails_twice_has_failed(tmp_path: Path) -> None:
    done = twice(tmp_path, "def test_wrong():\n    assert False\n")
    assert done.returncode == 1 and "once more" in done.stdout and "passed by itself" not in done.stdout


def test_four_are_no_accident(tmp_path: Path) -> None:
    code = "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_wrong(n):\n    assert False\n"
    done = twice(tmp_path, code)
    assert done.returncode == 1 and "once more" not in done.stdout


def test_what_cannot_even_be_collected_is_not_tried_again(tmp_path: Path) -> None:
    done = twice(tmp_path, "import nowhere_at_all\n")
    assert done.returncode == 2 and "once more" not in done.stdout
