"""`fastsip resolve`: where a URI leads and why, for people and as JSON.

JSON: uri; servers: [{transport, address, port, host}], the first one to be tried first; ttl (seconds); stale; used:
[{name, type, text}], the records that led there. Where there is no server: uri, error, temporary (name servers did not
answer), used.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
import orjson

from fastsip.launch import DnsSetup

from .errors import NoServer, Used
from .hop import Hop
from .order import Server
from .resolver import Located, Resolver

FOUND, NONE, WRONG = 0, 1, 2


def resolve(uri: str, setup: DnsSetup, transports: frozenset[str], as_json: bool) -> int:
    """Print it; the exit code."""
    if not uri.lower().startswith(("sip:", "sips:")) and "@" not in uri:
        uri = f"sip:{uri}"
    try:
        hop = Hop.of(uri)
    except NoServer as error:
        click.echo(f"{error}", err=True)
        return WRONG
    try:
        located = asyncio.run(_locate(hop, setup, transports))
    except NoServer as error:
        if as_json:
            _print({"uri": uri, "error": error.reason, "temporary": error.temporary, "used": _records(error.why)})
        else:
            _show(error.why)
            click.echo(error.reason, err=True)
        return NONE
    ttl = max(0.0, located.expires - time.monotonic())
    if as_json:
        servers = [_server(one) for one in located.servers]
        used = _records(located.why)
        _print({"uri": uri, "servers": servers, "ttl": round(ttl, 1), "stale": located.stale, "used": used})
        return FOUND
    rows = [(str(place), one.transport, _place(one), one.host) for place, one in enumerate(located.servers, 1)]
    for line in _columns(rows):
        click.echo(line)
    if located.why:
        click.echo()
        _show(located.why)
        click.echo(f"\ngood for {ttl:.0f} s")
    return FOUND


async def _locate(hop: Hop, setup: DnsSetup, transports: frozenset[str]) -> Located:
    resolver = Resolver(setup, transports)
    try:
        return await resolver.locate(hop)
    finally:
        await resolver.close()


def _place(server: Server) -> str:
    return f"[{server.address}]:{server.port}" if server.v6 else f"{server.address}:{server.port}"


def _server(server: Server) -> dict[str, Any]:
    return {"transport": server.transport, "address": server.address, "port": server.port, "host": server.host}


def _records(used: Sequence[Used]) -> list[dict[str, str]]:
    return [one._asdict() for one in used]


def _show(used: Sequence[Used]) -> None:
    for line in _columns(used):
        click.echo(line)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with two blanks between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _print(document: dict[str, Any]) -> None:
    sys.stdout.write(orjson.dumps(document).decode() + "\n")
