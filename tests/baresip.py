"""baresip, a telephone of other people's making, without sound card or terminal: told what to do over its control port.

    with Baresip() as alice, Baresip() as bob:
        bob.register("sip:bob@example.com", server.hostport, password="secret")
        bob.until("REGISTER_OK")
        alice.account("sip:alice@example.com", server.hostport)
        alice.dial("sip:bob@example.com")
        bob.until("CALL_INCOMING")
        bob.accept()

It sends a tone and throws away what it hears, over G.711. Needs `requires_peer("baresip")`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import free_port

PROGRAM = "baresip"
MODULES = "/usr/lib/baresip/modules"


class Baresip:
    """One process with one account.

    `transport` is udp, tcp or tls, for all it sends; `ca` a file of the authority that signed the server's certificate.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        transport: str = "udp",
        ca: Path | None = None,
        timeout: float = 15,
        secure_media: bool = False,
    ) -> None:
        """`secure_media`: DTLS-SRTP and ICE, as browsers insist on."""
        self.host, self.transport, self.secure_media = host, transport, secure_media
        self._seen: list[dict[str, Any]] = []
        self._bytes = b""
        self._tokens = itertools.count(1)
        self._folder = tempfile.TemporaryDirectory(prefix="baresip-")
        self.folder = Path(self._folder.name)
        port = free_port(host)
        self._configure(port, ca)
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-s", "-f", str(self.folder)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._socket = self._connect(port, timeout)
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        """Every SIP message in and out, and what it said about them."""
        return re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / "log").read_text(errors="replace"))

    def account(self, uri: str, server: str, password: str = "", expires: int = 0, more: str = "") -> None:
        """Be somebody. All requests go to `server`, host and port. With `expires` it registers: "REGISTER_OK" or
        "REGISTER_FAIL" comes of it. `more` are other parameters of the account."""
        words = [
            f"<{uri};transport={self.transport}>",
            f'outbound="sip:{server};transport={self.transport}"',
            f"regint={expires}",
            "answermode=manual",
        ]
        words += [f"auth_pass={password}"] if password else []
        words += ["mediaenc=dtls_srtp", "medianat=ice"] if self.secure_media else []
        words += [more] if more else []
        self.command("uanew", ";".join(words))

    def register(self, uri: str, server: str, password: str = "", expires: int = 60, more: str = "") -> None:
        self.account(uri, server, password, expires, more)

    def dial(self, target: str) -> None:
        self.command("dial", target)

    def accept(self) -> None:
        self.command("accept")

    def hang_up(self) -> None:
        self.command("hangup")

    def heard(self) -> float:
        """Seconds of sound the current call received."""
        found = re.search(r"^ rx:.*?time = ([\d.]+) sec", self.command("audio_debug"), re.S | re.M)
        return float(found[1]) if found else 0.0

    def until(self, *kinds: str, timeout: float = 10) -> dict[str, Any]:
        """The next event of these types: "REGISTER_OK", "REGISTER_FAIL", "CALL_INCOMING", "CALL_PROGRESS",
        "CALL_RINGING", "CALL_ESTABLISHED", "CALL_CLOSED"; `param` says more. Others before it are passed over."""
        passed = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            while self._seen:
                event = self._seen.pop(0)
                if event["type"] in kinds:
                    return event
                passed.append(event["type"])
            self._read(deadline)
        raise AssertionError(f"no {' or '.join(kinds)} in {timeout} s, but {passed}\n{self.log}")

    def command(self, name: str, words: str = "", timeout: float = 5) -> str:
        """What a command answers. Raises AssertionError if it fails."""
        token = str(next(self._tokens))
        text = json.dumps({"command": name, "params": words, "token": token}).encode()
        self._socket.sendall(b"%d:%s," % (len(text), text))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for answer in self._read(deadline):
                if answer.get("token") == token:
                    assert answer["ok"], f"{name} {words}: {answer['data']}\n{self.log}"
                    return re.sub(r"\x1b\[[0-9;]*m", "", answer["data"])
        raise AssertionError(f"{name} {words}: no answer in {timeout} s\n{self.log}")

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        with contextlib.suppress(AttributeError):
            self._socket.close()
        self._folder.cleanup()

    def __enter__(self) -> Baresip:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _configure(self, port: int, ca: Path | None) -> None:
        lines = [
            "poll_method epoll",
            f"sip_listen {self.host}:0",
            f"net_interface {self.host}",
            "call_max_calls 4",
            *(["rtcp_mux yes"] if self.secure_media else []),
            "audio_source ausine,440",
            "ausrc_srate 48000",  # it makes nothing else
            "ausrc_channels 2",
            "audio_player aubridge,nobody",
            "audio_alert aubridge,nobody",
            f"module_path {MODULES}",
            *(f"module {name}.so" for name in ("g711", "ausine", "aubridge")),
            *(f"module {name}.so" for name in ("srtp", "ice") if self.secure_media),
            *(f"module_app {name}.so" for name in ("menu", "ctrl_tcp")),
            *(f"module_app {name}.so" for name in ("dtls_srtp",) if self.secure_media),
            "module_tmp uuid.so",
            "module_tmp account.so",
            f"ctrl_tcp_listen 127.0.0.1:{port}",
        ]
        if ca:
            lines += [f"sip_cafile {ca}", "sip_verify_server yes"]
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        (self.folder / "accounts").write_text("")

    def _connect(self, port: int, timeout: float) -> socket.socket:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", port), timeout)
            assert self._process.poll() is None, f"baresip ended at once\n{self.log}"
            time.sleep(0.05)
        raise AssertionError(f"baresip was not ready in {timeout} s\n{self.log}")

    def _read(self, deadline: float) -> list[dict[str, Any]]:
        """Take what came: events are kept, answers returned. They are netstrings of JSON."""
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return []
        assert data, f"baresip ended\n{self.log}"
        self._bytes += data
        answers = []
        while found := re.match(rb"(\d+):", self._bytes):
            end = found.end() + int(found[1])
            if len(self._bytes) <= end:
                break
            message = json.loads(self._bytes[found.end() : end])
            (answers if message.get("response") else self._seen).append(message)
            self._bytes = self._bytes[end + 1 :]
        return answers
