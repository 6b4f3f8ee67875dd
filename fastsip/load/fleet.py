"""Load engines in threads: begun, watched and ended together."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from types import TracebackType

from fastsip._load import Engine

from .numbers import Numbers
from .setup import EngineSetup


class CannotRun(Exception):
    """The run cannot begin or go on; the text is for a person."""


class Fleet:
    """Some engines, each in a thread of its own, and the sockets they use."""

    def __init__(self, setups: Sequence[EngineSetup], sockets: Sequence[socket.socket] = ()) -> None:
        """Takes the sockets over. Raises CannotRun for what an engine refuses, OSError for sockets."""
        self._sockets = list(sockets)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self.engines: list[Engine] = []
        try:
            for setup in setups:
                self.engines.append(Engine(setup))
        except (ValueError, RuntimeError) as error:
            self.close()
            raise CannotRun(str(error)) from None
        except BaseException:
            self.close()
            raise
        self._threads = [threading.Thread(target=self._run, args=(engine,)) for engine in self.engines]
        self._left = len(self._threads)

    def __enter__(self) -> Fleet:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
        self.join()
        self.close()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether all of them have ended, after at most so many seconds. Raises what an engine raised."""
        over = self._ended.wait(seconds)
        if self._errors:
            raise self._errors[0]
        return over

    def idle(self) -> bool:
        """Whether all of them are, though some may stay to answer."""
        return all(engine.idle() for engine in self.engines)

    def finish(self) -> None:
        """Nothing new; they end when nothing is in flight."""
        for engine in self.engines:
            engine.finish()

    def stop(self) -> None:
        """They end at once."""
        for engine in self.engines:
            engine.stop()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def snapshot(self, histograms: bool = True) -> Numbers:
        return Numbers(engine.snapshot(histograms) for engine in self.engines)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        for sock in self._sockets:
            sock.close()

    def _run(self, engine: Engine) -> None:
        try:
            engine.run()
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._lock:
                self._left -= 1
                if not self._left:
                    self._ended.set()
