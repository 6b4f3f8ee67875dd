"""The store's thread: everything that waits for the disk, and nothing that decides."""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable

from fastsip.state.schema import connect

log = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], None]
Done = Callable[[Exception | None], None]


class Store:
    """Runs each piece of work in a transaction of its own, in order, in a thread with its own connection.

    `submit` never waits. When a piece is on the disk, or failed and was undone, `fileno` gets readable, and `collect`
    calls its `done` in the caller's thread. After an error that may be the connection's the file is opened anew with
    the next piece, so a store that comes back needs nobody's help.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._work: queue.SimpleQueue[tuple[Work, Done] | None] = queue.SimpleQueue()
        self._finished: deque[tuple[Done, Exception | None]] = deque()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._event

    def submit(self, work: Work, done: Done) -> None:
        self._work.put((work, done))

    def collect(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        while self._finished:
            done, error = self._finished.popleft()
            done(error)

    def close(self, timeout: float) -> bool:
        """Finish what was submitted and close the file; whether that was done within `timeout` seconds."""
        self._work.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False  # it may still write to the event
        os.close(self._event)
        return True

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            work, done = job
            error = self._commit(work)
            self._finished.append((done, error))
            os.eventfd_write(self._event, 1)
        self._disconnect()

    def _commit(self, work: Work) -> Exception | None:
        try:
            if self._connection is None:
                self._connection = connect(self._path)
            self._connection.execute("BEGIN IMMEDIATE")
            work(self._connection)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._disconnect()
            return error
        except Exception as error:  # a fault of ours: it must not end the thread, or the store would be silent for ever
            log.exception("the store's work failed")
            self._disconnect()
            return error
        return None

    def _disconnect(self) -> None:
        # Closing undoes an open transaction, and it is the one thing that helps after every kind of error.
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                log.warning("the store did not close: %s", error)
