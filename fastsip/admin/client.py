"""The other side of the control socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson


class NoServer(Exception):
    """Nobody answers at the control socket; the text is for a person."""


class Failed(Exception):
    """The server answered that it could not; the text is the server's."""


class Client:
    """A connection to a running server."""

    def __init__(self, path: Path) -> None:
        """Connect. Raises NoServer."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(str(path))
        except PermissionError:
            raise NoServer(f"no permission to use {path}: run as the user the server runs as, or as root") from None
        except (FileNotFoundError, ConnectionRefusedError):
            raise NoServer(
                f"no server at {path}: is it running? For one with a configuration say --config FILE{_others(path)}"
            ) from None
        except OSError as error:
            raise NoServer(f"cannot use {path}: {error.strerror or error}") from None
        self._lines = self._socket.makefile("rb")

    def items(self, command: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """The items of a listing as they come. Raises Failed, NoServer when it ends in the middle."""
        self._send(command, arguments)
        for answer in self._answers():
            if "item" in answer:
                yield answer["item"]
            else:
                return

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The result of a command. Raises Failed, NoServer."""
        self._send(command, arguments)
        for answer in self._answers():
            if "ok" in answer:
                return dict(answer["result"])
        raise AssertionError("answers end with a result or an error")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _send(self, command: str, arguments: dict[str, Any]) -> None:
        given = {key: value for key, value in arguments.items() if value is not None}
        try:
            self._socket.sendall(orjson.dumps({"do": command, **given}) + b"\n")
        except OSError:
            raise NoServer("the server is gone") from None

    def _answers(self) -> Iterator[dict[str, Any]]:
        while line := self._lines.readline():
            answer = msgspec.json.decode(line, type=dict[str, Any])
            if answer.get("ok") is False:
                raise Failed(answer["error"])
            yield answer
            if "ok" in answer:
                return
        raise NoServer("the server ended before its answer was complete")


def _others(path: Path) -> str:
    """What to say for the other servers whose sockets lie in the same directory: one that was given only --listen."""
    names = sorted(str(other) for other in path.parent.glob("*.sock") if other != path and other.is_socket())[:5]
    return "".join(f"\n  or --control {name}" for name in names)
