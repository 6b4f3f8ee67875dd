"""A telephone in a browser: Chromium without a window, JsSIP and WebRTC, with a fake microphone.

    with Browser() as browser:
        alice = browser.phone("ws://127.0.0.1:5066", "sip:alice@example.com", password="secret")
        alice.register()
        alice.call("sip:bob@example.com")
        alice.until("confirmed")

Needs chromium on PATH and JsSIP in build/browser, which `make browser` puts there: `NEEDS` are the marks that say so.
"""

from __future__ import annotations

import functools
import http.server
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.peers import JSSIP, requires_peer

from .chromium import Chromium, Tab

NEEDS = [requires_peer("chromium"), requires_peer("jssip")]

HERE = Path(__file__).parent
_FILES = {
    "/page.html": (HERE / "page.html", "text/html"),
    "/phone.js": (HERE / "phone.js", "text/javascript"),
    "/jssip.js": (JSSIP, "text/javascript"),
}


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path not in _FILES:
            self.send_error(404)
            return
        path, kind = _FILES[self.path]
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


class BrowserPhone:
    """One page with a phone in it. Methods that only start something return at once; `until` waits for what comes of
    it, from where the last one stopped, so that they are written in the order things happen."""

    def __init__(self, tab: Tab, server: str, uri: str, options: dict[str, object]) -> None:
        self.tab = tab
        self._seen = 0
        self._do("start", server, {"uri": uri, **options})

    def register(self) -> None:
        self._do("register")

    def unregister(self) -> None:
        self._do("unregister")

    def call(self, target: str) -> None:
        self._do("call", target)

    def answer(self) -> None:
        self._do("answer")

    def hang_up(self, **options: object) -> None:
        """BYE, CANCEL or, with status_code, that answer: whatever ends the call now."""
        self._do("hangUp", options)

    def say(self, target: str, text: str) -> None:
        """A MESSAGE; "said" or "unsaid" comes of it."""
        self._do("say", target, text)

    def heard(self) -> int:
        """RTP packets that came so far."""
        return int(self.tab.evaluate("phone.heard()"))

    def until(self, *names: str, timeout: float = 15) -> tuple[str, Any]:
        """The next event of these names and its detail: "connected", "disconnected", "registered", "unregistered",
        "registrationFailed", "ringing", "progress", "accepted", "confirmed", "track", "ended", "failed", "message"."""
        words = f"phone.until({json.dumps(names)}, {self._seen}, {timeout * 1000:.0f})"
        place, name, detail = self.tab.evaluate(words, timeout + 5)
        self._seen = place + 1
        return name, detail

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(name, detail) for name, detail in self.tab.evaluate("phone.events")]

    def close(self) -> None:
        self.tab.close()

    def _do(self, name: str, *arguments: object) -> None:
        self.tab.evaluate(f"void phone.{name}({', '.join(json.dumps(each) for each in arguments)})")


class Browser:
    """A browser and a small web server with the page of the phone."""

    def __init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Pages))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            self.chromium = Chromium()
        except BaseException:
            self._server.shutdown()
            self._server.server_close()
            raise

    @property
    def origin(self) -> str:
        """What the browser says in Origin. On loopback a page may use the microphone without TLS."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def phone(self, server: str, uri: str, **options: object) -> BrowserPhone:
        """A page that connects to a ws: or wss: server. `options` are JsSIP's: password, register_expires and so on."""
        tab = self.chromium.tab()
        tab.open(f"{self.origin}/page.html")
        return BrowserPhone(tab, server, uri, options)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.chromium.close()
        self._server.shutdown()
        self._server.server_close()
