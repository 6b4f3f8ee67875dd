"""The master: everything a server owns is made here once and outlives its children. It knows no SIP.

One thread runs `_turn`: it waits for children, signals and requests of the control socket, and does one small thing for
each. Nothing in it blocks on a child. Other threads (control socket, reading a configuration again) hand over work with
`call`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import selectors
import shutil
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from fastsip import log as logging_setup
from fastsip.admin import statistics
from fastsip.admin.gateways import describe
from fastsip.admin.paths import base_directory, control_path
from fastsip.admin.server import ControlServer, SocketTaken
from fastsip.config import MEMORY, Configuration, ConfigurationError, Overrides, load
from fastsip.config import setup as conversion
from fastsip.state.schema import read_keys
from fastsip.version import __version__

from . import runtime
from .children import Child
from .keys import Store
from .listeners import Listeners
from .problems import CannotStart
from .reload import Reload, log_reload
from .setups import state_setup, worker_setup
from .shared import Shared
from .statekeeper import StateKeeper
from .steering import steer
from .workers import Workers

log = logging.getLogger(__name__)

TICK = 0.25
STATE_START_LIMIT = 300.0
"""Seconds: a store with millions of registrations takes a while to read."""
DEAF_LIMIT = 2.0
"""Seconds a child may outlive its end of the channel."""
STOP_LIMIT = 7.0
"""Seconds the state process has to write what it holds."""
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def raise_descriptors() -> None:
    """Let this process and its children have as many descriptors as they may: every connection is one, and the usual
    limit is 1,024."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Master:
    """One server. `run` returns its exit code."""

    def __init__(self, configuration: Configuration, overrides: Overrides | None = None) -> None:
        self.configuration = configuration
        self.overrides = overrides or Overrides()
        self.started = time.time()
        self.serving = False
        self.workers: Workers
        self.state: StateKeeper
        self._ending = 0
        self._drain_deadline = 0.0
        self._reload: Reload | None = None
        self._reload_later = False
        self._last_turn = time.monotonic()
        self._forgive_until = 0.0
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._cleanup = contextlib.ExitStack()

    def run(self) -> int:
        """Serve until told to end. Raises CannotStart, everything undone, if it could not begin."""
        logging_setup.configure("master", self.configuration.tables.log.level, self.configuration.tables.log.format)
        self._warn(self.configuration)
        with self._cleanup:
            self._prepare()
            if self._start_children():
                self._announce()
                while not self._over():
                    self._turn()
            return self._end()

    # Beginning

    def _prepare(self) -> None:
        """Make everything that lives as long as the server; nothing here depends on a child."""
        tables = self.configuration.tables
        defer = self._cleanup.callback
        self._install_signals()
        raise_descriptors()
        self.listeners = Listeners(tables.server.listen, tables.server.workers)
        defer(self.listeners.close)
        store_fds: list[int] = []
        keys = read_keys(MEMORY)
        if self.configuration.store != MEMORY:
            store = Store(self.configuration.store)
            defer(store.close)
            keys = store.keys()
            store_fds = [store.lock_fd]
        self.shared = Shared(tables.server.workers, keys)
        defer(self.shared.close)
        owner_key = self.shared.control.keys[:16]
        self.steering = steer(*self.listeners.datagrams, owner_key, tables.server.steering)
        try:
            self.control_server = ControlServer(control_path(self.configuration), self)
            defer(self.control_server.close)
            directory = runtime.private_directory()
            crash_directory = (
                base_directory() if self.configuration.store == MEMORY else Path(self.configuration.store).parent
            )
        except SocketTaken as taken:
            raise CannotStart(str(taken)) from None
        except OSError as error:
            raise CannotStart(f"no place for the control socket: {error}") from None
        defer(shutil.rmtree, directory, ignore_errors=True)
        self.endpoint = f"ipc://{directory}/state"
        self.state = StateKeeper(
            lambda incarnation: state_setup(self.configuration, self.shared, self.endpoint, incarnation),
            [self.shared.control_fd, self.shared.segment_fd, self.shared.targets_fd, *store_fds],
            self._watch,
            self._state_follows,
        )
        self.workers = Workers(
            self.shared,
            self.listeners,
            lambda index, incarnation: worker_setup(
                self.configuration, self.listeners, self.shared, self.endpoint, index, incarnation
            ),
            crash_directory,
            self._watch,
            self._worker_follows,
        )
        defer(self._kill_children)

    def _start_children(self) -> bool:
        """State first: a worker must find every registration when its first datagram comes. False if told to end."""
        self.state.start()
        if not self._await("the state process", lambda: self.state.ready, STATE_START_LIMIT):
            return False
        for index in range(self.workers.count):
            self.workers.start(index)
        return self._await("the workers", lambda: self.workers.all_ready, 60.0)

    def _await(self, what: str, condition: Callable[[], bool], limit: float) -> bool:
        deadline = time.monotonic() + limit
        while not condition():
            self._turn()
            if self._ending:
                return False
            if time.monotonic() > deadline:
                raise CannotStart(f"{what} did not get ready in {limit:g} s")
        return True

    def _announce(self) -> None:
        self.serving = True
        self.control_server.start()
        addresses = ", ".join(map(str, self.listeners.bound))
        workers = f"{self.workers.count} worker{'s' if self.workers.count != 1 else ''}"
        with contextlib.suppress(OSError):
            print(f"fastsip {__version__} serving on {addresses} with {workers}", flush=True)

        if self._reload_later:
            self._hang_up()

    # One turn

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK):
            key.data()
        self._reap()
        now = time.monotonic()
        # A machine that slept, or a master that was stopped, must not take its children for hung.
        if now - self._last_turn > 4 * TICK:
            self._forgive_until = now + 2.0
        self._last_turn = now
        forgive = now < self._forgive_until
        self.workers.tick(now, forgive)
        self.state.tick(now, busy=forgive or (self._reload is not None and not self._reload.late))
        for child in self._children():
            if child.channel.closed and now - child.silent_since > DEAF_LIMIT:
                child.kill("closed its channel and goes on")
        if self._reload is not None and self._reload.expired():
            self._reload = None

    def _over(self) -> bool:
        if not self._ending:
            return False
        return self._ending > 1 or self.workers.finished or time.monotonic() > self._drain_deadline

    def _reap(self) -> None:
        state = self.state.child
        if state is not None and state.process.poll() is not None:
            self._unwatch(state)
            self.state.died(state)
        for index, child in enumerate(self.workers.children):
            if child is not None and child.process.poll() is not None:
                self._unwatch(child)
                if not self.serving and not child.ready and not self._ending:
                    raise CannotStart(f"{child.name} {child.exit_text()} before it served; see above")
                self.workers.died(index)
                if self._reload is not None:
                    self._reload.answered(child.name)

    # Children

    def _children(self) -> list[Child]:
        return [*self.workers.alive(), *([self.state.child] if self.state.child else [])]

    def _state_follows(self, refusal: str | None) -> None:
        if self._reload is not None:
            self._reload.state_answered(refusal)

    def _worker_follows(self, index: int, error: str, begins: bool) -> None:
        if self._reload is not None:
            self._reload.answered(f"worker {index}", error)
        elif not begins:
            log.info("worker %d %s", index, f"does not follow the configuration yet: {error}" if error else "follows")

    def _watch(self, child: Child, received: Callable[[dict[str, object]], None]) -> None:
        def readable() -> None:
            try:
                child.silent_since = time.monotonic()
                for message, fds in child.channel.receive():
                    for fd in fds:
                        os.close(fd)
                    received(message)
            except (msgspec.DecodeError, TimeoutError):
                child.kill("says nonsense on its channel")
            if child.channel.closed:
                self._selector.unregister(child.channel)

        self._selector.register(child.channel, selectors.EVENT_READ, readable)

    def _unwatch(self, child: Child) -> None:
        if not child.channel.closed:
            self._selector.unregister(child.channel)
        child.channel.close()

    # Signals and requests

    def _install_signals(self) -> None:
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        before = signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        self._cleanup.callback(signal.set_wakeup_fd, before)
        for number in (*ENDING, signal.SIGHUP, signal.SIGCHLD):
            self._cleanup.callback(signal.signal, number, signal.signal(number, lambda *_: None))
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._woken)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wake_reader.recv(4096):
                if number in ENDING:
                    self.drain()
                elif number == signal.SIGHUP:
                    self._hang_up()
        while self._calls:
            work, future = self._calls.popleft()
            try:
                future.set_result(work())
            except Exception as error:  # whatever it is belongs to the thread that asked
                future.set_exception(error)

    def _hang_up(self) -> None:
        """SIGHUP. While the children are starting it waits for them."""
        if self.serving:
            self.reload().add_done_callback(lambda future: log_reload(future.result()))
        else:
            self._reload_later = True

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Have the master's thread do something; for other threads."""
        future: Future[Any] = Future()
        self._calls.append((work, future))
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"\0")
        return future

    def drain(self) -> None:
        """SIGTERM: no new dialogs, finish what is open, end with 0; the second time end at once."""
        self._ending += 1
        if self._ending == 1 and self.serving:
            seconds = self.configuration.tables.server.drain_timeout
            log.info("draining: at most %g s", seconds)
            self._drain_deadline = time.monotonic() + seconds + 1
            self.workers.drain()

    def drain_once(self) -> None:
        """`ctl drain`: as the first SIGTERM, however often it is asked for; only a signal ends a server at once."""
        if not self._ending:
            self.drain()

    def statistics(self) -> dict[str, Any]:
        """What `ctl stats` says, without the state process's part; see `fastsip.admin.statistics`."""
        workers = []
        for index, child in enumerate(self.workers.children):
            workers.append(
                {
                    "worker": index,
                    "pid": child.pid if child else None,
                    "incarnation": self.shared.control.incarnation(index),
                    "serving": bool(child and child.ready),
                    "taken_over_by": self.workers.adopted_by.get(index),
                    "behind": self.workers.following.behind(index),
                    "counters": self.shared.control.counters(index),
                }
            )
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": round(self.started * 1000),
            "listen": [str(listen) for listen in self.listeners.bound],
            "steering": self.steering,
            "draining": self.shared.control.draining,
            "durable": self.shared.control.durable,
            "workers": workers,
            "total": statistics.total(map(self.shared.control.counters, range(self.workers.count))),
            "gateways": self.gateways(),
            "restarts": {"workers": self.workers.replaced, "state": self.state.restarts},
        }

    def gateways(self) -> list[dict[str, Any]]:
        """What `ctl gateways` says."""
        named = self.configuration.tables.gateways.items()
        return describe(self.shared.targets, [(name, str(gateway.uri)) for name, gateway in named])

    def reload(self) -> Future[dict[str, Any]]:
        """SIGHUP: read the configuration again and follow it; the result says whether and what not.

        Keys: ok, and where it is false, errors (a list of texts).
        """
        answer: Future[dict[str, Any]] = Future()

        def read() -> None:
            # Not in the master's thread: a million users take seconds to hash.
            try:
                wanted = load(self.configuration.path, self.overrides)
                self.call(lambda: self._apply(wanted, answer)).result()
            except ConfigurationError as error:
                answer.set_result({"ok": False, "errors": [str(problem) for problem in error.problems]})
            except Exception as error:
                log.exception("reload")
                answer.set_result({"ok": False, "errors": [f"{type(error).__name__}: {error}"]})

        threading.Thread(target=read, name="reload", daemon=True).start()
        return answer

    def _apply(self, wanted: Configuration, answer: Future[dict[str, Any]]) -> None:
        changed = conversion.needs_restart(self.configuration, wanted)
        if changed:
            errors = [f"{key} changed: that needs a restart, nothing was changed now" for key in changed]
            answer.set_result({"ok": False, "errors": errors})
        elif self._reload is not None or self._ending:
            answer.set_result(
                {"ok": False, "errors": ["the server is ending" if self._ending else "a reload is under way"]}
            )
        else:
            self._warn(wanted)
            self._reload = Reload(self, wanted, answer)

    def _warn(self, configuration: Configuration) -> None:
        for problem in configuration.warnings:
            log.warning("%s", problem)

    # Ending

    def _end(self) -> int:
        """Stop the workers, then the state process, which writes what it holds. 0, or 1 if it was cut short."""
        self.serving = False
        self.workers.draining = True
        at_once = self._ending > 1
        if not at_once:
            for child in self.workers.alive():
                child.stop()
            self._wait_until(lambda: not self.workers.alive(), 1.0)
            for child in self.workers.alive():
                child.end()
            self.state.stop()
            self._wait_until(lambda: self.state.child is None, STOP_LIMIT)
            if self.state.child is not None and self._ending < 2:
                log.error("state did not end in %g s: killed", STOP_LIMIT)
        return 1 if self._ending > 1 else 0

    def _wait_until(self, condition: Callable[[], bool], limit: float) -> None:
        deadline = time.monotonic() + limit
        while not condition() and time.monotonic() < deadline and self._ending < 2:
            self._turn()

    def _kill_children(self) -> None:
        for child in self._children():
            child.end()
            child.process.wait()
            child.channel.close()
