"""The command line: `fastsip serve`, `check`, `demo`, `resolve`, `load`, `ctl`.

Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from fastsip.admin import services as _services  # noqa: F401 - adds `ctl services`
from fastsip.admin.commands import AS_JSON, ctl
from fastsip.config import Configuration, ConfigurationError, Listen, Overrides, load
from fastsip.config.schema import WORKERS_AT_MOST
from fastsip.config.setup import dns
from fastsip.config.values import TRANSPORTS, Domain, NameServer
from fastsip.load.commands import load as load_command
from fastsip.version import __version__

WRONG = 2


class Checked(click.ParamType):  # type: ignore[type-arg]
    """An option read by the same class that reads it in a configuration file."""

    def __init__(self, name: str, kind: type[Listen] | type[Domain] | type[NameServer]) -> None:
        self.name = name
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return str(self.kind.of(value))
        except ValueError:
            self.fail(f"{value!r}: expected {self.kind.ALLOWED}", param, ctx)


def examples(*lines: str) -> Callable[[Any], Any]:
    """Put examples, each line as it is, under a command's help text."""

    def added(command: Any) -> Any:
        shown = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
        command.__doc__ = f"{inspect.cleandoc(command.__doc__)}\n\n{shown}"
        return command

    return added


def fail(text: str, code: int) -> NoReturn:
    """Say why on standard error and end."""
    click.echo(text, err=True)
    sys.exit(code)


def loaded(path: Path | None, overrides: Overrides | None = None, modules: bool = True) -> Configuration:
    """The configuration, or an end with code 2 and every mistake on a line of its own."""
    try:
        return load(path, overrides, modules)
    except ConfigurationError as error:
        fail(str(error), WRONG)


CONFIG_FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="fastsip %(version)s")
def command() -> None:
    """fastsip: a fast, multiprocess SIP proxy, registrar and redirect server.

    \b
    Begin with:
      fastsip demo      see it work
      fastsip serve     serve phones on this machine, UDP port 5060
    """


@command.command()
@click.option("--config", "path", type=CONFIG_FILE, metavar="FILE", help="Configuration file (TOML).")
@click.option(
    "--listen",
    type=Checked("address", Listen),
    multiple=True,
    metavar="ADDRESS",
    help="Listen here instead of where the configuration says; may be repeated. Default: udp:127.0.0.1:5060.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_AT_MOST),
    metavar="N",
    help="Worker processes. Default: the CPUs it may use, at most 16.",
)
@click.option(
    "--domain",
    "domains",
    type=Checked("name", Domain),
    multiple=True,
    metavar="NAME",
    help="Be responsible for this domain; may be repeated. Default: its own addresses only.",
)
@examples(
    "fastsip serve",
    "fastsip serve --listen udp:127.0.0.1:5070 --workers 2 --domain example.com",
    "fastsip serve --config /etc/fastsip.toml",
)
def serve(path: Path | None, listen: tuple[str, ...], workers: int | None, domains: tuple[str, ...]) -> None:
    """Serve until a signal says otherwise.

    SIGTERM (or Ctrl-C) drains: new calls are refused, calls that are being set up may finish; a second one ends at
    once. SIGHUP reads the configuration again.
    """
    overrides = Overrides(listen, workers, domains)
    configuration = loaded(path, overrides)
    from fastsip.process.master import Master
    from fastsip.process.problems import CannotStart

    try:
        sys.exit(Master(configuration, overrides).run())
    except CannotStart as problem:
        fail(f"fastsip: {problem}", problem.code)


@command.command()
@click.argument("file", type=CONFIG_FILE)
@examples("fastsip check /etc/fastsip.toml && fastsip ctl --config /etc/fastsip.toml reload")
def check(file: Path) -> None:
    """Say what is wrong in a configuration, or nothing.

    Reads FILE and the files it names as `serve` would. Every mistake is one line with file, line, key, value and what
    is allowed; the exit code is then 2. What can be served and is hardly meant is a line with "warning:".
    """
    for problem in loaded(file).warnings:
        click.echo(str(problem), err=True)


@command.command()
def demo() -> None:
    """See it work: a proxy, a hundred users, calls between them, live numbers, and one call drawn message by message.

    Takes about fifteen seconds and only loopback addresses. Ends with 0 if no call failed.
    """
    from fastsip.demo import main as demonstrate

    sys.exit(demonstrate())


@command.command()
@click.argument("uri")
@click.option("--config", "path", type=CONFIG_FILE, metavar="FILE", help="As a server with this configuration does it.")
@click.option(
    "--transport",
    "transports",
    type=click.Choice(TRANSPORTS),
    multiple=True,
    help="What can be sent over; may be repeated. Default: what the configuration listens on, or everything.",
)
@click.option(
    "--name-server",
    "name_servers",
    type=Checked("address", NameServer),
    multiple=True,
    metavar="ADDRESS",
    help="Ask this one; may be repeated. Default: those of the configuration, or of the system.",
)
@AS_JSON
@examples(
    "fastsip resolve sip:example.com",
    "fastsip resolve sips:bob@example.com --name-server 192.0.2.53 --json | jq -r .servers[0].address",
)
def resolve(
    uri: str, path: Path | None, transports: tuple[str, ...], name_servers: tuple[str, ...], as_json: bool
) -> None:
    """Say where requests to URI are sent, in the order the servers are tried, and which DNS records say so (RFC 3263).

    Ends with 1 if there is no server.
    """
    configuration = loaded(path, modules=False)
    if not transports:
        listened = [listen.transport for listen in configuration.tables.server.listen]
        transports = tuple(listened) if path is not None else TRANSPORTS
    setup = dns(configuration)
    if name_servers:
        setup = msgspec.structs.replace(setup, servers=list(name_servers))
    from fastsip.dns.console import resolve as resolved  # asyncio and dnspython are a third of a second

    sys.exit(resolved(uri, setup, frozenset(transports), as_json))


command.add_command(ctl)
command.add_command(load_command)


def main() -> NoReturn:
    """Entry point of the console script."""
    command(prog_name="fastsip")
    sys.exit(0)
