"""A server under load for minutes: does memory stand still, is anything dropped, what does `kill -9` cost?

    python tests/soak.py --seconds 600 --kill-for 180           the long one
    python tests/soak.py --seconds 20 --rate 200 --loss 0.02    a short one on a bad network

Calls with Digest, SIPp at both ends, and REGISTERs with Digest from other users, through two workers and a store on
disk. Every five seconds memory is read; during the last `--kill-for` seconds a random worker or the state process dies
every `--apart` seconds. It stops by itself, prints JSON, and ends with 1 if something was left alive in the workers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import PASSWORD, Phone, Server, Sipp, count
from harness.sipp import PATIENT
from harness.stage import ALICE, BOB
from lossy import Relay, Weather

HOST, CARL = "127.0.0.5", "127.0.0.13"
DIGEST = ("REGISTER", "INVITE")
USERS = 500
SAMPLE = 5.0
WATCHED = ("retransmissions_in", "retransmissions_out", "rejected_full", "auth_replays", "relay_denied", "loops")


@dataclass
class Soak:
    """One run. `loss` is the share of datagrams dropped, doubled and late, each, on both sides of the server."""

    seconds: float = 600
    rate: float = 300
    registers: float = 50
    kill_for: float = 0
    apart: float = 30
    loss: float = 0
    hold: int = 1000
    seed: int = 1
    timers: dict[str, float] = field(default_factory=dict)
    memory: dict[tuple[str, int], list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    deaths: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Play it; what came of it: slopes in KiB a minute by process, lost calls and REGISTERs, counters."""
        users = [(f"u{n:03}", PASSWORD, HOST) for n in range(USERS)]
        with Server(
            host=HOST, workers=2, users=users, required=DIGEST, store="fastsip.db", timers=self.timers
        ) as server:
            ends = self._load(server)
            carl, alice, bob = ends
            self._watch(server)
            outcomes = [carl.wait(), alice.wait(), bob.stop()]
            left = self._quiet(server)
            statistics = server.ctl("stats")
            status = server.stop(check=False)
            total = statistics["total"]
            return {
                "calls": {"made": alice.calls, "failed": (alice.calls or 0) - count(outcomes[1], "Successful call")},
                "registers": {"made": carl.calls, "failed": (carl.calls or 0) - count(outcomes[0], "Successful call")},
                "kib_a_minute": self.slopes(),
                "memory_mib": {f"{name} {pid}": seen[-1][1] // 1024 for (name, pid), seen in self.memory.items()},
                "deaths": self.deaths,
                "restarts": statistics["restarts"],
                "counters": {k: v for k, v in total.items() if v and (k.startswith("dropped_") or k in WATCHED)},
                "messages": total["requests_in"] + total["responses_in"],
                "state": statistics["state"],
                "left": left,
                "status": status,
                "log": server.log.splitlines()[-12:],
            }

    def slopes(self) -> dict[str, float]:
        """Least squares over the second half of each process's life, where it was a minute at least."""
        found = {}
        for (name, pid), seen in self.memory.items():
            late = seen[len(seen) // 2 :]
            if late[-1][0] - late[0][0] < 25:
                continue
            middle = sum(when for when, _ in late) / len(late), sum(kib for _, kib in late) / len(late)
            up = sum((when - middle[0]) * (kib - middle[1]) for when, kib in late)
            found[f"{name} {pid}"] = round(60 * up / sum((when - middle[0]) ** 2 for when, _ in late), 1)
        return found

    def _load(self, server: Server) -> tuple[Sipp, Sipp, Sipp]:
        self._relays = contextlib.ExitStack()
        bob = Sipp("answer_hangup.xml", host=BOB, calls=None, trace=False, timeout=self.seconds + 90, linger=4000)
        entry, exit_ = server.address, bob.address
        if self.loss:
            weather = Weather(self.seed, self.loss, self.loss, self.loss)
            before = self._relays.enter_context(Relay(weather, server.address, ALICE))
            behind = self._relays.enter_context(Relay(weather, server.address, BOB, bob.address))
            entry, exit_ = before.front, behind.back
            contact = before.back
        bob.options = (*PATIENT, "-d", str(self.hold))
        bob.keys = {"contact": f"{exit_[0]}:{exit_[1]}"}
        bob.start().listening()
        with Phone(server.address, host=BOB) as phone:
            answer = phone.register(f"u000@{HOST}", f"sip:u000@{exit_[0]}:{exit_[1]}", PASSWORD)
            assert answer and answer.status == 200, answer
        alice = Sipp("call_digest.xml", entry, host=ALICE, calls=int(self.rate * self.seconds), rate=self.rate)
        alice.trace, alice.timeout, alice.linger = False, self.seconds + 60, 4000
        alice.options = (*PATIENT, "-recv_timeout", str(self.hold + 12000), "-auth_uri", f"u000@{server.hostport}")
        contact = contact if self.loss else alice.address
        alice.keys = {"proxy": server.hostport, "home": HOST, "away": server.hostport}
        alice.keys |= {"contact": f"{contact[0]}:{contact[1]}", "direct": "no"}
        alice.rows = [
            (f"u{n:03}", f"[authentication username=u{n:03} password={PASSWORD}]", "u000") for n in range(1, 200)
        ]
        carl = Sipp("register_new.xml", server.address, host=CARL, calls=int(self.registers * self.seconds))
        carl.rate, carl.trace, carl.timeout = self.registers, False, self.seconds + 60
        carl.options = (*PATIENT, "-recv_timeout", "8000")
        carl.keys = {"home": HOST, "away": server.hostport, "contact": f"{CARL}:5060"}
        carl.rows = [(f"u{n:03}", f"[authentication username=u{n:03} password={PASSWORD}]") for n in range(200, USERS)]
        return carl.start(), alice.start(), bob

    def _watch(self, server: Server) -> None:
        chance = random.Random(self.seed)
        begun = time.monotonic()
        strike = self.seconds - self.kill_for if self.kill_for else float("inf")
        while (now := time.monotonic() - begun) < self.seconds:
            for pid, name in {**server.children(), server.pid: "master"}.items():
                if (kib := private_memory(pid)) is not None:
                    self.memory[name, pid].append((now, kib))
            if now >= strike:
                strike += self.apart
                pid, name = chance.choice(sorted(server.children().items()))
                self.deaths.append(f"{now:.0f} s: {name} {pid}")
                os.kill(pid, signal.SIGKILL)
            time.sleep(max(0.0, min(SAMPLE, self.seconds - (time.monotonic() - begun))))

    def _quiet(self, server: Server) -> dict[str, int]:
        """What is alive when nothing has happened for as long as the timers run."""
        until = time.monotonic() + 64 * self.timers.get("t1", 0.5) + 10
        while (left := server.live()) and time.monotonic() < until:
            time.sleep(0.5)
        self._relays.close()
        return left


def private_memory(pid: int) -> int | None:
    """KiB of a process that are no shared memory and no file; None if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=300, help="calls a second")
    parser.add_argument("--registers", type=float, default=50, help="REGISTERs a second")
    parser.add_argument("--kill-for", type=float, default=0, help="last seconds in which processes die")
    parser.add_argument("--apart", type=float, default=30, help="seconds between two deaths")
    parser.add_argument("--loss", type=float, default=0, help="share of datagrams dropped, doubled and late, each")
    parser.add_argument("--t1", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    given = vars(parser.parse_args())
    timers = {"t1": given.pop("t1")}
    found = Soak(timers=timers, **given).run()
    print(json.dumps(found, indent=1))
    return 1 if found["left"] or found["status"] else 0


if __name__ == "__main__":
    sys.exit(main())
