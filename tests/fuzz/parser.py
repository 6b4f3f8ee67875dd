"""The compiled parser under libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/fuzz/parser.py --seconds 60            # from tests/corpus, corpus.zip and what earlier runs found
    python tests/fuzz/parser.py --replay build/fuzz/failures/crash-...
    python tests/fuzz/parser.py --seconds 600 --keep    # and put what was found into corpus.zip

target.pyx says what holds for any bytes; in the end the oracle is asked about a sample of what was found.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from fastsip.names import HEADERS, METHODS
from fuzz import build, corpus
from fuzz.mutate import LINES, TOKENS

LARGEST = 2048
"""Bytes of a message; there is nothing to find behind, but for header lines by the hundred, which samples have."""
OPTIONS = [f"-max_len={LARGEST}", "-len_control=20", "-timeout=10", "-rss_limit_mb=1500", "-print_final_stats=1"]


def _dictionary(path: Path) -> Path:
    words = [long.encode() + b": " for long, _ in HEADERS]
    words += [b"\r\n" + short.encode() + b":" for _, short in HEADERS if short]
    words += [method.encode() + b" " for method in METHODS] + TOKENS
    words += [line + b"\r\n" for line in LINES if len(line) < 60]
    path.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words))
    return path


def _lines(text: str) -> list[str]:
    """The few of libFuzzer's lines that say how far it got."""
    telling = re.compile("INITED|DONE|pulse|fastsip:|ERROR|runtime error|stat::num")
    return [line for line in text.splitlines() if telling.search(line)]


def fuzz_for(seconds: float) -> int:
    program, found, failures = build.parser(), build.FUZZ / "corpus", build.FUZZ / "failures"
    failures.mkdir(parents=True, exist_ok=True)
    corpus.unpack(found)
    words = _dictionary(build.FUZZ / "words.dict")
    samples = [build.ROOT / "tests" / "corpus" / part for part in ("valid", "invalid")]
    command = [str(program), *OPTIONS, f"-max_total_time={max(1, round(seconds))}", f"-dict={words}"]
    command += [f"-artifact_prefix={failures}/", str(found), *map(str, samples)]
    print(f"parser: {seconds:.0f} s of libFuzzer", flush=True)
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    assert run.stderr is not None
    for line in run.stderr:
        for said in _lines(line):
            print(said.strip(), flush=True)
    status = run.wait()
    if status:
        newest = max(failures.iterdir(), key=lambda path: path.stat().st_mtime, default=failures)
        print(f"FAILED; once more with: python tests/fuzz/parser.py --replay {newest}", file=sys.stderr)
    return 1 if status else 0


def agree(sample: int = 2000) -> int:
    """Whether the oracle says the same of what was found."""
    from test_message_oracle import compare, compare_call_id

    found = sorted((build.FUZZ / "corpus").iterdir())
    chosen = random.sample(found, min(sample, len(found)))
    for path in chosen:
        try:
            for framing in (1, 2):
                compare(path.read_bytes(), framing)
            compare_call_id(path.read_bytes())
        except AssertionError as error:
            print(f"FAILED: the oracle does not agree about {path}: {error!r}", file=sys.stderr)
            return 1
    print(f"the oracle agrees about {len(chosen)} of {len(found)} messages")
    return 0


def keep() -> None:
    """The smallest messages that reach all that was reached, into corpus.zip."""
    small = build.FUZZ / "small"
    shutil.rmtree(small, ignore_errors=True)
    small.mkdir()
    command = [str(build.parser()), "-merge=1", f"-max_len={LARGEST}", str(small), str(build.FUZZ / "corpus")]
    subprocess.run(command, check=True, capture_output=True)
    print(f"{corpus.FILE}: {corpus.write(path.read_bytes() for path in small.iterdir())} messages")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--replay", type=Path, help="one message, or a folder of them")
    parser.add_argument("--keep", action="store_true", help="put what was found into tests/fuzz/corpus.zip")
    arguments = parser.parse_args()
    try:
        if arguments.replay:
            return subprocess.run([build.parser(), "-runs=0", "-timeout=10", arguments.replay]).returncode
        status = fuzz_for(arguments.seconds)
    except build.Missing as error:
        print(error, file=sys.stderr)
        return 2
    status = status or agree()
    if arguments.keep and not status:
        keep()
    return status


if __name__ == "__main__":
    sys.exit(main())
