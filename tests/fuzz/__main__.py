"""`make fuzz`: the parser for half of the time, the server for the other half."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...")
    parser.add_argument("--seconds", type=float, default=600, help="of both together; building comes on top")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20), help="of the server's first episode")
    parser.add_argument("--keep", action="store_true", help="the parser's findings into tests/fuzz/corpus.zip")
    parser.add_argument("--only", choices=("parser", "server"), help="all of the time for one")
    arguments = parser.parse_args()
    parts = [arguments.only] if arguments.only else ["parser", "server"]
    status = 0
    for part in parts:
        command = [sys.executable, str(HERE / f"{part}.py"), "--seconds", str(arguments.seconds / len(parts))]
        more = ["--seed", str(arguments.seed)] if part == "server" else ["--keep"] * arguments.keep
        status = max(status, subprocess.run([*command, *more]).returncode)
    return status


if __name__ == "__main__":
    sys.exit(main())
