"""Following a changed configuration while serving: the state process first, because it may refuse; then the workers."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fastsip.config import Configuration
from fastsip.config import setup as conversion

from .setups import policy_setup

if TYPE_CHECKING:
    from .master import Master

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
        settings = conversion.settings(self._wanted, master.listeners.bound)
        policy = policy_setup(self._wanted, master.listeners, master.shared)
        self._waiting = set(self._master.workers.reload(settings, policy))
        self._check()

    def answered(self, name: str, error: str = "") -> None:
        """A worker follows, but for what `error` says, or died, in which case its successor begins with all of it."""
        if self._waiting is not None:
            self._waiting.discard(name)
            if error:
                self._errors.append(f"{name}: {error}")
            self._check()

    def expired(self, now: float) -> bool:
        """Whether it is over, one way or the other."""
        if not self._answer.done() and now > self._deadline:
            silent = ", ".join(sorted(self._waiting)) if self._waiting else "the state process"
            self._finish({"ok": False, "errors": [f"no answer from {silent} in {LIMIT:g} s"]})
        return self._answer.done()

    def _check(self) -> None:
        if not self._waiting:
            self._finish({"ok": False, "errors": self._errors} if self._errors else {"ok": True})

    def _finish(self, result: dict[str, Any]) -> None:
        if not self._answer.done():
            self._answer.set_result(result)
