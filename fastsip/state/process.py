"""The state process: `python -m fastsip.state.process SETUP_FD CHANNEL_FD`.

It owns the truth about bindings, users, services and dialogs. One thread decides everything, in one loop over ZeroMQ,
the channel to the master, and the store's answers; a second one waits for the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
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
from fastsip.state import facts
from fastsip.state.core import Core, Reload
from fastsip.state.facts import Malformed
from fastsip.state.users import Conflict

log = logging.getLogger("fastsip.state")

MESSAGES = 100
"""Messages taken from ZeroMQ before timers and channel get their turn."""
LAST_COMMIT = 0.6
"""Seconds for the last commit when the master is gone; every child ends within one."""
STOP_COMMIT = 5.0
PR_SET_PDEATHSIG = 1


class StateProcess:
    """The loop around the core. `table` is attached already."""

    def __init__(
        self,
        setup: StateSetup,
        channel: Channel,
        table: LocationTable,
        tell_durable: Callable[[bool], None],
        tell_services: Callable[[int], None],
    ) -> None:
        self._channel = channel
        self._incarnation = setup.incarnation
        self._parent = os.getppid()
        self._ending: float | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._bind(setup.endpoint)
        self._core = Core(setup, table, tell_durable, tell_services)

    def run(self) -> int:
        """Serve until the master says stop or is gone. Returns the exit status."""
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._channel.fileno(), zmq.POLLIN)
        store = self._core.fileno()
        if store is not None:
            poller.register(store, zmq.POLLIN)
        gc.collect()
        gc.freeze()
        _when_parent_dies(0)  # from here on the loop sees it, and commits before it ends
        self._tell({"is": "ready"})
        while self._ending is None:
            ready = dict(poller.poll(self._core.patience()))
            if self._channel.fileno() in ready:
                self._on_channel()
            if self._router in ready:
                self._on_messages()
            self._core.work()
            if os.getppid() != self._parent:
                self._ending = LAST_COMMIT
        self._end(self._ending)
        return 0

    def _bind(self, endpoint: str) -> zmq.Socket[bytes]:
        router = self._context.socket(zmq.ROUTER)
        # A worker that connects again takes its identity over at once: its old connection may not be known dead yet.
        router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        router.setsockopt(zmq.RCVHWM, 1000)
        router.setsockopt(zmq.SNDHWM, 10_000)
        router.setsockopt(zmq.MAXMSGSIZE, facts.BODY_LIMIT)
        router.bind(endpoint)
        return router

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
                self._answer(identity, facts.ACKNOWLEDGE, self._core.intake.batch(header, body))
            case [facts.HELLO, header]:
                progress = self._core.intake.workers.hello(facts.decode_hello(header))
                self._answer(identity, facts.HELLO, facts.encode_hello(self._incarnation, progress.applied))
            case [facts.QUERY, body]:
                query = facts.decode_query(body)
                self._core.queries.run(
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
            self._core.reload(msgspec.convert(settings, Reload))
        except (ValueError, MemoryError) as error:
            log.error("nothing was reloaded: %s", error)
            self._tell({"is": "reloaded", "error": str(error)})
            return
        self._tell({"is": "reloaded"})

    def _tell(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # a master that is gone is noticed where the channel is read
            self._channel.send(message)

    def _end(self, patience: float) -> None:
        self._on_messages()
        self._core.end(patience)
        self._context.destroy(linger=0 if patience == LAST_COMMIT else 200)


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

    def tell_services(count: int) -> None:
        control.services = count

    try:
        return StateProcess(setup, channel, attach(setup), tell_durable, tell_services).run()
    except Conflict as error:
        log.error("%s", error)
        return 2


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # all is written; taking a million objects apart first would make the master wait
