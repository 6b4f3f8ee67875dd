"""The policy threads of a worker: one decides, and another one takes its place when its code blocks or changes.

A thread whose code does not come back (`time.sleep(60)` in a route) is left behind with the request that did it. Its
successor loads the module anew, goes on with the questions that wait, and is asked again what waited in the blocked
thread's tasks. A reload is a succession too, but the old thread finishes what it has begun, and goes on, by all that is
new but the module, if that cannot be set up. An answer that comes late from anywhere is thrown away by its token.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastsip.descriptors import scarce
from fastsip.launch import Source
from fastsip.policy.addresses import Locator
from fastsip.policy.complaints import Complaints
from fastsip.policy.desk import ASKED_AGAIN_AT_MOST, UDP_MAX, Deciders, Desk, Encode
from fastsip.policy.here import Place, enter
from fastsip.policy.loop import LAPS, PolicyLoop, handled
from fastsip.policy.module import Module, ModuleProblem, load
from fastsip.policy.request import CANCELLED, Question
from fastsip.policy.watch import Watch

log = logging.getLogger("fastsip.policy")

BATCH = 256
LEFT_BEHIND_AT_MOST = 8
"""Threads that may hang at the same time; with one more, questions wait, and get 500 and 503 from the hot thread."""
START_LIMIT = 15.0
"""Seconds a successor may take to load the module."""
START_AGAIN = 0.25
"""Seconds until another one is tried, where the first could not even begin."""
HOOKS_LIMIT = 10.0
"""Seconds for the module's `setup`, and for its `teardown`."""
JOIN = 1.0
"""Seconds for all threads to end."""


Followed = Callable[["str | None"], None]
"""Is told that a thread's terms are followed (None), or what is wrong."""


class Engine(Protocol):
    """What a policy needs of the engine."""

    @property
    def policy_fd(self) -> int: ...
    def take_questions(self, limit: int = 256) -> list[Any]: ...
    def answer(self, token: int, plan: bytes | None, more: bool = False) -> None: ...
    def answered(self) -> None: ...
    def hush_policy(self) -> None: ...
    def listen_policy(self) -> bool: ...


@dataclass(frozen=True)
class Terms:
    """What one thread decides by; a reload brings others."""

    module: str | None
    folder: str
    timeout: float
    """Seconds."""
    encode: Encode
    deciders: Callable[[], Deciders] = Deciders
    """Called in the thread that will use them."""
    locator: Locator | None = None
    """Finds the servers of names."""
    sources: Sequence[Source] = ()
    """What the module was when it was looked over; none: what is on the disk."""
    udp_max: int = UDP_MAX
    """Bytes of a request that may go in one datagram."""


