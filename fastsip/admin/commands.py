"""`fastsip ctl`: what a person types and reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import orjson

from fastsip.config import ConfigurationError

from . import statistics
from .client import Client, Failed, NoServer
from .gateways import show
from .paths import control_path_by

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, one document a line.")


def fail(text: str, code: int = 1) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


class Target:
    """Which server is meant."""

    def __init__(self, control: Path | None, config: Path | None) -> None:
        self._control = control
        self._config = config

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A connection, and ends with a text instead of tracebacks."""
        try:
            path = self._control or control_path_by(self._config)
            client = Client(path)
            try:
                yield client
            finally:
                client.close()
        except ConfigurationError as error:
            fail(str(error), 2)
        except (NoServer, Failed, PermissionError) as error:
            fail(str(error))


@click.group()
@click.option("--control", type=click.Path(path_type=Path), metavar="PATH", help="The server's control socket.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The server's configuration file.")
@click.pass_context
def ctl(context: click.Context, control: Path | None, config: Path | None) -> None:
    """Ask and tell a running server.

    Without --control or --config the server meant is the one that runs without a configuration.

    \b
    Examples:
      fastsip ctl stats
      fastsip ctl --config /etc/fastsip.toml contacts bob@example.com
      fastsip ctl users add alice@example.com
      fastsip ctl contacts --json | jq -r .uri
    """
    if control is not None and config is not None:
        raise click.UsageError("--control and --config both say which server: give one")
    context.obj = Target(control, config)


@ctl.command()
@AS_JSON
@click.pass_obj
def stats(target: Target, as_json: bool) -> None:
    """What every worker has done: messages, transactions, hand-offs, drops, calls."""
    with target.client() as client:
        result = client.ask("stats")
    if as_json:
        line(result)
    else:
        _show_stats(result)


@ctl.command()
@AS_JSON
@click.pass_obj
def gateways(target: Target, as_json: bool) -> None:
    """Every gateway: whether it is well, its calls, and what its last OPTIONS said."""
    with target.client() as client:
        items = list(client.items("gateways"))
    if as_json:
        for item in items:
            line(item)
    elif items:
        show(items)
    else:
        click.echo("there are no gateways in the configuration")


@ctl.command()
@click.argument("aor", required=False)
@AS_JSON
@click.pass_obj
def contacts(target: Target, aor: str | None, as_json: bool) -> None:
    """Registered contacts, of everybody or of one AOR (bob@example.com)."""
    with target.client() as client:
        for item in client.items("contacts", aor=aor):
            if as_json:
                line(item)
            else:
                q = "" if item["q"] == 1 else f" q={item['q']:g}"
                click.echo(f"{item['aor']}  {item['uri']}  {item['expires_in']}s{q}  from {item['source']}")


@ctl.command()
@AS_JSON
@click.pass_obj
def dialogs(target: Target, as_json: bool) -> None:
    """Calls that are up."""
    with target.client() as client:
        for item in client.items("dialogs"):
            if as_json:
                line(item)
            else:
                click.echo("  ".join(str(value) for value in item.values()))


@ctl.command()
@AS_JSON
@click.pass_obj
def reload(target: Target, as_json: bool) -> None:
    """Read the configuration again and follow it, or say what is wrong with it."""
    with target.client() as client:
        result = client.ask("reload")
    done(result, as_json, "the configuration was read again")


@ctl.command()
@AS_JSON
@click.pass_obj
def drain(target: Target, as_json: bool) -> None:
    """Take no new calls, let those that are being set up finish, and end."""
    with target.client() as client:
        result = client.ask("drain")
    done(result, as_json, "draining")


@ctl.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def users(context: click.Context, as_json: bool) -> None:
    """Users who may authenticate: list (the default), add, remove."""
    if context.invoked_subcommand is None:
        context.invoke(users_list, as_json=as_json)


@users.command("list")
@AS_JSON
@click.pass_obj
def users_list(target: Target, as_json: bool) -> None:
    """All users, and where each is from."""
    with target.client() as client:
        for item in client.items("users"):
            if as_json:
                line(item)
            else:
                click.echo(f"{item['username']}@{item['domain']}  {item['from']}")


@users.command("add")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@AS_JSON
@click.pass_obj
def users_add(target: Target, name: str, password_stdin: bool, as_json: bool) -> None:
    """Add the user NAME (alice@example.com), or change the password of one that was added so.

    Asks for the password. It is hashed at once and kept as HA1 in the server's store.
    """
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True)
    if not password:
        fail("the password is empty", 2)
    with target.client() as client:
        result = client.ask("users_add", username=name, password=password)
    what = "changed" if result.get("replaced") else "added"
    done(result, as_json, f"{what} {result['username']}@{result['domain']}")


@users.command("remove")
@click.argument("name")
@AS_JSON
@click.pass_obj
def users_remove(target: Target, name: str, as_json: bool) -> None:
    """Remove the user NAME, one that was added with `users add`."""
    with target.client() as client:
        result = client.ask("users_remove", username=name)
    done(result, as_json, f"removed {result['username']}@{result['domain']}")


def done(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Say what was done."""
    if as_json:
        line(result)
    else:
        click.echo(text)


def line(document: dict[str, Any]) -> None:
    """Print one JSON document."""
    sys.stdout.buffer.write(orjson.dumps(document) + b"\n")


def _show_stats(result: dict[str, Any]) -> None:
    from rich.console import Console  # a tenth of a second that only this command needs
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(box=None, pad_edge=False, header_style="bold", caption=statistics.LEGEND, caption_justify="left")
    table.add_column("worker", no_wrap=True)
    table.add_column("pid", no_wrap=True)
    for heading in statistics.HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for worker in result["workers"]:
        numbers = statistics.summary(worker["counters"])
        table.add_row(str(worker["worker"]), statistics.worker_line(worker), *(f"{number:,}" for number in numbers))
    table.add_section()
    table.add_row("all", "", *(f"{number:,}" for number in statistics.summary(result["total"])))
    listening = ", ".join(result["listen"])
    steering = f", {result['steering']} steering" if result["steering"] != "off" else ""
    draining = ", draining" if result["draining"] else ""
    title = f"fastsip {result['version']} (pid {result['pid']}) on {listening}{steering}{draining}"
    console.print(title, highlight=False)
    console.print(table)
    state = result["state"]
    if state is None:
        console.print("state process: down (calls go on, registrations wait)", style="bold red")
    else:
        console.print(
            f"{state.get('bindings', 0):,} bindings of {state.get('aors', 0):,} addresses-of-record, "
            f"{state.get('users', 0):,} users, {state.get('dialogs', 0):,} dialogs",
            highlight=False,
        )
    if not result["durable"]:
        console.print("the store fails: registrations are kept in memory only", style="bold red")
    unwell = [one for one in result["gateways"] if one["state"] != "up"]
    if unwell:
        show(unwell)
    restarts = result["restarts"]
    if restarts["workers"] or restarts["state"]:
        console.print(f"replaced: {restarts['workers']} workers, {restarts['state']} state processes", highlight=False)
