"""Nanoseconds to parse one message, inside compiled code.

    python bench/parse.py [--cpu N] [--json] [--gate]

What is timed is parse_message as a worker calls it: header table with ids, start line, topmost Via, Call-ID, tags,
CSeq, Max-Forwards and Content-Length. And find_call_id, which is all that is read before a message goes to its owner.
The loop runs without the GIL on one pinned CPU; the least of many rounds is the figure, since other work on the machine
only adds. The message is warm in the cache, which a real one is after the kernel has copied it.

--gate ends with 1 if the 500-byte INVITE takes more than 300 ns or the 1.4 kB one more than 600.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from fastsip import _message

CORPUS = Path(__file__).resolve().parent.parent / "tests" / "corpus" / "valid"
SAMPLES = ("invite_500", "invite_1400", "register", "ringing", "ok", "cancel")
GATES = {"invite_500": 300.0, "invite_1400": 600.0}
CALLS = 400


def least(data: bytes, rounds: int, scan: bool) -> float:
    return min(_message._time(data, CALLS, scan) for _ in range(rounds)) / CALLS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="CPU to run on")
    parser.add_argument("--rounds", type=int, default=2000, help=f"rounds of {CALLS} calls")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--gate", action="store_true", help="exit 1 above the limits")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.cpu})
    results = {}
    for name in SAMPLES:
        data = (CORPUS / f"{name}.sip").read_bytes()
        results[name] = {
            "bytes": len(data),
            "headers": len(_message._examine(data)["headers"]),
            "parse_ns": round(least(data, arguments.rounds, False), 1),
            "find_call_id_ns": round(least(data, arguments.rounds // 4, True), 1),
        }
    if arguments.json:
        print(json.dumps(results))
    else:
        print("| message | bytes | headers | parse_message ns | find_call_id ns |\n|---|--:|--:|--:|--:|")
        for name, row in results.items():
            print(f"| {name} | {row['bytes']} | {row['headers']} | {row['parse_ns']} | {row['find_call_id_ns']} |")
    slow = [name for name, limit in GATES.items() if results[name]["parse_ns"] > limit]
    if arguments.gate and slow:
        print(f"above the gate: {', '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
