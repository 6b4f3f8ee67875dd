"""Servers that have no descriptors left: who is served, who has to go, and that nothing ends."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from descriptors_kit import none_left, seconds, threads, workers
from harness.ports import free_port
from harness.stream import WebPhone
from stream_kit import DOMAIN, StreamServer, options

LOOPBACK = ["127.0.0.0/8"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


@contextlib.contextmanager
def waiting(where: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """So many connections that say nothing."""
    with contextlib.ExitStack() as closing:
        yield [closing.enter_context(socket.create_connection(where)) for _ in range(count)]


# --- nothing ends -----------------------------------------------------------------------------------------------------


def test_websocket_is_served_again(authority: Authority) -> None:
    """The reception outlives that it can accept nobody, and does not spin meanwhile."""
    ports = {name: free_port() for name in ("ws", "wss")}
    also = [f"{name}:127.0.0.1:{port}" for name, port in ports.items()]
    with StreamServer(authority, also=also, domains=[DOMAIN], trusted=LOOPBACK) as server:
        (worker,) = workers(server)
        with WebPhone(("127.0.0.1", ports["ws"])) as alice:
            alice.send(options(alice))
            alice.expect("200")
        before = threads(worker)
        with none_left(server), waiting(("127.0.0.1", ports["ws"]), 3), waiting(("127.0.0.1", ports["wss"]), 3):
            time.sleep(0.2)
            spent = seconds(worker)
            time.sleep(0.6)
            assert seconds(worker) - spent < 0.15
        assert threads(worker) == before
        with WebPhone(("127.0.0.1", ports["ws"])) as alice:
            alice.send(options(alice))
            alice.expect("200")
        assert "Traceback" not in server.log and "nobody is accepted" in server.log
        assert len([line for line in server.log.splitlines() if "nobody is accepted" in line]) == 1
