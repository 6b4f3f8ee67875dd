"""A worker process: `python -m fastsip.process.worker SETUP_FD CHANNEL_FD`.

The hot thread serves SIP in compiled code and never takes the GIL. This module is the other thread: it carries facts to
the state process and results back, follows the master's orders, and ends the process when the master is gone.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import sys
import time

import msgspec
import zmq

from fastsip import log
from fastsip.descriptors import need
from fastsip.launch import Channel, ListenerSetup, PolicySetup, Settings, TlsSetup, WorkerSetup, child_channel
from fastsip.process.deciding import Deciding
from fastsip.process.engine import RunningEngine
from fastsip.process.facts import FactLine
from fastsip.process.orphan import end_with_parent

logger = logging.getLogger("fastsip.worker")

PACE = 0.020
"""Seconds between two batches of facts while REGISTERs come: the first one goes at once, those that follow share the
cost of a batch, which is some ten wake-ups of six threads. A phone that waits this long for its 200 loses nothing: it
would ask again after half a second (RFC 3261 17.1.2.2)."""
IDLE = 0.25
"""Seconds between two looks at facts nobody waits for (dialogs)."""
SPARE = 16
"""Descriptors that have to be free before a reload is followed: files are read, threads may begin."""
DRAINING = 0.05
"""Seconds between two looks at what is still open while the worker drains."""


class ServiceLoop:
    """The service thread of one worker."""

    def __init__(self, setup: WorkerSetup, channel: Channel) -> None:
        self.setup = setup
        self.channel = channel
        self.hot = RunningEngine(setup)
        self.engine = self.hot.worker
        self.line = FactLine(zmq.Context.instance(), setup.state_endpoint, setup.index, setup.incarnation)
        self.poller = zmq.Poller()
        self.poller.register(self.line.socket, zmq.POLLIN)
        self.poller.register(self.engine.wake_fd, zmq.POLLIN)
        self.poller.register(channel.fileno(), zmq.POLLIN)
        self.deciding = Deciding(setup, self.engine)
        self.poller.register(self.deciding.news_fd, zmq.POLLIN)
        self.poller.register(self.engine.policy_fd, zmq.POLLIN)
        self.poller.register(self.engine.names_fd, zmq.POLLIN)
        self.settings = setup.settings
        self.running = True
        self.draining = False
        self.told = 0.0

    def run(self) -> None:
        """Serve until told to stop or the master is gone."""
        self.hot.start()
        self.deciding.start()
        self.channel.send({"is": "ready"})
        look_at = 0.0
        listening = True
        while self.running:
            patience = min(look_at - time.monotonic(), self.line.patience, self.deciding.patience)
            if self.draining:
                patience = min(patience, DRAINING)
            events = dict(self.poller.poll(max(0, math.ceil(1000 * patience))))
            now = time.monotonic()
            if self.line.socket in events:
                self._heard()
            if self.engine.wake_fd in events:
                os.eventfd_read(self.engine.wake_fd)
                self.engine.hush()
                listening = False
                self._tell()
                look_at = now + PACE
            elif now >= look_at:
                if not listening:
                    listening = self.engine.listen()
                if listening and now - self.told < IDLE:
                    look_at = self.told + IDLE
                else:
                    if not listening:
                        self.engine.hush()
                    self._tell()
                    look_at = now + (IDLE if listening else PACE)
            self.line.tick()
            if self.channel.fileno() in events:
                self._orders()
            if self.engine.policy_fd in events:
                self.deciding.asked()
            if self.engine.names_fd in events:
                self.deciding.naming.asked()
            self.deciding.tend()
            if self.deciding.begun and self.engine.policy_fd in self.poller:
                self.poller.unregister(self.engine.policy_fd)
            if self.deciding.naming.begun and self.engine.names_fd in self.poller:
                self.poller.unregister(self.engine.names_fd)
            if self.deciding.news_fd in events:
                self._followed()
            if self.draining and self.hot.drained():
                self.draining = False
                self.channel.send({"is": "drained"})
        self.deciding.end()
        self.hot.end()
        self.line.close()

    def _tell(self) -> None:
        self.told = time.monotonic()
        self.hot.log_remarks()
        while True:
            count, facts = self.engine.take_facts()
            if not count:
                return
            self.line.send(count, facts)

    def _heard(self) -> None:
        results = self.line.receive()
        acknowledged = self.line.take_acknowledged()
        if acknowledged:
            self.engine.acknowledged(acknowledged)
        if results:
            self.engine.give_results(results)

    def _followed(self) -> None:
        for what, problem in self.deciding.news():
            self.channel.send({"is": what, "error": problem} if problem else {"is": what})

    def _orders(self) -> None:
        for message, fds in self.channel.receive():
            order = message.get("do")
            if order == "stop":
                self.running = False
            elif order == "reload":
                self._reload(message)
            elif order == "drain":
                self.hot.drain(self.settings.drain_timeout / 1000)
                self.draining = True
            elif order == "adopt":
                self._adopt(message, fds)
            elif order == "release":
                self.engine.release(msgspec.convert(message["worker"], int))
        if self.channel.closed:
            self.running = False

    def _reload(self, message: dict[str, object]) -> None:
        try:
            need(SPARE)
        except OSError as error:  # half of it would be followed: the master will say so again
            self.channel.send({"is": "reloaded", "error": f"it has to wait: {error.strerror}"})
            return
        self.settings = msgspec.convert(message["settings"], Settings)
        policy = msgspec.convert(message["policy"], PolicySetup)
        self.deciding.naming.follow(policy.dns)  # first: the hot thread forgets names when it follows
        self.engine.reload(self.settings)
        tls = msgspec.convert(message["tls"], TlsSetup | None)
        try:
            self.engine.renew(tls)
        except (OSError, ValueError) as error:
            logger.error("the former certificates stay: %s", error)
        self.deciding.follow(policy, self.settings, tls)

    def _adopt(self, message: dict[str, object], fds: list[int]) -> None:
        listeners = msgspec.convert(message["listeners"], list[ListenerSetup])
        if len(fds) < len(listeners):  # those there was no room for are lost (MSG_CTRUNC)
            logger.error("%d of %d sockets of a neighbour cannot be had", len(listeners) - len(fds), len(listeners))
            for fd in fds:
                os.close(fd)
            return
        for listener, fd in zip(listeners, fds, strict=True):
            self.engine.adopt(msgspec.convert(message["worker"], int), msgspec.structs.replace(listener, fd=fd))


def main(setup_fd: int, channel_fd: int) -> int:
    """Run one worker from its inherited descriptors; the exit code."""
    end_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(setup_fd, "rb") as pipe:
        setup = msgspec.json.decode(pipe.read(), type=WorkerSetup)
    log.configure(f"worker{setup.index}", setup.log_level, setup.log_format)
    channel = child_channel(channel_fd)
    try:
        loop = ServiceLoop(setup, channel)
    except (OSError, RuntimeError, ValueError) as error:
        logger.error("worker %d cannot start: %s", setup.index, error)
        return 1
    gc.freeze()
    try:
        loop.run()
    except (BrokenPipeError, ConnectionError):
        return 0  # the master is gone
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
