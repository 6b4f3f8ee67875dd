"""`fastsip load`: what a person types. What runs is in the other modules, and imported when it is needed."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import options
from .options import DURATION, MIX, option, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .asked import Asked
    from .report import Report

FAILED, WRONG = 1, 2


def fail(text: str, code: int) -> NoReturn:
    click.echo(f"fastsip load: {text}", err=True)
    sys.exit(code)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """A text and an exit code instead of a traceback for what is not a mistake of ours."""
    from .fleet import CannotRun
    from .wrong import Wrong

    try:
        yield
    except Wrong as error:
        fail(str(error), WRONG)
    except CannotRun as error:
        fail(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(where + (error.strerror or str(error)), FAILED)


@click.group()
def load() -> None:
    """Generate SIP load: calls, registrations, OPTIONS and messages, at a rate that no slow server changes.

    \b
    Examples:
      fastsip load call 127.0.0.1:5060 --answer --rate 500 --hold 3s
      fastsip load answer --listen udp:127.0.0.1:5090
      fastsip load call 127.0.0.1:5090 --rate 100..5000 --duration 60s --json
      fastsip load call tcp:127.0.0.1:5060 --answer --connections 50
      fastsip load register 127.0.0.1:5060 --users users.csv --rate 1000
      fastsip load mix 127.0.0.1:5060 --mix call=5,register=2,options=1 --answer
      fastsip load call 127.0.0.1:5060 --answer --search --quick

    A range is written a..b: rates (100..5000), users (user0..999@example.com), sources (127.0.0.1..100:5080..5089),
    hold times (1s..5s). Ctrl-C begins nothing new and waits for what is open; a second one ends at once.

    Exit codes: 0 fine; 1 a bound is broken, or nothing was done; 2 wrong usage.
    """


generating = together(options.target, options.how_often)


@load.command()
@generating
@options.who
@options.call_shape
@options.both_ends
@options.answer_shape
@options.result
@options.search
def call(**given: Any) -> None:
    """Calls: INVITE, 100, 180, 200, ACK, a hold time, BYE, 200.

    With --answer one command does both ends of calls through a server: it registers the users at TARGET (with their
    Digest passwords, where it is challenged), calls among them and removes their bindings afterwards. Without it
    somebody else answers: `fastsip load answer`, or whatever is at TARGET.
    """
    _go("call", given)


@load.command()
@generating
@options.who
@option(
    "--mode",
    type=click.Choice(["new", "refresh", "remove"]),
    default="new",
    show_default=True,
    help="Bindings of users in turn; refreshes of bindings made before; removals of such.",
)
@option("--contact", metavar="HOST:PORT", help="Where the bindings point to. Default: the first source.")
@option("--fresh", is_flag=True, help="Use no nonce twice: every REGISTER is challenged.")
@option(
    "--expires", type=click.IntRange(0), default=3600, metavar="SECONDS", show_default=True, help="Of the bindings."
)
@options.result
@options.search
@options.search_registrations
def register(**given: Any) -> None:
    """Registrations of the users in turn, with Digest where the server asks for it.

    Each REGISTER is for another user until all had one; from then on it is a refresh. New bindings are left in place;
    --mode refresh and remove begin with bindings for all users, which are gone in the end.
    """
    _go("register", given)


@load.command("options")
@generating
@options.who
@options.result
def options_(**given: Any) -> None:
    """OPTIONS to the target itself."""
    _go("options", given)


@load.command()
@generating
@options.who
@option("--to", metavar="FILE|PATTERN", help="Who gets them, as --users. Default: the users, or the target itself.")
@option(
    "--body", type=click.IntRange(0, 60000), default=20, metavar="BYTES", show_default=True, help="Size of the text."
)
@options.both_ends
@options.result
def message(**given: Any) -> None:
    """MESSAGE (RFC 3428), a text to one user after the other."""
    _go("message", given)


@load.command()
@generating
@option(
    "--mix",
    type=MIX,
    default="call=5,register=2,options=1",
    metavar="KIND=WEIGHT,...",
    show_default=True,
    help="Kinds of work by weight: call, register, options, message.",
)
@options.who
@options.call_shape
@options.both_ends
@options.answer_shape
@options.result
def mix(**given: Any) -> None:
    """Several kinds of work at once, by weight. The rate is that of all of them together."""
    _go("mix", given)


@load.command()
@option(
    "--listen",
    default="udp:127.0.0.1:5090",
    metavar="ADDRESS",
    show_default=True,
    help="Where to listen; tcp:127.0.0.1:5090 for TCP, tls: with --cert and --key.",
)
@options.certificate
@options.answer_shape
@option("--busy", type=options.SHARE, default=0.0, metavar="SHARE", help="Calls answered with 486.")
@option("--body", type=click.IntRange(0, 60000), default=0, metavar="BYTES", help="Size of SDP in the 200.")
@option("--duration", type=DURATION, metavar="TIME", help="How long. Default: until Ctrl-C or SIGTERM.")
@options.gather
@option("--threads", type=click.IntRange(1, 64), default=1, metavar="N", show_default=True, help="Threads that answer.")
@option("--seed", type=click.IntRange(0, 2**31), default=1, metavar="N", show_default=True, help="Of what is drawn.")
@option("--json", "as_json", is_flag=True, help="Print the counters as JSON when it ends.")
@option("--quiet", "-q", is_flag=True, help="Nothing while it goes on.")
def answer(**given: Any) -> None:
    """The callee's side: answers INVITE, re-INVITE, CANCEL, BYE, OPTIONS and MESSAGE."""
    with errors_for_people():
        from .answering import main

        sys.exit(main(given))


def _go(name: str, given: dict[str, Any]) -> None:
    with errors_for_people():
        from .asked import Asked

        asked = Asked(name, given)
        if given.get("search"):
            from .searching import main

            sys.exit(main(asked, given))
        _refuse_without_search()
        sys.exit(_run(asked, given))


def _refuse_without_search() -> None:
    """Raises Wrong for an option that was given and means something to --search only."""
    from .wrong import Wrong

    context = click.get_current_context()
    for parameter in context.command.params:
        named = parameter.name or ""
        source = context.get_parameter_source(named)
        if named in options.SEARCH_ONLY and source == click.core.ParameterSource.COMMANDLINE:
            raise Wrong(f"{parameter.opts[0]} goes with --search")


def _run(asked: Asked, given: dict[str, Any]) -> int:
    from .console import Consoles
    from .course import Interrupts, run
    from .limits import Limits
    from .live import View
    from .report import Report

    work = asked.work()
    if given["histogram"]:
        given["histogram"].mkdir(parents=True, exist_ok=True)
    consoles = Consoles(given["as_json"])
    view = View(consoles.progress, given["quiet"])
    for note in asked.notes:
        view.say(note)
    with Interrupts() as interrupts, view:
        outcome = run(work, view, interrupts)
    report = Report(outcome, Limits(given["max_failures"], given["p99_ms"]))
    if given["as_json"]:
        consoles.document(report.document())
        report.verdict(consoles.progress)
    else:
        report.show(consoles.result)
    if given["histogram"]:
        write_histograms(report, given["histogram"])
    return report.exit_code


def write_histograms(report: Report, folder: Path) -> None:
    """One file for each response time there is."""
    for name, times in report.outcome.numbers.histograms.items():
        if times.total:
            times.write(folder / f"{name}.hgrm")
