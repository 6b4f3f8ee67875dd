"""linphone, another telephone of other people's making, without sound card or terminal: told what to do over a socket.

    with (
        Linphone("sip:alice@example.com", server.hostport, "secret") as alice,
        Linphone("sip:bob@example.com", server.hostport, "builder") as bob,
    ):
        assert alice.registered() == bob.registered() == "Ok"
        alice.dial("sip:bob@example.com")
        bob.until("IncomingReceived")
        bob.answer()
        alice.until("StreamsRunning")

Needs `requires_peer("linphone")`.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

PROGRAM = "linphone-daemon"


class Linphone:
    """One process with one account and a home of its own. It registers at once.

    All requests go to `server`, host and port, by `transport`, which is udp, tcp or tls; `ca` is a file of the
    authority that signed the server's certificate. It listens for no connections: by tcp and tls it is called over the
    one it opened.
    """

    def __init__(
        self,
        uri: str,
        server: str,
        password: str = "",
        transport: str = "udp",
        ca: str | None = None,
        timeout: float = 15,
    ) -> None:
        self.transport = transport
        self._seen: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="linphone-")
        self.folder = Path(self._folder.name)
        self._configure(uri, f"<sip:{server};transport={transport};lr>", password, ca)
        pipe = self.folder / "pipe"
        command = [PROGRAM, "--disable-stats-events"]
        command += ["--config", str(self.folder / "linphonerc"), "--log", str(self.folder / "log")]
        command += ["--pipe", os.path.relpath(pipe, "/tmp")]  # it puts "/tmp/" before it
        with open(self.folder / "output", "wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, "HOME": str(self.folder)},
            )  # fmt: skip
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect(pipe, timeout)
        except BaseException:
            self._process.kill()
            self.close()
            raise

    @property
    def log(self) -> str:
        """What it did, with every SIP message in and out."""
        path = self.folder / "log"
        lines = path.read_text(errors="replace") if path.exists() else ""
        return lines + (self.folder / "output").read_text(errors="replace")

    def registered(self, timeout: float = 10) -> str:
        """What came of it: "Ok" or "Failed"."""
        return self._registration("Ok", "Failed", timeout=timeout)

    def unregister(self) -> None:
        """Say that it is nobody any more, and wait until the server says so too."""
        self.command("register-status", "ALL")  # this numbers them
        self.command("unregister", "ALL")
        self._registration("Cleared")

    def dial(self, target: str) -> None:
        self.command("call", target)

    def answer(self) -> None:
        self.command("answer")

    def hang_up(self) -> None:
        self.command("terminate")

    def until(self, *states: str, timeout: float = 10) -> str:
        """The next of these states of a call: "IncomingReceived", "OutgoingRinging", "StreamsRunning", "End", "Error",
        "Released" and others. States before it are passed over."""
        passed = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            while self._seen:
                state = self._seen.pop(0)
                if state in states:
                    return state
                passed.append(state)
            if not self._read():
                time.sleep(0.03)
        raise AssertionError(f"no {' or '.join(states)} in {timeout} s, but {passed}\n{self.log}")

    def idle(self) -> bool:
        """Whether it has no call."""
        return "No current call" in self._say("call-status")

    def command(self, *words: str) -> str:
        """What a command answers. Raises AssertionError if it fails."""
        answer = self._say(*words)
        assert answer.startswith("Status: Ok"), f"{' '.join(words)}: {answer}\n{self.log}"
        return answer

    def close(self) -> None:
        """It unregisters as it goes."""
        try:
            with contextlib.suppress(OSError):
                self._socket.sendall(b"quit")
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._socket.close()
        self._folder.cleanup()

    def __enter__(self) -> Linphone:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _configure(self, uri: str, server: str, password: str, ca: str | None) -> None:
        for name in (".local/share/linphone", ".config/linphone"):
            (self.folder / name).mkdir(parents=True)
        user, domain = uri.removeprefix("sip:").split("@")
        lines = [
            "[sip]",
            "default_proxy=0",
            *(f"{name}=-2" for name in ("sip_port", "sip_tcp_port", "sip_tls_port")),  # nothing bound
            "guess_hostname=1",
            "verify_server_certs=1",
            "verify_server_cn=1",
            *([f"root_ca={ca}"] if ca else []),
            "[rtp]",
            "audio_rtp_port=-1",
            "video_rtp_port=-1",
            "[net]",
            "enable_ipv6=0",
            "dns_srv_enabled=0",
            "[proxy_0]",
            f"reg_identity={uri}",
            f"reg_proxy={server}",
            f"reg_route={server}",
            "reg_sendregister=1",
            "[auth_info_0]",
            f"username={user}",
            f"passwd={password}",
            f"domain={domain}",
        ]
        (self.folder / "linphonerc").write_text("\n".join(lines) + "\n")

    def _connect(self, path: Path, timeout: float) -> None:
        self._socket.settimeout(timeout)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return self._socket.connect(str(path))
            assert self._process.poll() is None, f"linphone ended at once\n{self.log}"
            time.sleep(0.02)
        raise AssertionError(f"linphone was not ready in {timeout} s\n{self.log}")

    def _registration(self, *states: str, timeout: float = 10) -> str:
        """The state it came to. The daemon's answers forget what is cleared, its log does not."""
        deadline = time.monotonic() + timeout
        passed: list[str] = []
        while time.monotonic() < deadline:
            passed = re.findall(r" to \[LinphoneRegistration(\w+)\]", self.log)
            if passed and passed[-1] in states:
                return passed[-1]
            time.sleep(0.03)
        raise AssertionError(f"registration not {' or '.join(states)} in {timeout} s, but {passed}\n{self.log}")

    def _read(self) -> bool:
        """Take an event if there is one; changes of calls are kept."""
        answer = self.command("pop-event")
        found = re.search(r"^Event: LinphoneCall(\w+)", answer, re.M)
        if found:
            self._seen.append(found[1])
        return "Event-type:" in answer

    def _say(self, *words: str) -> str:
        """A command and its answer, which it writes at once."""
        self._socket.sendall(" ".join(words).encode())
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            data = b""
        assert data, f"{' '.join(words)}: no answer\n{self.log}"
        return data.decode(errors="replace")
