"""`fastsip.Proxy`: a whole server inside another program's process, without a master and without children.

Two threads: the engine, which never takes the GIL, and one that does what state process and service thread do
elsewhere. Nothing of the program's is touched: no signals, no fork, no logging set up, nothing global, so there may be
several. A death of the process loses what a death of all processes of a server loses: nothing that is in the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from fastsip._location import SegmentWriter
from fastsip.admin.gateways import describe
from fastsip.config import MEMORY, Configuration, load_embedded
from fastsip.errors import UsageError
from fastsip.process.deciding import Deciding
from fastsip.process.engine import RunningEngine
from fastsip.process.keys import Store
from fastsip.process.listeners import Listeners
from fastsip.process.problems import CannotStart
from fastsip.process.setups import state_setup, worker_setup
from fastsip.process.shared import Shared
from fastsip.state.core import Core
from fastsip.state.facts import Batch, Query
from fastsip.state.schema import read_keys
from fastsip.state.users import Conflict
from fastsip.version import __version__

log = logging.getLogger(__name__)

T = TypeVar("T")

IDLE = 200
"""Milliseconds between looks at facts nobody waits for (dialogs)."""
DRAINING = 20
STORE_PATIENCE = 5.0
"""Seconds for the last commit."""
ANSWER = 5.0
"""Seconds to wait for the service thread, whose longest turn reads a store that was away."""


class Proxy:
    """A SIP proxy, registrar and redirect server in this process. One engine thread serves all listen addresses.

        with fastsip.Proxy(server={"listen": ["udp:127.0.0.1:0"], "domains": ["example.com"]}) as proxy:
            print(proxy.addresses, proxy.contacts("bob@example.com"))

    `async with` does the same without holding up the event loop. A Proxy may be started again after it was stopped. All
    methods may be called from any thread.
    """

    def __init__(self, configuration: Mapping[str, Any] | str | os.PathLike[str] | None = None, **tables: Any) -> None:
        """The configuration is what `fastsip serve --config` reads: a path, or a dictionary of its tables, or nothing;
        keyword arguments are tables laid over it. Without a `state` table a dictionary keeps nothing. `server.workers`,
        `server.control` and `log` mean nothing here.

        Raises ConfigurationError with everything that is wrong, TypeError if it is neither path nor dictionary.
        """
        if configuration is not None and not isinstance(configuration, str | os.PathLike | Mapping):
            raise TypeError(f"a configuration is a path or a dictionary of tables, not {type(configuration).__name__}")
        path = Path(configuration) if isinstance(configuration, str | os.PathLike) else None
        data = configuration if isinstance(configuration, Mapping) else {}
        self._configuration = load_embedded(path, data, tables)
        for problem in self._configuration.warnings:
            log.warning("%s", problem)
        self._running: _Running | None = None
        self._lock = threading.Lock()
        self._finalizer: weakref.finalize[..., Any] | None = None

    def start(self) -> None:
        """Bind the addresses and serve. Raises CannotStart, and nothing has changed, if an address or the store cannot
        be had; UsageError if it serves already."""
        with self._lock:
            if self._running is not None:
                raise UsageError("this Proxy serves already")
            running = _Running(self._configuration)
            self._running = running
            # A Proxy that is forgotten, or alive when the interpreter ends, must not leave a thread in freed memory.
            self._finalizer = weakref.finalize(self, running.stop, 0.0)

    def stop(self, drain: float | None = None) -> None:
        """Refuse new dialogs, let what is open finish for `drain` seconds (default: `server.drain_timeout`), write what
        the store has not, and give everything back. Nothing happens if it does not serve."""
        with self._lock:
            running, self._running = self._running, None
            if running is None:
                return
            assert self._finalizer is not None
            self._finalizer.detach()
            running.stop(self._configuration.tables.server.drain_timeout if drain is None else drain)

    @property
    def serving(self) -> bool:
        return self._running is not None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listen address, with the port the kernel chose for port 0."""
        return [(listen.host, listen.port) for listen in self._alive().listeners.bound]

    def stats(self) -> dict[str, Any]:
        """Counters of the engine (`total`), what the state says of itself (`state`), and `gateways`; names as in
        `ctl stats`."""
        return self._alive().stats()

    def contacts(self, aor: str | None = None) -> list[dict[str, Any]]:
        """The bindings, of one address-of-record or of all; keys as in `ctl contacts --json`."""
        if aor is not None and not isinstance(aor, str):
            raise TypeError(f"an address-of-record is a string, not {type(aor).__name__}")
        return self._alive().contacts(aor)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def __repr__(self) -> str:
        where = ", ".join(map(str, self._running.listeners.bound)) if self._running else "stopped"
        return f"<fastsip.Proxy {where}>"

    def _alive(self) -> _Running:
        running = self._running
        if running is None:
            raise UsageError("this Proxy does not serve: start it, or use it in a with statement")
        return running


