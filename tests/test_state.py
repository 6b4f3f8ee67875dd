"""The state process, real, over ZeroMQ: registering, order, repetition, restart, users, dialogs, paging, ending.

1. RFC 3261 10.3: bindings are added, refreshed, removed; a REGISTER is applied wholly or not at all.
2. Devices of one address-of-record that meet different workers do not lose each other's bindings.
3. A fact that comes again is applied once and answered again.
4. What was registered is there after a restart, from the store and from the segment; what was removed is not.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from state_harness import Server, Worker, register, wait_for

BOB = b"bob@example.com"
DESK, HOME = b"sip:bob@192.0.2.1", b"sip:bob@192.0.2.2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
def worker(server: Server) -> Worker:
    return Worker(server)


def test_register_refresh_remove(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, DESK)) == 200
    assert server.bound(BOB) == [DESK]
    assert worker.status(register(2, BOB, DESK, cseq=2)) == 200
    assert worker.status(register(3, BOB, HOME, call_id=b"c2")) == 200
    assert server.bound(BOB) == [DESK, HOME]
    assert worker.status(register(4, BOB, (DESK, 0), cseq=3)) == 200
    assert server.bound(BOB) == [HOME]
    assert worker.status(register(5, BOB, call_id=b"c3", flags=1)) == 200
    assert server.bound(BOB) == []
    assert server.ask("stats")["aors"] == 0
