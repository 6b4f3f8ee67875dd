"""Chromium without a window, told what to do over the DevTools protocol.

The little of that protocol there is to speak, four commands, is spoken here: a library for it brings a browser, or a
copy of node, of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

PROGRAM = "chromium"
_OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # tests run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--password-store=basic",
    "--ignore-certificate-errors",  # of the test's own authority
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
    "--remote-debugging-port=0",
]


class Tab:
    """One page. What it writes on its console and throws is in `console`."""

    def __init__(self, url: str) -> None:
        self.console: list[str] = []
        self._numbers = itertools.count(1)
        self._stack = contextlib.ExitStack()
        self._socket = self._stack.enter_context(connect(url, max_size=None, proxy=None, open_timeout=20))
        self.command("Runtime.enable")
        self.command("Page.enable")

    def command(self, method: str, timeout: float = 20, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its result; events that come before it are noted."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        deadline = time.monotonic() + timeout
        while True:
            message = json.loads(self._socket.recv(max(0.0, deadline - time.monotonic())))
            if message.get("id") != number:
                self._note(message)
                continue
            assert "error" not in message, f"{method}: {message['error']}"
            result: dict[str, Any] = message["result"]
            return result

    def open(self, url: str, timeout: float = 20) -> None:
        """Go to a page and wait until it is loaded."""
        failed = self.command("Page.navigate", url=url).get("errorText")
        assert not failed, f"{url}: {failed}"
        deadline = time.monotonic() + timeout
        while self.evaluate("[location.href, document.readyState]") != [url, "complete"]:
            assert time.monotonic() < deadline, f"{url} was not loaded in {timeout} s: {self.console}"
            time.sleep(0.05)

    def evaluate(self, expression: str, timeout: float = 20) -> Any:
        """The value of an expression, awaited if it is a promise. Raises AssertionError if it throws."""
        done = self.command(
            "Runtime.evaluate", timeout, expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if thrown := done.get("exceptionDetails"):
            text = thrown.get("exception", {}).get("description") or thrown["text"]
            raise AssertionError(f"{expression}: {text}; console: {self.console}")
        return done["result"].get("value")

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.command("Page.close")
        with contextlib.suppress(Exception):
            self._stack.close()

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.consoleAPICalled":
            words = [str(each.get("value", each.get("description", ""))) for each in message["params"]["args"]]
            self.console.append(" ".join(words))
        elif message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description") or details["text"])


class Chromium:
    """One browser with a profile of its own, which ends with it."""

    def __init__(self, *options: str, timeout: float = 60) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        command = [PROGRAM, *_OPTIONS, *options, f"--user-data-dir={self.folder}", "about:blank"]
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._port = self._wait(timeout)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def tab(self) -> Tab:
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=20) as response:
            return Tab(json.load(response)["webSocketDebuggerUrl"])

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def _wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if lines := (self.folder / "DevToolsActivePort").read_text().splitlines():
                    return int(lines[0])
            assert self._process.poll() is None, f"chromium ended at once\n{self._log()}"
            time.sleep(0.05)
        raise AssertionError(f"chromium was not ready in {timeout} s\n{self._log()}")

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")
