"""Options the commands of `fastsip load` share: kinds of value, and groups of options as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from . import addresses, reading

Decorator = Callable[[Any], Any]


class Read(click.ParamType):  # type: ignore[type-arg]
    """A value read by a function that raises ValueError with what is allowed."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


DURATION = Read("duration", reading.duration)
MILLISECONDS = Read("duration", reading.milliseconds)
MICROSECONDS = Read("duration", reading.microseconds)
SHARE = Read("share", reading.share)
HOLD = Read("hold", reading.hold)
MIX = Read("mix", reading.mix)
BOUND_MS = Read("milliseconds", reading.bound_ms)
BOUND = Read("bound", reading.bound)
TARGET = Read("target", addresses.read_target)
SOURCE = Read("source", addresses.read_source)


SEARCH_ONLY = {
    "sessions", "initial", "increase", "decrease", "quick", "no_baseline", "time_limit", "again_after", "no_again",
}  # fmt: skip
"""Options that mean something to --search only."""


def together(*decorators: Decorator) -> Decorator:
    def applied(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return applied


def option(*names: str, **how: Any) -> Decorator:
    return click.option(*names, **how)


target = click.argument("target", type=TARGET)

how_often = together(
    option(
        "--rate",
        default="10",
        metavar="RATE",
        show_default=True,
        help="Begun per second: 500, a ramp 100..5000, or steps 100,200,400.",
    ),
    option("--duration", type=DURATION, metavar="TIME", help="How long to begin work. Default: 30s, or until --count."),
    option("--step", type=DURATION, metavar="TIME", help="How long each of several rates lasts."),
    option("--count", "--calls", type=click.IntRange(1), metavar="N", help="Begin so many and no more."),
    option(
        "--poisson/--uniform",
        default=True,
        help="Arrivals of a Poisson process (default), or at equal distances. Both are an open loop.",
    ),
    option(
        "--in-flight",
        type=click.IntRange(1),
        default=100_000,
        metavar="N",
        show_default=True,
        help="At most so many at once, to bound memory. What is due above is counted and told.",
    ),
)

gather = option(
    "--gather",
    type=MICROSECONDS,
    default=0,
    metavar="TIME",
    help="A busy thread turns only so often (200us): much less CPU, and everything is up to so much later.",
)

certificate = together(
    option("--cert", metavar="FILE", help="TLS: the certificate to show, with its chain, in PEM."),
    option("--key", metavar="FILE", help="TLS: its key."),
)

connections = together(
    option(
        "--transport",
        type=click.Choice(["udp", "tcp", "tls"]),
        metavar="udp|tcp|tls",
        help="How the target is reached. Default: what TARGET says, tls:127.0.0.1:5061 or sip:...;transport=tcp; udp.",
    ),
    option(
        "--connections",
        type=click.IntRange(1, 1_000_000),
        metavar="N",
        help="By TCP or TLS: how many connections callers share, which stay open. Default: 8; where users register, "
        "one for each of them, at most 1,000.",
    ),
    option("--ca", metavar="FILE", help="TLS: whose certificates are believed, in PEM. Default: the system's."),
    option("--insecure", is_flag=True, help="TLS: believe everyone."),
    certificate,
)

who = together(
    gather,
    connections,
    option(
        "--users",
        metavar="FILE|PATTERN",
        help="Who calls and registers: a CSV file (username[,password][,domain]) or a pattern that counts, "
        "user0..9999@example.com. Default: user0..99 of the target.",
    ),
    option("--domain", metavar="NAME", help="Domain of users who bring none. Default: the target."),
    option("--password", metavar="TEXT", help="Digest password of users who bring none."),
    option(
        "--source",
        "sources",
        type=SOURCE,
        multiple=True,
        metavar="ADDRESS[:PORT]",
        help="Send from here; may be repeated and may be a range, 127.0.0.1..100:5080..5089.",
    ),
    option(
        "--threads",
        type=click.IntRange(1, 64),
        default=1,
        metavar="N",
        show_default=True,
        help="Threads to generate in, and as many to answer in where --answer is given.",
    ),
    option(
        "--seed",
        type=click.IntRange(0, 2**31),
        default=1,
        metavar="N",
        show_default=True,
        help="Of everything drawn: arrivals, users, hold times, shares.",
    ),
)

result = together(
    option("--json", "as_json", is_flag=True, help="Print the result as JSON (keys: pydoc fastsip.load.report)."),
    option(
        "--histogram",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Write each response time's percentiles there as NAME.hgrm, for HdrHistogram's plotter.",
    ),
    option("--max-failures", type=BOUND, metavar="N|N%", help="End with 1 if more fail than this."),
    option(
        "--p99-ms",
        type=BOUND_MS,
        metavar="MS",
        help="End with 1 if the 99th percentile of the main response time is above: INVITE to 200, or to final.",
    ),
    option("--quiet", "-q", is_flag=True, help="Nothing while it goes on."),
)

call_shape = together(
    option(
        "--hold",
        type=HOLD,
        default="0s",
        metavar="TIME",
        show_default=True,
        help="From ACK to BYE: 3s, exp:3s (exponential), or 1s..5s (even).",
    ),
    option(
        "--to",
        metavar="FILE|PATTERN",
        help="Who is called, as --users. Default: the users, or the target itself where there are no users.",
    ),
    option(
        "--reinvite", type=SHARE, default=0.0, metavar="SHARE", help="Calls with a re-INVITE half way, such as 10%."
    ),
    option("--cancel", type=SHARE, default=0.0, metavar="SHARE", help="Calls cancelled while they ring."),
    option(
        "--cancel-after", type=MILLISECONDS, default=0, metavar="TIME", help="How long a call rings before its CANCEL."
    ),
    option(
        "--body", type=click.IntRange(0, 60000), default=0, metavar="BYTES", help="Size of SDP (or of a text message)."
    ),
    option(
        "--busy",
        type=SHARE,
        default=0.0,
        metavar="SHARE",
        help="Calls the callees answer with 486; these count as done.",
    ),
)

answer_shape = together(
    option("--ring", type=MILLISECONDS, default=0, metavar="TIME", help="From 180 to 200."),
    option("--silent", is_flag=True, help="No 180: 200 at once, or after --ring."),
)

both_ends = together(
    option(
        "--answer",
        "answers",
        is_flag=True,
        help="Be the callees too: register the users at the target, answer their calls, remove the bindings after.",
    ),
    option(
        "--register/--no-register", "register", default=None, help="With --answer: whether to register. Default: yes."
    ),
    option(
        "--listen", metavar="ADDRESS", help="Where the callees are reached. Default: a free port towards the target."
    ),
    option(
        "--expires", type=click.IntRange(1), default=3600, metavar="SECONDS", show_default=True, help="Of bindings."
    ),
)

search = together(
    option(
        "--search",
        is_flag=True,
        help="Find the highest rate without a failure (RFC 7502 4.10), a baseline without "
        "the server first, and report as RFC 7502 5 asks. Ignores --rate, --duration and --count.",
    ),
    option(
        "--sessions",
        "-N",
        "sessions",
        type=click.IntRange(1),
        default=50_000,
        metavar="N",
        show_default=True,
        help="RFC 7502 N: sessions attempted at each rate.",
    ),
    option(
        "--initial",
        "-r",
        "initial",
        type=click.IntRange(1),
        default=100,
        metavar="N",
        show_default=True,
        help="RFC 7502 r: the first rate, per second.",
    ),
    option(
        "--increase",
        "-w",
        "increase",
        type=SHARE,
        default="0.10",
        metavar="SHARE",
        show_default=True,
        help="RFC 7502 w: how much higher after success.",
    ),
    option(
        "--decrease",
        "-d",
        "decrease",
        type=SHARE,
        metavar="SHARE",
        help="RFC 7502 d: how much lower after failure. Default: max(0.10, w / 2).",
    ),
    option(
        "--quick", is_flag=True, help="A tenth of --sessions: a first impression, not comparable with literal results."
    ),
    option("--no-baseline", is_flag=True, help="Leave the baseline out."),
    option("--time-limit", type=DURATION, metavar="TIME", help="Stop after this, converged or not; it is told which."),
)

search_registrations = together(
    option(
        "--again-after",
        type=DURATION,
        default="5m",
        metavar="TIME",
        show_default=True,
        help="With --search: the pause before the re-registration rate (RFC 7502 6.8: 5 to 10 minutes).",
    ),
    option("--no-again", is_flag=True, help="With --search: leave the re-registration rate out."),
)
