"""One child process: started with its setup and its channel, watched, ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

import fastsip
from fastsip.launch import Channel, StateSetup, WorkerSetup

from .problems import CannotStart

log = logging.getLogger(__name__)

SEND_TIMEOUT = 2.0
"""Seconds a child may leave its channel full before it counts as hung."""


class Child:
    """A running child. The exec'd interpreter inherits exactly the descriptors named, and nothing else.

    The setup travels in a memfd instead of a pipe: a million users do not fit a pipe, and the master must not wait for
    a child that has not begun to read. The child is in its own session, so that Ctrl-C reaches the master alone.
    """

    def __init__(self, name: str, module: str, setup: WorkerSetup | StateSetup, fds: Iterable[int]) -> None:
        """Start `python -m module SETUP_FD CHANNEL_FD`. Raises CannotStart if the system refuses."""
        self.name = name
        self.started = time.monotonic()
        self.incarnation = setup.incarnation
        self.ready = False
        self.told_to_end = False
        self.silent_since = self.started
        """When it was last heard of, or its channel was found closed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        setup_fd = os.memfd_create("fastsip-setup", os.MFD_CLOEXEC)
        try:
            with open(setup_fd, "wb", closefd=False) as file:
                file.write(msgspec.json.encode(setup))
            os.lseek(setup_fd, 0, os.SEEK_SET)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(setup_fd), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[*fds, setup_fd, theirs.fileno()],
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise CannotStart(f"cannot start {name}: {error.strerror}") from None
        finally:
            os.close(setup_fd)
            theirs.close()
        ours.settimeout(SEND_TIMEOUT)
        self.channel = Channel(ours)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    def send(self, message: dict[str, object], fds: list[int] | None = None) -> bool:
        """Send on the channel; a child that is gone or does not read is killed, and replaced when that is noticed."""
        try:
            self.channel.send(message, fds)
        except TimeoutError:
            self.kill("does not read its channel")
            return False
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Ask it to end, which is then no surprise."""
        self.told_to_end = True
        self.send({"do": "stop"})

    def kill(self, reason: str) -> None:
        log.error("%s (pid %d) %s: killed", self.name, self.pid, reason)
        self.end()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)

    def exit_text(self) -> str:
        """How it ended, for a log line."""
        code = self.process.returncode
        if code is None:
            return "still runs"
        if code < 0:
            try:
                return f"was ended by {signal.Signals(-code).name}"
            except ValueError:
                return f"was ended by signal {-code}"
        return f"ended with status {code}"


def _environment() -> dict[str, str]:
    """Ours, and the place this very package was imported from first in the child's search path."""
    package = str(Path(fastsip.__file__).resolve().parent.parent)
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
