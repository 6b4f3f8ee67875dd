"""The control socket's side in the master: a thread that accepts, and one for each connection."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import struct
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import msgspec
import orjson

from .paths import SOCKET_PATH_LIMIT
from .questions import Questions, Refused

log = logging.getLogger(__name__)

CONNECTIONS = 32
LINE_LIMIT = 1 << 20
STATE_PATIENCE = 2.0
"""Seconds `stats` waits for the state process before it says what it knows without."""
LISTINGS = {"contacts": "contacts", "users": "users", "services": "services", "dialogs": "dialogs"}
CHANGES = frozenset(("users_add", "users_remove", "services_set", "services_unset", "services_replace"))


class Backend(Protocol):
    """What the control socket needs of the master. `call` is for other threads than the master's."""

    @property
    def endpoint(self) -> str: ...
    def statistics(self) -> dict[str, Any]: ...
    def gateways(self) -> list[dict[str, Any]]: ...
    def reload(self) -> Future[dict[str, Any]]: ...
    def drain_once(self) -> None: ...
    def call(self, work: Any) -> Future[Any]: ...


class SocketTaken(Exception):
    """The control socket cannot be had; the text says why."""


class ControlServer:
    """The socket, bound from the start so that a second server of the same configuration notices at once."""

    def __init__(self, path: Path, backend: Backend) -> None:
        """Bind `path`, in place of one that a killed server left. Raises SocketTaken."""
        self.path = path
        self._backend = backend
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._socket = _bound(path)
        self._inode = path.lstat().st_ino

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def close(self) -> None:
        """Answer nobody any more, and take the name away unless it is another's by now."""
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            self._slots.acquire()
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), name="control", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        questions = Questions(self._backend.endpoint)
        try:
            with connection, connection.makefile("rb") as requests:
                while line := requests.readline(LINE_LIMIT):
                    self._answer(connection, questions, line)
        except OSError:
            pass  # whoever asked is gone
        except Exception:
            log.exception("a request on the control socket failed")
        finally:
            questions.close()
            self._slots.release()

    def _answer(self, connection: socket.socket, questions: Questions, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
            result = self._do(connection, questions, str(request.pop("do", "")), request)
        except msgspec.MsgspecError:
            _send(connection, {"ok": False, "error": "a request is one JSON object on a line"})
        except Refused as refused:
            _send(connection, {"ok": False, "error": str(refused)})
        else:
            _send(connection, {"ok": True, "result": result})

    def _do(self, connection: socket.socket, questions: Questions, command: str, arguments: dict[str, Any]) -> Any:
        if command in LISTINGS:
            count = 0
            for page in questions.pages(command, arguments, LISTINGS[command]):
                count += len(page)
                connection.sendall(b"".join(orjson.dumps({"item": item}) + b"\n" for item in page))
            return {"count": count}
        if command == "gateways":
            items = self._backend.call(self._backend.gateways).result(STATE_PATIENCE)
            connection.sendall(b"".join(orjson.dumps({"item": item}) + b"\n" for item in items))
            return {"count": len(items)}
        if command in CHANGES:
            return questions.ask(command, arguments)
        if command == "stats":
            result = self._backend.call(self._backend.statistics).result(STATE_PATIENCE)
            impatient = Questions(self._backend.endpoint, STATE_PATIENCE)
            try:
                result["state"] = impatient.ask("stats", {})
            except Refused:
                result["state"] = None
            finally:
                impatient.close()
            return result
        if command == "reload":
            answer = self._backend.call(self._backend.reload).result().result()
            if not answer["ok"]:
                raise Refused("\n".join(answer["errors"]))
            return {}
        if command == "drain":
            self._backend.call(self._backend.drain_once)
            return {}
        raise Refused(f'unknown command "{command}"')


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(orjson.dumps(answer) + b"\n")


def _bound(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise SocketTaken(f"the path of the control socket is longer than {SOCKET_PATH_LIMIT} bytes: {path}")
    _clear_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(CONNECTIONS)
    except OSError as error:
        sock.close()
        raise SocketTaken(f"cannot make the control socket {path}: {error.strerror} (server.control)") from None
    finally:
        os.umask(before)
    return sock


def _clear_stale(path: Path) -> None:
    """Remove a socket nobody listens on any more; refuse if somebody does, or if it is something else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SocketTaken(f"{path} exists and is no socket (server.control)")
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SocketTaken(f"cannot use the control socket {path}: {error.strerror} (server.control)") from None
        pid = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    raise SocketTaken(f"another server (pid {pid}) runs with the control socket {path} (server.control)")
