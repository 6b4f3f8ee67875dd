"""The state process killed, and its disk full: what was acknowledged stays.

1. kill -9 at any moment under load: every acknowledged registration is in the segment at once, and in the store after
   the next commit; nothing acknowledged as removed is there.
2. A store that fails: registrations go on in memory, `durable` says so, and when it comes back it gets everything.
3. With `require_store` a REGISTER is refused with 503 and Retry-After meanwhile.
"""

from __future__ import annotations

import random
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from state_harness import Server, Worker, register, wait_for

from fastsip.location import BindingSet

KILLS = 12
PHONES = 400


class Phones:
    """Phones that register, refresh and unregister at random through their worker, one REGISTER at a time each, and
    remember the last one that was answered with 200."""

    def __init__(self, seed: int, workers: list[Worker]) -> None:
        self.random = random.Random(seed)
        self.workers = workers
        self.cseq = [0] * PHONES
        self.waiting: dict[int, tuple[int, bool, int]] = {}
        self.bound: dict[int, int] = {}
        self.refused = 0
        self.token = 0

    def act(self, how_many: int) -> None:
        """Let some idle phones send something."""
        busy = {phone for phone, _, _ in self.waiting.values()}
        idle = [phone for phone in range(PHONES) if phone not in busy]
        facts: dict[int, list[Any]] = {}
        for phone in self.random.sample(idle, min(how_many, len(idle))):
            self.token += 1
            self.cseq[phone] += 1
            leaves = self.random.random() < 0.3
            contact = b"sip:phone@192.0.2.1:%d" % (phone + 1)
            fact = register(
                self.token,
                self.aor(phone),
                (contact, 0 if leaves else 3600),
                call_id=b"%d" % phone,
                cseq=self.cseq[phone],
            )
            self.waiting[self.token] = (phone, leaves, self.cseq[phone])
            facts.setdefault(phone % len(self.workers), []).append(fact)
        for worker, batch in facts.items():
            self.workers[worker].send(*batch)

    def listen(self, seconds: float) -> None:
        for worker in self.workers:
            while worker.hear(seconds):
                seconds = 0
            for token, (status, _) in worker.outcomes.items():
                phone, leaves, cseq = self.waiting.pop(token, (-1, False, 0))
                if phone < 0:
                    continue
                if status != 200:
                    self.refused += 1
                elif leaves:
                    self.bound.pop(phone, None)
                else:
                    self.bound[phone] = cseq
            worker.outcomes.clear()

    def settle(self) -> None:
        for worker in self.workers:
            worker.settle()
        self.listen(0)
        assert not self.waiting

    def aor(self, phone: int) -> bytes:
        """Phones share addresses-of-record by threes, so that one has devices on several workers."""
        return b"user%d@example.com" % (phone // 3)

    def expected(self) -> dict[tuple[bytes, bytes], int]:
        return {(self.aor(p), b"sip:phone@192.0.2.1:%d" % (p + 1)): cseq for p, cseq in self.bound.items()}


def contents(records: dict[bytes, bytes]) -> dict[tuple[bytes, bytes], int]:
    return {(aor, b.uri): b.cseq for aor, value in records.items() for b in BindingSet.decode(value).bindings}


def in_segment(server: Server) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    cursor: int | None = 0
    while cursor is not None:
        cursor, found = server.reader.scan(cursor, 1000, 1)
        records.update(found)
    return records


def in_store(server: Server) -> dict[bytes, bytes]:
    with sqlite3.connect(server.store) as connection:
        return dict(connection.execute("SELECT aor, record FROM bindings"))


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 20))])
def test_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path, seed: int) -> None:
    server = Server(tmp_path, store_interval=20)
    phones = Phones(seed, [])
    try:
        server.start()
        phones.workers = [Worker(server, index) for index in range(3)]
        for _ in range(KILLS):
            end = time.monotonic() + phones.random.uniform(0, 0.12)
            while time.monotonic() < end:
                phones.act(phones.random.choice([1, 20, 200]))
                phones.listen(0.001)
            server.kill()
            phones.listen(0)
            # Waiting REGISTERs may be applied or not; of the others the segment says exactly what was acknowledged.
            unsure = {(phones.aor(p), b"sip:phone@192.0.2.1:%d" % (p + 1)) for p, _, _ in phones.waiting.values()}
            sure = {key: cseq for key, cseq in contents(in_segment(server)).items() if key not in unsure}
            assert sure == {key: cseq for key, cseq in phones.expected().items() if key not in unsure}
            if phones.random.random() < 0.4:  # and once more while it finds out what is there
                server.start(ready=False)
                time.sleep(phones.random.uniform(0.05, 0.25))
                server.kill()
            server.start()
            for worker in phones.workers:
                worker.hello()
        phones.settle()
        assert phones.refused == 0
        assert contents(in_segment(server)) == phones.expected()
        wait_for(lambda: server.ask("stats")["store_lag_ms"] == 0)
        assert contents(in_store(server)) == phones.expected()
        assert server.stop() == 0
        server.forget_memory()
        server.start()
        assert contents(in_segment(server)) == phones.expected()
    finally:
        server.close()


