"""The server of a replay: one worker's engine, turn by turn, under callgrind, started by `driver.py`.

    python -m replay.server PATH HOST PORT CLOCK_LIBRARY

Runs against whatever build PYTHONPATH leads to, this commit's or an older one's, so it leans on what changes least: the
setups of `fastsip.launch`, `Worker.stop`, which lets `Worker.run` return after one turn, and the facts. Keys, random
bytes and clock are fixed. Reads lines from stdin, answers each with one of JSON on stdout:

    turn NS     the clock is at NS; receive and work on what was sent, then apply the facts that came of it
    begin       count from here on
    end         count no more; the answer is the counters
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import Any

from replay.people import DOMAIN, PASSWORD, USERS

T1 = 20
"""Milliseconds. Waiting states of 64 * T1 instead of 32 s: so many transactions live as at a higher rate for longer."""
SETTINGS = {
    "domains": [DOMAIN],
    "realm": None,
    "algorithms": ["SHA-256", "MD5"],
    "trusted": [],
    "open_relay": False,
    "record_route": True,
    "udp_max": 1300,
    "min_expires": 60,
    "max_expires": 3600,
    "max_contacts": 10,
    "t1": T1,
    "t2": 4 * T1,
    "t4": 5 * T1,
    "timer_c": 180_000,
    "transactions": 100_000,
    "drain_timeout": 1000,
}


def fixed_bytes(count: int) -> bytes:
    return bytes(17 * i + 3 & 255 for i in range(count))


os.urandom = fixed_bytes

import msgpack  # noqa: E402

import fastsip  # noqa: E402
from fastsip import sockets  # noqa: E402
from fastsip._control import KEY_BYTES, ControlView, control_format, control_size  # noqa: E402
from fastsip._digest import table_size  # noqa: E402
from fastsip._location import (  # noqa: E402
    RECORD_BINDINGS,
    RECORD_USER,
    SegmentWriter,
    encode_bindings,
    encode_user,
    segment_format,
    segment_size,
)
from fastsip._transport import SLOTS_SIZE, rings_size  # noqa: E402
from fastsip._worker import Worker  # noqa: E402
from fastsip.auth import ha1_md5, ha1_sha256  # noqa: E402
from fastsip.launch import ListenerSetup, Settings, WorkerSetup  # noqa: E402


def memory(name: str, size: int) -> int:
    fd = os.memfd_create(name)
    os.ftruncate(fd, size)
    return fd


class Server:
    """A worker of two whose every Call-ID is its own: it looks for the owner and hands nothing over."""

    def __init__(self, path: str, host: str, port: int) -> None:
        control, slots = memory("control", control_size()), memory("slots", SLOTS_SIZE)
        segment, nonces = memory("segment", segment_size()), memory("nonces", table_size())
        rings = memory("rings", rings_size(2, 1 << 20))
        control_format(control, 1, fixed_bytes(KEY_BYTES))
        segment_format(segment, control)
        self.control = ControlView(control)
        self.segment = SegmentWriter(segment, control)
        listener = sockets.bind_udp(host, port)
        settings: dict[str, Any] = {
            **SETTINGS,
            "listen": [(host, port)],
            "required": ["REGISTER"] if path == "register" else [],
        }
        setup = WorkerSetup(
            index=0,
            workers=2,
            incarnation=1,
            listeners=[ListenerSetup(fd=listener.detach(), index=0, transport="udp", host=host, port=port)],
            control_fd=control,
            rings_fd=rings,
            slots_fd=slots,
            segment_fd=segment,
            nonces_fd=nonces,
            wake_fds=[os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)],
            state_endpoint="",
            settings=Settings(**settings),
        )
        self.worker = Worker(setup)
        self.versions = 0
        self.path = path

    def bind(
        self, aor: bytes, uris: dict[bytes, int], source: tuple[int, bytes, int], call_id: bytes, cseq: int
    ) -> None:
        now = int(time.time() * 1000)
        self.versions += 1
        bindings = [
            (uri, call_id, b"", b"", q, 1, source, cseq, 0, now + 3_600_000, now, 0) for uri, q in uris.items()
        ]
        self.segment.put(RECORD_BINDINGS, aor, encode_bindings(self.versions, bindings))

    def people(self, host: str, port: int) -> None:
        for number in range(USERS):
            name = f"user{number:04d}"
            aor = f"{name}@{DOMAIN}"
            phones = [f".{phone}" for phone in range(3)] if self.path in ("fork", "hunt") else [""]
            uris = {
                f"sip:{name}{phone}@{host}:{port}".encode(): 1000 - 100 * place * (self.path == "hunt")
                for place, phone in enumerate(phones)
            }
            source = (4, bytes(map(int, host.split("."))) + bytes(12), port)
            self.bind(aor.encode(), uris, source, b"before the first", 1)
            ha1 = ha1_md5(name, DOMAIN, PASSWORD).encode(), ha1_sha256(name, DOMAIN, PASSWORD).encode()
            self.segment.put(RECORD_USER, aor.encode(), encode_user(*ha1))

    def turn(self) -> None:
        # The first finds out what is readable, the second reads it.
        for _ in range(2):
            self.worker.stop()
            self.worker.run()
        count, facts = self.worker.take_facts()
        if count:
            self.apply(facts)

    def apply(self, facts: bytes) -> None:
        """What the state process does."""
        unpacker = msgpack.Unpacker()
        unpacker.feed(facts)
        results = []
        for fact in unpacker:
            if fact[0] != 1:
                continue
            _, token, aor, call_id, cseq, _, (family, ip, port, *_), _, contacts = fact
            self.bind(aor, {contact[0]: 1000 for contact in contacts}, (family, ip, port), call_id, cseq)
            results.append((token, 200, 0))
        self.worker.give_results(results)


def main() -> None:
    path, host, port, clock_path = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    clock = ctypes.CDLL(clock_path)
    clock.replay_clock.argtypes = [ctypes.c_uint64]
    server = Server(path, host, port)
    answer: dict[str, object] = {"fastsip": fastsip.__file__}
    print(json.dumps(answer), flush=True)
    for line in sys.stdin:
        words = line.split()
        answer = {}
        if words[0] == "people":
            server.people(words[1], int(words[2]))
        elif words[0] == "turn":
            clock.replay_clock(int(words[1]))
            server.turn()
        elif words[0] == "begin":
            clock.replay_begin()
        elif words[0] == "end":
            clock.replay_end()
        elif words[0] == "counters":
            answer = dict(server.control.counters(0))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