class _Running:
    """All that one start makes and one stop gives back."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises CannotStart, everything undone."""
        self.started = time.time()
        self._gateways = [(name, str(gateway.uri)) for name, gateway in configuration.tables.gateways.items()]
        self._pid = os.getpid()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._gate = threading.Lock()
        self._over = False
        self._drain: float | None = None
        self._sequence = 1
        with contextlib.ExitStack() as undo:
            self._build(configuration, undo.callback)
            self._cleanup = undo.pop_all()
        self.engine.start()
        self.deciding.start()
        self._thread = threading.Thread(target=self._serve, name="fastsip service", daemon=True)
        self._thread.start()
        log.info("fastsip %s serving on %s", __version__, ", ".join(map(str, self.listeners.bound)))

    def _build(self, configuration: Configuration, defer: Callable[..., Any]) -> None:
        self.listeners = Listeners(configuration.tables.server.listen, 1)
        defer(self.listeners.close)
        keys = read_keys(MEMORY)
        if configuration.store != MEMORY:
            store = Store(configuration.store)
            defer(store.close)
            keys = store.keys()
        self.shared = Shared(1, keys)
        defer(self.shared.close)
        incarnation = time.time_ns() // 1_000_000 & 0x7FFFFFFF
        self.shared.control.set_incarnation(0, incarnation)
        table = SegmentWriter(self.shared.segment_fd, self.shared.control_fd)
        defer(table.close)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        defer(os.close, self._wake)
        try:
            state = state_setup(configuration, self.shared, "", incarnation)
            self.core = Core(state, table, self._tell_durable, self._tell_services)
            defer(self.core.end, STORE_PATIENCE)
            setup = worker_setup(configuration, self.listeners, self.shared, "", 0, incarnation)
            self.engine = RunningEngine(setup)
            defer(self.engine.end)
            self.deciding = Deciding(setup, self.engine.worker)
            defer(self.deciding.end)
        except (Conflict, OSError, RuntimeError) as error:
            raise CannotStart(str(error)) from error
        self._incarnation = incarnation

    def _tell_durable(self, durable: bool) -> None:
        self.shared.control.durable = durable

    def _tell_services(self, count: int) -> None:
        self.shared.control.services = count

    # Asked from any thread.

    def stats(self) -> dict[str, Any]:
        control = self.shared.control
        return {
            "version": __version__,
            "pid": self._pid,
            "started": round(self.started * 1000),
            "listen": [str(listen) for listen in self.listeners.bound],
            "draining": self._drain is not None,
            "durable": control.durable,
            "total": control.counters(0),
            "state": self._call(self.core.stats),
            "gateways": describe(self.shared.targets, self._gateways),
        }

    def contacts(self, aor: str | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: int | None = 0
        while cursor is not None:
            page = self._call(partial(self._query, "contacts", {"cursor": cursor, "limit": 500, "aor": aor}))
            found += page["contacts"]
            cursor = page["next"]
        return found

    def stop(self, drain: float) -> None:
        if os.getpid() != self._pid:
            return  # a forked child has a copy of this object, and neither the threads nor a right to the sockets
        self._drain = drain
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._cleanup.close()
        log.info("fastsip stopped")

    def _call(self, work: Callable[[], T]) -> T:
        if os.getpid() != self._pid:
            raise UsageError("this Proxy serves in the process that started it, not in one forked from there")
        future: Future[T] = Future()
        with self._gate:
            if self._over:
                raise UsageError("this Proxy was stopped")
            self._calls.append((work, future))
            os.eventfd_write(self._wake, 1)
        return future.result(ANSWER)

    # The service thread.

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self.engine.worker.wake_fd, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        if not self.deciding.begun:
            poller.register(self.engine.worker.policy_fd, select.POLLIN)
        poller.register(self.engine.worker.names_fd, select.POLLIN)
        store = self.core.fileno()
        if store is not None:
            poller.register(store, select.POLLIN)
        draining = False
        while True:
            events = dict(poller.poll(min(DRAINING if draining else IDLE, self.core.patience())))
            if self.engine.worker.policy_fd in events:
                self.deciding.asked()
                if self.deciding.begun:
                    poller.unregister(self.engine.worker.policy_fd)
            if self.engine.worker.names_fd in events:
                self.deciding.naming.asked()
                if self.deciding.naming.begun:
                    poller.unregister(self.engine.worker.names_fd)
            self.deciding.tend()
            for fd in (self.engine.worker.wake_fd, self._wake):
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(fd)
            try:
                self._take_facts()
                self.core.work()
            except Exception:
                log.exception("the state's turn failed")  # registrations wait; calls go on without this thread
                time.sleep(DRAINING / 1000)
            self._answer_calls()
            if self._drain is not None and not draining:
                draining = True
                self.engine.drain(self._drain)
            if draining and self.engine.drained():
                self._take_facts()
                with self._gate:
                    self._over = True
                self._answer_calls()
                return

    def _take_facts(self) -> None:
        worker = self.engine.worker
        self.engine.log_remarks()
        while True:
            count, body = worker.take_facts()
            if not count:
                return
            first = self._sequence
            self._sequence += count
            _, outcomes = self.core.intake.apply(Batch(0, self._incarnation, first, count, first), body)
            worker.acknowledged(count)
            if outcomes:
                worker.give_results(outcomes)

    def _answer_calls(self) -> None:
        while self._calls:
            work, future = self._calls.popleft()
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

    def _query(self, command: str, arguments: dict[str, Any]) -> Any:
        answers: list[tuple[bool, Any]] = []
        self.core.queries.run(Query(0, command, arguments), lambda ok, result: answers.append((ok, result)))
        ((ok, result),) = answers
        if not ok:
            raise ValueError(result["error"])
        return result
