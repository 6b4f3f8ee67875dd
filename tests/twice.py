"""Run pytest with the given arguments, and what has failed once more, by itself.

    python tests/twice.py -m "not alone" --numprocesses 4 --dist loadgroup

On cores that are shared a process may get no turn for seconds, and a test that waits so long fails though nothing is
wrong. What passes by itself is named and does not fail the run; more than three at a time are no accident, and are not
tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FAILED = 1
"""What pytest ends with when tests have failed, and nothing else went wrong."""
AT_MOST = 3


def main(arguments: list[str]) -> int:
    """pytest's exit code, of the second run where there was one."""
    with tempfile.TemporaryDirectory(prefix="fastsip-tests-") as cache:
        status = pytest("-o", f"cache_dir={cache}", *arguments)
        if status != FAILED:
            return status
        failed = list(json.loads((Path(cache) / "v/cache/lastfailed").read_text()))
    if not 0 < len(failed) <= AT_MOST:
        return status
    print("once more, by itself:", *failed, sep="\n  ", flush=True)
    status = pytest(*failed)
    if status == 0:
        print("passed by itself, and not among others:", *failed, sep="\n  ", flush=True)
    return status


def pytest(*arguments: str) -> int:
    return subprocess.call([sys.executable, "-m", "pytest", "--quiet", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
