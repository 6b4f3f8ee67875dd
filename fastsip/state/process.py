"""The state process: `python -m fastsip.state.process SETUP_FD CHANNEL_FD`.

It owns the truth about bindings, users and dialogs. One thread decides everything, in one loop over ZeroMQ, the channel
to the master, and the store's answers; a second one waits for the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable

import msgspec
import zmq

from fastsip import log as logging_setup
from fastsip._control import ControlView
from fastsip._location import SegmentWriter
from fastsip.launch import Channel, StateSetup, child_channel
from fastsip.location import LocationTable
from fastsip.state import facts, recovery, schema
from fastsip.state.bindings import Bindings
from fastsip.state.dialogs import Dialogs
from fastsip.state.facts import Malformed
from fastsip.state.intake import Intake
from fastsip.state.journal import Journal
from fastsip.state.queries import Queries
from fastsip.state.store import Store
from fastsip.state.users import Configured, Conflict, Users

log = logging.getLogger("fastsip.state")

MESSAGES = 100
"""Messages taken from ZeroMQ before timers and channel get their turn."""
EXPIRE = 500
"""Addresses-of-record looked at for expiry in one turn, about 2 ms."""
SECOND = 1.0
LAST_COMMIT = 0.6
"""Seconds for the last commit when the master is gone; every child ends within one."""
STOP_COMMIT = 5.0
PR_SET_PDEATHSIG = 1


class StateProcess:
    """Everything the state process has, and its loop. `table` and `control` are attached already."""

    def __init__(
        self, setup: StateSetup, channel: Channel, table: LocationTable, tell_durable: Callable[[bool], None]
    ) -> None:
        self._channel = channel
        self._table = table
        self._incarnation = setup.incarnation
        self._path = setup.store
        self._parent = os.getppid()
        self._store: Store | None = None
        self._journal: Journal | None = None
        if setup.store != schema.MEMORY:
            self._store = Store(setup.store)
            self._journal = Journal(table, self._store, setup.store_interval / 1000, tell_durable)
        tell_durable(True)
        self._store_read = self._store is None
        self._bindings = Bindings(table, self._journal, setup.max_contacts, setup.require_store)
        self._users = Users(table, self._store, setup.realm, setup.default_domain)
        self._dialogs = Dialogs()
        self._intake = Intake(self._bindings, self._dialogs)
        self._queries = Queries(table, self._bindings, self._users, self._dialogs, self.stats)
        self._next_second = 0.0
        self._ending: float | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._bind(setup.endpoint)
        self._recover(setup.users)

    def run(self) -> int:
        """Serve until the master says stop or is gone. Returns the exit status."""
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._channel.fileno(), zmq.POLLIN)
        if self._store is not None:
            poller.register(self._store.fileno(), zmq.POLLIN)
        gc.collect()
        gc.freeze()
        _when_parent_dies(0)  # from here on the loop sees it, and commits before it ends
        self._tell({"is": "ready"})
        while self._ending is None:
            ready = dict(poller.poll(self._patience()))
            if self._channel.fileno() in ready:
                self._on_channel()
            if self._router in ready:
                self._on_messages()
            if self._store is not None:
                self._store.collect()
            self._on_time()
        self._end(self._ending)
        return 0

    def stats(self) -> dict[str, object]:
        journal = self._journal
        return {
            "incarnation": self._incarnation,
            "aors": self._bindings.aors,
            "bindings": self._bindings.bindings,
            "users": self._users.count,
            "dialogs": len(self._dialogs),
            "dialogs_dropped": self._dialogs.dropped,
            "registers_ok": self._bindings.registered,
            "registers_refused": self._bindings.refused,
            "bindings_expired": self._bindings.expired,
            "facts": self._intake.facts,
            "facts_repeated": self._intake.repeated,
            "facts_malformed": self._intake.malformed,
            "facts_gaps": self._intake.workers.gaps,
            "store": self._path,
            "durable": journal is None or journal.durable,
            "store_lag_ms": round(journal.lag(time.monotonic()) * 1000) if journal else 0,
            "store_commits": journal.writes if journal else 0,
        }

    def _bind(self, endpoint: str) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        # A worker that connects again takes its identity over at once: its old connection may not be known dead yet.
        router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        router.setsockopt(zmq.RCVHWM, 1000)
        router.setsockopt(zmq.SNDHWM, 10_000)
        router.setsockopt(zmq.MAXMSGSIZE, facts.BODY_LIMIT)
        router.bind(endpoint)
        return router

    def _recover(self, configured: Configured) -> None:
        """Take over what is there. Raises Conflict when a user is in configuration and store."""
        started = time.monotonic()
        with contextlib.ExitStack() as closing:
            connection = None
            if self._store is not None and self._journal is not None:
                try:
                    connection = closing.enter_context(contextlib.closing(schema.connect(self._path)))
                except (sqlite3.Error, OSError) as error:
                    self._journal.fail(error)
            recovery.adopt_segment(self._table, self._bindings, self._journal, connection)
            stored: set[bytes] | None = None
            if connection is not None:
                stored = self._read_store(connection)
            self._users.configure(configured, stored)
        elapsed = (time.monotonic() - started) * 1000
        log.info(
            "%d bindings of %d addresses-of-record, %d users, in %.0f ms",
            self._bindings.bindings,
            self._bindings.aors,
            self._users.count,
            elapsed,
        )

    def _read_store(self, connection: sqlite3.Connection) -> set[bytes] | None:
        assert self._journal is not None
        try:
            recovery.read_store(connection, self._table, self._bindings, self._journal)
            keys = self._users.read_store(connection)
        except (sqlite3.Error, MemoryError) as error:
            self._journal.fail(error)
            return None
        self._store_read = True
        self._journal.open = True
        return keys

    def _read_store_late(self) -> None:
        """The store could not be read when this process started: try again, and write nothing to it before."""
        assert self._journal is not None
        try:
            with contextlib.closing(schema.connect(self._path)) as connection:
                self._read_store(connection)
        except (sqlite3.Error, OSError) as error:
            log.debug("the store still fails: %s", error)

    def _patience(self) -> int:
        """Milliseconds until something is due."""
        now = time.monotonic()
        due = self._next_second
        next_expiry = self._bindings.next_expiry()
        if next_expiry is not None:
            due = min(due, now + next_expiry / 1000 - time.time())
        if self._journal is not None and (tick := self._journal.due()) is not None:
            due = min(due, tick)
        return max(0, int((due - now) * 1000) + 1) if due > now else 0

    def _on_time(self) -> None:
        now = time.monotonic()
        if self._journal is not None:
            self._journal.tick(now)
        wall = time.time_ns() // 1_000_000
        next_expiry = self._bindings.next_expiry()
        if next_expiry is not None and next_expiry <= wall:
            self._bindings.expire(wall, EXPIRE)
        if now >= self._next_second:
            self._next_second = now + SECOND
            self._table.reclaim()
            if not self._store_read:
                self._read_store_late()
            if os.getppid() != self._parent:
                self._ending = LAST_COMMIT

    def _on_messages(self) -> None:
        for _ in range(MESSAGES):
            try:
                identity, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._on_message(identity, frames)
            except Malformed as error:
                log.error("from %r: %s", identity, error)

    def _on_message(self, identity: bytes, frames: list[bytes]) -> None:
        match frames:
            case [facts.FACTS, header, body]:
                self._answer(identity, facts.ACKNOWLEDGE, self._intake.batch(header, body))
            case [facts.HELLO, header]:
                progress = self._intake.workers.hello(facts.decode_hello(header))
                self._answer(identity, facts.HELLO, facts.encode_hello(self._incarnation, progress.applied))
            case [facts.QUERY, body]:
                query = facts.decode_query(body)
                self._queries.run(
                    query,
                    lambda ok, result: self._answer(identity, facts.REPLY, facts.encode_reply(query.id, ok, result)),
                )
            case _:
                raise Malformed(f"{len(frames)} frames that begin with {frames[:1]!r}")

    def _answer(self, identity: bytes, kind: bytes, body: bytes) -> None:
        # A worker whose queue is full or who is gone loses the answer and asks again.
        with contextlib.suppress(zmq.ZMQError):
            self._router.send_multipart([identity, kind, body], zmq.NOBLOCK)

    def _on_channel(self) -> None:
        for message, fds in self._channel.receive():
            for fd in fds:
                os.close(fd)
            match message.get("do"):
                case "stop":
                    self._ending = STOP_COMMIT
                case "ping":
                    self._channel.send({"is": "pong"})
                case "reload":
                    self._reload(message.get("settings"))
                case other:
                    log.error("the master asks for %r, which is unknown here", other)
        if self._channel.closed and self._ending is None:
            log.warning("the master is gone")
            self._ending = LAST_COMMIT

    def _reload(self, settings: object) -> None:
        try:
            reload = msgspec.convert(settings, Reload)
            realm, domain = self._users.realm, self._users.default_domain
            self._users.realm, self._users.default_domain = reload.realm, reload.default_domain
            try:
                self._users.configure(reload.users)
            except Conflict:
                self._users.realm, self._users.default_domain = realm, domain
                raise
            self._bindings.max_contacts = reload.max_contacts
        except (ValueError, MemoryError) as error:
            log.error("nothing was reloaded: %s", error)
            self._tell({"is": "reloaded", "error": str(error)})
            return
        log.info("reloaded: %d users", self._users.count)
        self._tell({"is": "reloaded"})

    def _tell(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # a master that is gone is noticed where the channel is read
            self._channel.send(message)

    def _end(self, patience: float) -> None:
        self._on_messages()
        if self._journal is not None and self._store is not None:
            if not self._journal.flush(patience):
                log.error("the store does not have everything")
            self._store.close(0.2)
        self._context.destroy(linger=0 if patience == LAST_COMMIT else 200)


class Reload(msgspec.Struct, frozen=True):
    """What SIGHUP may change here."""

    users: list[tuple[str, str, str, str]]
    realm: str | None
    default_domain: str
    max_contacts: int


def attach(setup: StateSetup) -> SegmentWriter:
    """The segment's writer, waiting up to two seconds for the one before to be gone."""
    deadline = time.monotonic() + 2
    while True:
        try:
            return SegmentWriter(setup.segment_fd, setup.control_fd)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _when_parent_dies(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends; 0 for none."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def main(arguments: list[str]) -> int:
    _when_parent_dies(signal.SIGKILL)  # until it serves, nothing it has is worth keeping
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(int(arguments[0]), "rb") as pipe:
        setup = msgspec.json.decode(pipe.read(), type=StateSetup)
    channel = child_channel(int(arguments[1]))
    logging_setup.configure("state", setup.log_level, setup.log_format)
    control = ControlView(setup.control_fd)

    def tell_durable(durable: bool) -> None:
        control.durable = durable

    try:
        return StateProcess(setup, channel, attach(setup), tell_durable).run()
    except Conflict as error:
        log.error("%s", error)
        return 2


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # all is written; taking a million objects apart first would make the master wait