class PolicyThread:
    """A thread with its own event loop, its own copy of the module, and a desk."""

    def __init__(self, policy: Policy, terms: Terms) -> None:
        self.terms = terms
        self.loop = PolicyLoop()
        self.desk: Desk
        self.stuck = False
        self.failure = "it ends"
        """Why it ended, if it did before it had begun."""
        self.begun = time.monotonic()
        self.thread = threading.Thread(target=self._run, name="fastsip policy", daemon=True)
        self.retired = False
        """It finishes what it has begun: another one is active."""
        self._policy = policy
        self._deaf = False
        self._place: Place
        self.context: contextvars.Context
        """In which its callbacks run."""

    def start(self) -> None:
        self.thread.start()

    # The thread

    def _run(self) -> None:
        policy, loop = self._policy, self.loop
        try:
            loop.set_exception_handler(handled(policy.complaints))
            deciders = self.terms.deciders()
            self._place = enter(deciders.surroundings)
            self.context = contextvars.copy_context()
            problem = loop.run_until_complete(self._begin(deciders))
            if policy.begun(self, problem):
                self._serve()
        except BaseException as error:
            self.failure = f"{type(error).__name__}: {error}"
            if not policy.stopped:
                policy.complaints.failed("a policy thread", error)
        finally:
            policy.ended(self)
            with contextlib.suppress(Exception):
                loop.close()

    async def _begin(self, deciders: Deciders) -> str | None:
        """Load and set up; what is wrong, or None."""
        terms, policy = self.terms, self._policy
        module: Module | None = None
        problem: str | None = None
        try:
            if terms.module is not None:
                module = load(terms.module, terms.folder, terms.sources)
                await _hook(module, "setup")
        except ModuleProblem as error:
            problem = str(error)
            module = _broken(terms.module or "", problem)
        self.desk = Desk(
            self.loop,
            policy.reply,
            terms.encode,
            module,
            deciders,
            policy.complaints,
            terms.timeout,
            terms.locator,
            terms.udp_max,
        )
        return problem

    def _serve(self) -> None:
        """Until `stop`, which whatever is raised in the loop is not."""
        policy, loop = self._policy, self.loop
        loop.add_reader(policy.engine.policy_fd, self._rung)
        loop.call_soon(self._look)
        while True:
            try:
                loop.run_forever()
                break
            except BaseException as error:  # a SystemExit of a callback ends run_forever
                policy.complaints.failed("a callback of the policy", error)
        self._finish()

    def _finish(self) -> None:
        self.desk.cancel_all()
        with contextlib.suppress(ModuleProblem):
            self.loop.run_until_complete(self._end())
        self.desk.close()

    async def _end(self) -> None:
        """`teardown`, and an end for whatever tasks the module has started."""
        try:
            if self.desk.module is not None:
                await _hook(self.desk.module, "teardown")
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=JOIN)

    # Its callbacks

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._policy.engine.policy_fd)
        self._look()

    def _look(self) -> None:
        """Take what is asked, decide it, and look again soon; or, if nothing is, hear the bell again."""
        paced, desk = self.loop.paced, self.desk
        for _ in range(LAPS):
            taken = self._take()
            if taken < 0:
                return
            self._decide()
            if desk.pending or taken == BATCH:
                break
            paced.sleep(taken)
        else:
            taken = 0
        paced.found = taken % BATCH
        self.loop.call_soon(self._look)

    def _take(self) -> int:
        """Put what is asked in line; how many there were, -1 if this thread has nothing to look for any more."""
        policy = self._policy
        with policy.gate:
            if policy.active is not self:
                return -1
            if not policy.waiting and policy.engine.listen_policy():
                return -1
            policy.engine.hush_policy()
            taken = policy.engine.take_questions(BATCH)
            policy.waiting.extend(taken)
        return len(taken)

    def _decide(self) -> None:
        """What is in line, while this thread is the active one."""
        policy, ask, next_ = self._policy, self.desk.ask, self._policy.waiting.popleft
        if not policy.waiting:
            return
        policy.gathering = True  # one wake-up for all of them
        with contextlib.suppress(IndexError):
            while policy.active is self:
                question = next_()
                if question[0] == CANCELLED:
                    policy.cancelled(question[1])
                ask(question)
        policy.gathering = False
        policy.engine.answered()
        self.desk.current = None

    def take_over(self, from_: PolicyThread) -> None:
        """Ask again what waits in the tasks of a thread that is blocked, all but the one that blocks it. They are no
        longer its own: a token is one thread's alone, because a failure has that of the request."""
        blocking = asyncio.current_task(from_.loop)
        for token, each in list(from_.desk.pending.items()):
            if each.task is blocking or each.times >= ASKED_AGAIN_AT_MOST:
                continue
            if from_.desk.pending.pop(token, None) is not None:
                self.desk.ask(each.question, each.times + 1, each.deadline)
        self.desk.current = None

    def follow(self, terms: Terms) -> None:
        """Go on with the module there is, by other terms. From any thread."""
        self.terms = terms
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._follow)

    def _follow(self) -> None:
        deciders = self.terms.deciders()
        self._place.surroundings = deciders.surroundings
        terms = self.terms
        self.desk.follow(terms.encode, deciders, terms.timeout, terms.locator, terms.udp_max)

    def retire(self) -> None:
        """Take no more questions; finish what was begun; end. From any thread."""
        self.retired = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._retire)

    def _retire(self) -> None:
        if not self._deaf:
            self._deaf = True
            self.loop.remove_reader(self._policy.engine.policy_fd)
        if self.desk.pending:
            self.loop.call_later(0.05, self._retire)
        else:
            self.loop.stop()

    def stop(self) -> None:
        """End now. From any thread."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)


class Policy:
    """All of them, for one engine. `start`, `reload` and `stop` belong to the thread that owns the engine."""

    def __init__(self, engine: Engine, terms: Terms, complaints: Complaints | None = None) -> None:
        self.engine = engine
        self.complaints = complaints or Complaints(log)
        self.gate = threading.Lock()
        """Around looking at the engine's queue, and around a change of `active`."""
        self.active: PolicyThread | None = None
        self.waiting: deque[Question] = deque()
        """Taken from the engine, not decided yet: whoever is active goes on with them."""
        self._terms = terms
        self._again: float | None = None
        """When the first one is tried again that could not begin."""
        self._coming: PolicyThread | None = None
        self._threads: list[PolicyThread] = []
        self._followed: Followed | None = None
        self.stopped = False
        self.gathering = False
        """Answers of this moment are followed by others."""
        self._watch = Watch(self)

    def start(self, followed: Followed | None = None) -> None:
        """Begin; questions wait until the module is loaded. `followed` as in `reload`. Raises OSError or RuntimeError
        where there can be no thread."""
        self._followed = followed
        self._succeed(self._terms)
        self._watch.start()

    def reload(self, terms: Terms, followed: Followed) -> None:
        """Follow other terms. `followed` is called, from some thread, with None when they are followed, or with what is
        wrong: then the old module goes on, and all else is followed."""
        with self.gate:
            self._terms = terms
        try:
            superseded = self._succeed(terms, followed)
        except Exception as error:
            if not scarce(error):
                raise
            followed(f"no thread can be started: {error}")
            return
        if superseded is not None:
            superseded("another reload came")

    def stop(self) -> None:
        """No answer reaches the engine after this. A thread that hangs is left to itself."""
        with self.gate:
            self.stopped = True
            self.active = None
            threads = list(self._threads)
        self._watch.stop()
        for thread in threads:
            thread.stop()
        until = time.monotonic() + JOIN
        for thread in threads:
            if not thread.stuck:
                thread.thread.join(max(0.0, until - time.monotonic()))

    def reply(self, token: int, plan: bytes | None) -> None:
        if not self.stopped:
            self.engine.answer(token, plan, self.gathering)

    def cancelled(self, token: int) -> None:
        """Tell those that still finish what they began."""
        if len(self._threads) > 1:
            for thread in list(self._threads):
                if thread is not self.active and thread is not self._coming:
                    with contextlib.suppress(RuntimeError):
                        thread.loop.call_soon_threadsafe(thread.desk.cancel, token)

    # Succession

    def _succeed(self, terms: Terms, followed: Followed | None = None) -> Followed | None:
        """Begin another thread, of whose beginning `followed` is told, and no other thread's; who was to be told of the
        one before it. Raises OSError or RuntimeError where there can be no thread."""
        thread = PolicyThread(self, terms)
        superseded: Followed | None = None
        with self.gate:
            before, self._coming = self._coming, thread
            self._threads.append(thread)
            if followed is not None:
                superseded, self._followed = self._followed, followed
        try:
            thread.start()
        except RuntimeError:
            with self.gate:
                self._coming = before
                self._threads.remove(thread)
                if followed is not None:
                    self._followed = superseded
            thread.loop.close()
            raise
        return superseded

    def begun(self, thread: PolicyThread, problem: str | None) -> bool:
        """A thread has loaded its module, or has not; whether it shall serve. In that thread."""
        with self.gate:
            if self.stopped or (self._coming is not thread and self.active is not None):
                return False  # another one came first
            before = self.active
            followed = None
            if self._coming is thread:  # else it serves until the one of a reload has loaded, whose answer that is
                self._coming = None
                followed, self._followed = self._followed, None
            serve = problem is None or before is None
            if serve:
                self.active = thread
            elif before is not None:
                self._stay(before, thread.terms)
        if problem is not None:
            log.error("policy: %s", problem)
        if serve and before is not None:
            if before.stuck:
                thread.take_over(before)
            before.retire()
        if followed is not None:
            followed(problem)
        return serve

    def _stay(self, active: PolicyThread, terms: Terms) -> None:
        """The module of other terms cannot be used. With the gate."""
        old = active.terms
        self._terms = replace(terms, module=old.module, folder=old.folder, sources=old.sources)
        active.follow(self._terms)

    def ended(self, thread: PolicyThread) -> None:
        followed = None
        with self.gate:
            with contextlib.suppress(ValueError):
                self._threads.remove(thread)
            if self._coming is thread:  # it has not even begun
                self._coming = None
                followed, self._followed = self._followed, None
                if self.active is None:
                    self._again = time.monotonic() + START_AGAIN
                else:
                    self._stay(self.active, thread.terms)
        if followed is not None:
            followed(thread.failure)

    def watched(self) -> list[PolicyThread]:
        """Those whose code may hang: the active one, and those that finish what they had begun before a reload."""
        with self.gate:
            found = [] if self.active is None else [self.active]
            return found + [each for each in self._threads if each.retired and not each.stuck]

    def blocked(self, thread: PolicyThread, where: str) -> None:
        """What the watch has found: `thread` hangs there."""
        with self.gate:
            active = self.active
            if self.stopped or thread.stuck or (active is not thread and not thread.retired):
                return
            thread.stuck = True
            if active is thread and self._coming is not None:
                return
        if active is not None and active is not thread:
            with contextlib.suppress(RuntimeError):
                active.loop.call_soon_threadsafe(active.take_over, thread, context=active.context)
            self.complaints.warn(where, f"{where}, before a reload; what waited with it is asked again")
            return
        with self.gate:
            left = sum(each.stuck for each in self._threads)
            terms = self._terms
        text = f"{where}: {left} of at most {LEFT_BEHIND_AT_MOST} threads hang"
        if left > LEFT_BEHIND_AT_MOST:
            self.complaints.wrong("policy", f"{text}; requests that ask it get 500 until one comes back")
            return
        try:
            self._succeed(terms)
        except Exception as error:
            if not scarce(error):
                raise
            self.complaints.warn(where, f"{text}; no other can take over now: {error}")
        else:
            self.complaints.warn(where, f"{text}; another takes over")

    def overdue(self, now: float) -> None:
        """A module that does not load, or a first thread that could not begin: the watch looks after it."""
        with self.gate:
            again = self._again is not None and now >= self._again
            if again:
                self._again = None
        if again:
            try:
                self._succeed(self._terms)
            except Exception:
                self._again = now + START_AGAIN
                raise
        with self.gate:
            coming = self._coming
            if coming is None or now - coming.begun < START_LIMIT:
                return
            coming.stuck = True
            self._coming = None
            followed, self._followed = self._followed, None
            if self.active is not None:
                self._stay(self.active, coming.terms)
        problem = f"{coming.terms.module} does not load in {START_LIMIT:g} s"
        log.error("policy: %s", problem)
        if followed is not None:
            followed(problem)


async def _hook(module: Module, name: str) -> None:
    """Run `setup` or `teardown`. Raises ModuleProblem."""
    hook = getattr(module, name)
    if hook is None:
        return
    try:
        async with asyncio.timeout(HOOKS_LIMIT):
            found = hook()
            if hasattr(found, "__await__"):
                await found
    except TimeoutError:
        raise ModuleProblem(f"{module.name}.{name} does not end in {HOOKS_LIMIT:g} s") from None
    except Exception as error:
        log.exception("%s.%s failed", module.name, name)
        raise ModuleProblem(f"{module.name}.{name}: {type(error).__name__}: {error}") from error


def _broken(name: str, problem: str) -> Module:
    """What stands for a module that could be loaded when the server started and can be no more."""

    def route(request: object) -> None:
        raise ModuleProblem(problem)

    return Module(name, "", route, None, None, None, None, None)
