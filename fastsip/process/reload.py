"""Following a changed configuration while serving: the state process first, because it may refuse; then the workers.

Who does not answer in time is told whoever asked, and follows all the same: a state process that does not answer is
replaced, and its successor begins with the new configuration; then the workers are told. A worker has its order, and is
told again if it could not follow (`following.py`).
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fastsip.config import Configuration
from fastsip.config import setup as conversion

from .setups import policy_setup, worker_settings

if TYPE_CHECKING:
    from .master import Master

log = logging.getLogger(__name__)

LIMIT = 10.0
"""Seconds for all to follow."""


class Reload:
    """One reload under way; the master's thread only. Resolves `answer` exactly once."""

    def __init__(self, master: Master, wanted: Configuration, answer: Future[dict[str, Any]]) -> None:
        self._master = master
        self._before = master.configuration
        self._wanted = wanted
        self._answer = answer
        self._deadline = time.monotonic() + LIMIT
        self._waiting: set[str] | None = None
        self._errors: list[str] = []
        self._over = False
        # A state process that dies now is started again with the new users, which is the same as being told.
        master.configuration = wanted
        master.state.tell(
            {
                "do": "reload",
                "settings": {
                    "users": conversion.users(wanted),
                    "services": conversion.services(wanted),
                    "realm": wanted.tables.auth.realm,
                    "default_domain": wanted.default_domain,
                    "domains": conversion.homes(wanted),
                    "max_contacts": wanted.tables.registrar.max_contacts,
                },
            }
        )

    def state_answered(self, error: str | None) -> None:
        """The state process follows, or says why it does not; then nothing has changed."""
        if self._waiting is not None:
            return
        if error is not None:
            self._master.configuration = self._before
            self._finish({"ok": False, "errors": [error]})
            return
        master = self._master
        settings = worker_settings(self._wanted, master.listeners, master.shared)
        policy = policy_setup(self._wanted, master.listeners, master.shared)
        tls = conversion.tls(self._wanted, master.shared.ticket_secret)
        self._waiting = set(self._master.workers.reload(settings, policy, tls))
        self._check()

    def answered(self, name: str, error: str = "") -> None:
        """A worker follows, but for what `error` says, or died, in which case its successor begins with all of it."""
        if self._waiting is not None:
            self._waiting.discard(name)
            if error:
                self._errors.append(f"{name}: {error}; it is told again until it follows")
            self._check()

    @property
    def late(self) -> bool:
        """Whether somebody should have answered by now."""
        return time.monotonic() > self._deadline

    def expired(self) -> bool:
        """Whether it is over, one way or the other."""
        if not self._over and self.late and not self._answer.done():
            if self._waiting is None:
                error = f"no answer from the state process in {LIMIT:g} s; the workers are told when there is one"
                self._answer.set_result({"ok": False, "errors": [error]})
            else:
                silent = ", ".join(sorted(self._waiting))
                self._errors.append(f"no answer from {silent} in {LIMIT:g} s; all others follow, and it will")
                self._finish({"ok": False, "errors": self._errors})
        return self._over

    def _check(self) -> None:
        if not self._waiting:
            self._finish({"ok": False, "errors": self._errors} if self._errors else {"ok": True})

    def _finish(self, result: dict[str, Any]) -> None:
        self._over = True
        if not self._answer.done():
            self._answer.set_result(result)
        else:
            log_reload(result)  # whoever asked was told that it takes longer


def log_reload(result: dict[str, Any]) -> None:
    """What came of a reload that nobody waits for."""
    if result["ok"]:
        log.info("configuration read again")
    for error in result.get("errors", ()):
        log.error("not reloaded: %s", error)
