"""`fastsip ctl services`: forwarding, find-me, screening of people, while the server runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from fastsip.config.services import Served, file_services, value_of
from fastsip.services.record import KEYS, plain

from .commands import AS_JSON, Target, ctl, done, fail, line

BATCH = 64 * 1024
"""Bytes of records in one command, so that the state process has time for registrations between two."""


class _OrShow(click.Group):
    """A name in the place of a command asks for that person's."""

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = not arguments or arguments[0].startswith("-") or self.get_command(context, arguments[0]) is not None
        return super().resolve_command(context, arguments if known else ["show", *arguments])


@ctl.group(cls=_OrShow, invoke_without_command=True)
@AS_JSON
@click.pass_context
def services(context: click.Context, as_json: bool) -> None:
    """Services of people: list (the default), show, set, unset, import.

    What is set here is kept in the store and wins over the configuration until it is unset.

    \b
    Examples:
      fastsip ctl services show bob
      fastsip ctl services set bob forward_busy=sip:bob@voicemail.example.com ring_time=15
      fastsip ctl services set bob find_me='bob | sip:bob@home.example.net tel:+19725557777'
      fastsip ctl services set bob block_incoming='sip:spammer@* tel:+1900*' refuse_anonymous=yes
      fastsip ctl services set bob forward_busy=      (none, whatever the configuration says)
      fastsip ctl services unset bob forward_busy     (as in the configuration)
      fastsip ctl services import services.csv
      fastsip ctl services --json > services.json
    """
    if context.invoked_subcommand is None:
        context.invoke(services_list, as_json=as_json)


@services.command("list")
@AS_JSON
@click.pass_obj
def services_list(target: Target, as_json: bool) -> None:
    """Who has services, which, and where each is from."""
    with target.client() as client:
        for item in client.items("services"):
            if as_json:
                line(item)
            else:
                click.echo(_told(item))


@services.command("show")
@click.argument("aor")
@AS_JSON
@click.pass_obj
def services_show(target: Target, aor: str, as_json: bool) -> None:
    """The services of AOR (bob, or bob@example.com), and where each is from."""
    with target.client() as client:
        items = list(client.items("services", aor=aor))
    if not items:
        fail(f"{aor} has no services")
    done(items[0], as_json, _told(items[0]))


@services.command("set")
@click.argument("aor")
@click.argument("settings", nargs=-1, required=True, metavar="SERVICE=VALUE...")
@AS_JSON
@click.pass_obj
def services_set(target: Target, aor: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Set services of AOR; the others stay as they are. Without a value: none, whatever the configuration says.

    \b
    forward_always, forward_busy, forward_no_answer, forward_unavailable
                                      a URI, or somebody here by name
    ring_time                         seconds
    find_me                           who rings, in place of the devices; "|" between groups that ring in turn
    block_incoming, block_outgoing    URIs with "*" and "?" for anything
    refuse_anonymous, do_not_disturb, redirect
                                      yes or no
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or key not in KEYS:
            raise click.UsageError(f"{setting}: expected SERVICE=VALUE, and the services are {', '.join(KEYS)}")
        changes[key] = value_of(key, text) if text else text
    with target.client() as client:
        result = client.ask("services_set", aor=aor, services=changes)
    if warning := result.get("warning"):
        click.echo(f"warning: {warning}", err=True)
    done(result, as_json, _told(result))


@services.command("unset")
@click.argument("aor")
@click.argument("names", nargs=-1, metavar="[SERVICE...]")
@AS_JSON
@click.pass_obj
def services_unset(target: Target, aor: str, names: tuple[str, ...], as_json: bool) -> None:
    """Take back what was set for AOR: the named services, or all. What the configuration says holds again."""
    with target.client() as client:
        result = client.ask("services_unset", aor=aor, names=list(names))
    done(result, as_json, _told(result))


@services.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@AS_JSON
@click.pass_obj
def services_import(target: Target, file: Path, as_json: bool) -> None:
    """Give the people in FILE, CSV or JSON, the services that stand there, and no others.

    A CSV file has a column username (bob or bob@example.com) and one for each service; blanks between the items of a
    list, "|" between the groups of find_me. A JSON file has services by name, or what `ctl services --json` wrote. The
    whole file is checked first. People who are not in it keep what they have.
    """
    count = 0
    with target.client() as client:
        state = client.ask("stats")["state"]
        if state is None:
            fail("the state process is down: nothing was changed")
        records, problems = file_services(file, state["domain"], {})
        if problems:
            fail("\n".join(map(str, problems)), 2)
        for some in _batches(records):
            count += client.ask("services_replace", records=some)["count"]
    done({"count": count}, as_json, f"services of {count} from {file}")


def _batches(records: list[Served]) -> Iterator[dict[str, dict[str, Any]]]:
    some: dict[str, dict[str, Any]] = {}
    size = 0
    for aor, record in records:
        some[aor] = plain(record)
        size += len(aor) + len(orjson.dumps(some[aor]))
        if size > BATCH:
            yield some
            some, size = {}, 0
    if some:
        yield some


def _told(item: dict[str, Any]) -> str:
    """Services as `set` takes them, and behind those that have the same origin what it is."""
    told = [item["aor"]]
    for origin in ("configuration", "store"):
        if some := [f"{key}={_text(item[key])}" for key in KEYS if item["from"].get(key) == origin]:
            told += [*some, f"({origin})"]
    return "  ".join(told) if len(told) > 1 else f"{told[0]}  none"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        groups = [" ".join(one) if isinstance(one, list) else one for one in value]
        text = (" | " if value and isinstance(value[0], list) else " ").join(groups)
        return f"'{text}'"
    return str(value)
