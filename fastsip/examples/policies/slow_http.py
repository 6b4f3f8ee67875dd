"""Ask an HTTP service where a number goes, and do not depend on it: a deadline, a cache, a way without it.

    [policy]
    module = "fastsip.examples.policies.slow_http"

The service is asked with GET {ROUTING_SERVICE}?number=+1... and answers {"to": "sip:...", "seconds": 60}; "to" may be
null for a number nobody has. While it is slow or down, calls go where they went the last time, or by a default.

The standard library's HTTP client blocks, so it runs in a pool of threads. aiohttp or httpx need none.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from fastsip.policy import Plan, Request, fork, now, reject

METHODS = ("INVITE",)

SERVICE = os.environ.get("ROUTING_SERVICE", "http://127.0.0.1:8080/route")
PATIENCE = 1.0
"""Seconds a caller waits for the service before the call goes without it."""
AT_ONCE = 32
"""Requests the service gets at the same time; with more, calls go without it rather than wait in line."""
REMEMBERED = 10_000
DEFAULT = os.environ.get("ROUTING_DEFAULT", "sip:{number}@gw1.example.net")

URI = re.compile(r"sips?:[!-~]+")

log = logging.getLogger(__name__)
cache: dict[str, tuple[float, str | None]] = {}
"""By number: good until, and where to."""
pool = ThreadPoolExecutor(AT_ONCE, "routing service")
asking = 0


async def teardown() -> None:
    pool.shutdown(wait=False, cancel_futures=True)


async def route(request: Request) -> Plan | None:
    number = request.user or ""
    if not number.startswith("+"):
        return None
    if not (request.trusted or request.authenticated):
        return reject(403)  # strangers do not call at our expense
    good_until, known = cache.get(number, (0.0, None))
    if good_until <= now():
        try:
            known = await _ask(number)
        except (OSError, TimeoutError, ValueError) as error:  # down, slow, or saying nonsense
            log.warning("the routing service: %s", error or type(error).__name__)
            if number not in cache:
                known = DEFAULT.format(number=number)
    return fork(known) if known else reject(404)


async def _ask(number: str) -> str | None:
    """What the service says, remembered. Raises OSError, TimeoutError or ValueError."""
    global asking
    if asking >= AT_ONCE:
        raise TimeoutError("too many questions at once")
    asking += 1
    answer = asyncio.get_running_loop().run_in_executor(pool, _fetch, number)
    answer.add_done_callback(_answered)  # a thread is free when it is done, not when nobody waits any more
    async with asyncio.timeout(PATIENCE):
        to, seconds = await asyncio.shield(answer)
    while len(cache) >= REMEMBERED:
        del cache[next(iter(cache))]
    cache[number] = now() + seconds, to
    return to


def _answered(answer: asyncio.Future[tuple[str | None, float]]) -> None:
    global asking
    asking -= 1
    if not answer.cancelled():
        answer.exception()  # whoever waited has heard it


def _fetch(number: str) -> tuple[str | None, float]:
    url = f"{SERVICE}?{urllib.parse.urlencode({'number': number})}"
    with urllib.request.urlopen(url, timeout=2 * PATIENCE) as reply:
        said = json.load(reply)
    to, seconds = (said.get("to"), said.get("seconds", 60)) if isinstance(said, dict) else (said, None)
    if not isinstance(seconds, int | float) or not (to is None or (isinstance(to, str) and URI.fullmatch(to))):
        raise ValueError(f"it says {said!r}")
    return to, float(seconds)
