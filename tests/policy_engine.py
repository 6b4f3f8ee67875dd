"""An engine for the desk that is no engine: questions go in, answers are kept, the bell rings as in ext/bell.h."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsip._plan import encode_plan
from fastsip.policy import Plan
from fastsip.policy.desk import Deciders
from fastsip.policy.request import CANCELLED, FAILURE, RESPONSE, ROUTE, Question
from fastsip.policy.threads import Policy, Terms


def invite(user: str = "bob", method: str = "INVITE", *extra: str) -> bytes:
    lines = [
        f"{method} sip:{user}@example.com SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "Max-Forwards: 70",
        "From: <sip:alice@example.com>;tag=a1",
        f"To: <sip:{user}@example.com>",
        "Call-ID: 1@192.0.2.1",
        f"CSeq: 1 {method}",
        *extra,
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class FakeEngine:
    """The methods of `fastsip._worker.Worker` that a policy uses."""

    def __init__(self) -> None:
        self.policy_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.answers: dict[int, Plan | None] = {}
        self.answered_at: dict[int, float] = {}
        self.late: list[int] = []
        self.looks = 0
        self.wakes = 0
        self._queue: deque[Question] = deque()
        self._hushed = self._rung = False
        self._tokens = iter(range(1, 1 << 60))

    def put(self, *questions: Question) -> None:
        self._queue.extend(questions)
        rung, self._rung = self._rung, True
        if not self._hushed:
            self.wakes += not rung
            os.eventfd_write(self.policy_fd, 1)

    def route(self, user: str = "bob", method: str = "INVITE", flags: int = 0) -> int:
        token = next(self._tokens)
        aor = f"{user}@example.com".encode()
        self.put(Question(ROUTE, token, flags, aor, b"", ("192.0.2.1", 5060), invite(user, method)))
        return token

    def failed(self, *statuses: int) -> int:
        token = next(self._tokens)
        responses = tuple((status, number, None) for number, status in enumerate(statuses))
        self.put(Question(FAILURE, token, 0, b"bob@example.com", b"", ("192.0.2.1", 5060), invite(), responses))
        return token

    def responded(self, status: int) -> None:
        data = invite().replace(b"INVITE sip:bob@example.com SIP/2.0", b"SIP/2.0 %d OK" % status)
        self.put(Question(RESPONSE, 0, 0, b"", b"", ("192.0.2.1", 5060), data))

    def cancel(self, token: int) -> None:
        self.put(Question(CANCELLED, token, 0, b"", b"", ("", 0), b""))

    def take_questions(self, limit: int = 256) -> list[Question]:
        self.looks += 1
        taken = []
        while self._queue and len(taken) < limit:
            taken.append(self._queue.popleft())
        return taken

    def answered(self) -> None:
        """The hot thread would be woken."""

    def answer(self, token: int, plan: bytes | None, more: bool = False) -> None:
        if token in self.answers:
            self.late.append(token)
            return
        self.answered_at[token] = time.monotonic()
        self.answers[token] = plan  # type: ignore[assignment]

    def hush_policy(self) -> None:
        self._hushed, self._rung = True, False

    def listen_policy(self) -> bool:
        if not self._hushed or self._rung:
            return False
        self._hushed = False
        return True

    def wait(self, *tokens: int, timeout: float = 3) -> list[Plan | None]:
        """The plans that came, in the order of the tokens."""
        until = time.monotonic() + timeout
        while any(token not in self.answers for token in tokens):
            assert time.monotonic() < until, f"no answer to {[t for t in tokens if t not in self.answers]}"
            time.sleep(0.001)
        return [self.answers[token] for token in tokens]


def plain(plan: Plan) -> bytes:
    """A fake engine is given the plan itself, if that can be encoded."""
    encode_plan(plan)
    return plan  # type: ignore[return-value]


def terms(module: str | None, folder: Path | str, timeout: float = 5, **more: object) -> Terms:
    return Terms(module, str(folder), timeout, plain, **more)  # type: ignore[arg-type]


@contextmanager
def policy(
    folder: Path, code: str, timeout: float = 5, deciders: Deciders | None = None
) -> Iterator[tuple[FakeEngine, Policy]]:
    """A policy thread that decides by this code."""
    name = f"my_{folder.name}".replace("-", "_")
    (folder / f"{name}.py").write_text(code)
    engine = FakeEngine()
    made = Policy(engine, terms(name, folder, timeout, deciders=lambda: deciders or Deciders()))
    made.start()
    try:
        yield engine, made
    finally:
        made.stop()
        os.close(engine.policy_fd)