@pytest.fixture(params=["tmpfs", "file size limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Callable[[Server, bool], None]]]:
    """A directory for the store, and what fills its disk or makes room again. A small tmpfs where it can be mounted;
    the file size limit of the process, which works for everybody (SQLite sees a failed write), everywhere."""
    if request.param == "tmpfs":
        directory = tmp_path / "small"
        directory.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs takes root; the file size limit is tested in its place")

        def fill(server: Server, full: bool) -> None:
            ballast = directory / "ballast"
            if full:
                with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            else:
                ballast.unlink()

        yield directory, fill
        subprocess.run(["umount", "-l", str(directory)], check=True)
    else:

        def limit(server: Server, full: bool) -> None:
            assert server.process is not None
            _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
            size = 8192 if full else hard
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))

        yield tmp_path, limit


def test_full_disk(disk: tuple[Path, Callable[[Server, bool], None]]) -> None:
    directory, fill = disk
    server = Server(directory)
    server.log = directory.parent / "log-of-full-disk"
    try:
        server.start()
        worker = Worker(server)
        assert worker.status(register(1, b"first@example.com", b"sip:a@192.0.2.1")) == 200
        wait_for(lambda: len(in_store(server)) == 1)
        fill(server, True)
        names = [b"u%d@example.com" % n for n in range(2000)]
        worker.send(*[register(10 + n, name, b"sip:a@192.0.2.1") for n, name in enumerate(names)])
        worker.settle()
        assert {status for status, _ in worker.outcomes.values()} == {200}
        wait_for(lambda: not server.control.durable)
        assert server.ask("stats")["durable"] is False
        assert server.bound(names[-1])
        assert worker.status(register(2, b"first@example.com", flags=1, cseq=2)) == 200
        try:
            server.ask("users_add", username="bob", password="x")
        except ValueError as error:
            assert "nothing changed" in str(error)
            assert server.ask("stats")["users"] == 0
        else:
            assert server.ask("stats")["users"] == 1  # a row may find room where a batch does not
        time.sleep(0.6)
        assert server.log.read_text().count("the store fails") == 1
        fill(server, False)
        wait_for(lambda: server.control.durable)
        wait_for(lambda: set(in_store(server)) == set(names))
        assert server.log.read_text().count("the store works again") == 1
        assert server.ask("stats")["store_lag_ms"] == 0
    finally:
        server.close()


def test_full_disk_with_require_store(disk: tuple[Path, Callable[[Server, bool], None]]) -> None:
    directory, fill = disk
    server = Server(directory, require_store=True)
    server.log = directory.parent / "log-of-require-store"
    try:
        server.start()
        worker = Worker(server)
        assert worker.status(register(1, b"first@example.com", b"sip:a@192.0.2.1")) == 200
        wait_for(lambda: len(in_store(server)) == 1)
        fill(server, True)
        batch = [register(10 + n, b"u%d@example.com" % n, b"sip:a@192.0.2.1") for n in range(2000)]
        worker.send(*batch)
        worker.settle()
        wait_for(lambda: not server.control.durable)
        worker.send(register(2, b"second@example.com", b"sip:a@192.0.2.1"))
        worker.settle()
        status, retry_after = worker.outcomes[2]
        assert status == 503 and 1 <= retry_after <= 60
        assert server.bound(b"second@example.com") == []
        assert server.bound(b"first@example.com")
        fill(server, False)
        wait_for(lambda: server.control.durable)
        assert worker.status(register(3, b"second@example.com", b"sip:a@192.0.2.1")) == 200
    finally:
        server.close()


def test_store_that_cannot_be_opened_at_first(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        server.start()
        worker = Worker(server)
        assert worker.status(register(1, b"old@example.com", b"sip:a@192.0.2.1")) == 200
        assert server.stop() == 0
        server.forget_memory()
        store = Path(server.store)
        # With what a busy machine had no time to fold into it.
        moved = {path: path.rename(tmp_path / f"elsewhere{path.suffix}") for path in tmp_path.glob("fastsip.db*")}
        store.mkdir()
        server.start()
        assert not server.control.durable
        assert worker.status(register(2, b"new@example.com", b"sip:a@192.0.2.1")) == 200
        assert server.bound(b"old@example.com") == []
        store.rmdir()
        for path in sorted(moved, reverse=True):
            moved[path].rename(path)
        wait_for(lambda: server.control.durable)
        assert server.bound(b"old@example.com") and server.bound(b"new@example.com")
        wait_for(lambda: len(in_store(server)) == 2)
    finally:
        server.close()


def test_store_of_another_schema_is_left_alone(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        server.start()
        assert server.stop() == 0
        with sqlite3.connect(server.store) as connection:
            connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
        server.start()
        assert not server.control.durable
        assert Worker(server).status(register(1, b"new@example.com", b"sip:a@192.0.2.1")) == 200
        assert "schema 99" in server.log.read_text()
        assert server.stop() == 0
        assert in_store(server) == {}
    finally:
        server.close()
