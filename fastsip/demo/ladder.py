"""One call as a ladder diagram and its messages, as RFC 3665 draws them. Pure: messages in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

PAUSE = 0.1
"""Seconds without a message that are drawn as a gap."""
MARGIN = 4
TIMES = 14
"""Columns right of the last lifeline."""


class Step(NamedTuple):
    """One message on its way. `at` is in seconds, from any clock; `source` and `target` name lifelines."""

    at: float
    source: str
    target: str
    data: bytes


def title(data: bytes) -> str:
    """What stands on an arrow: a request's method, a response's status and reason."""
    first = data.split(b"\r\n", 1)[0].decode("utf-8", "replace")
    return first[8:] if first.startswith("SIP/2.0 ") else first.split(" ", 1)[0]


def draw(steps: Sequence[Step], lifelines: Sequence[str], width: int = 100) -> str:
    """The diagram: a column for each lifeline, an arrow for each message with F1, F2... and its method or status, and
    milliseconds since the first at the right. At most `width` columns, as far as names and numbers allow.

    Raises ValueError for a step between lifelines that are not neighbours.
    """
    gaps = max(1, len(lifelines) - 1)
    wanted = max((len(_label(number, step)) for number, step in enumerate(steps, 1)), default=0) + 2
    span = max(16, min(wanted, (width - MARGIN - TIMES) // gaps))
    return "\n".join(line.rstrip() for line in _lines(steps, lifelines, span))


def _lines(steps: Sequence[Step], lifelines: Sequence[str], span: int) -> Iterator[str]:
    blank = _row(lifelines, {}, span)
    previous = steps[0].at if steps else 0.0
    yield _names(lifelines, span)
    yield blank
    for number, step in enumerate(steps, 1):
        if step.at - previous > PAUSE:
            yield _row(lifelines, {}, span, rung=":") + f"  {step.at - previous:8.1f} s"
            yield blank
        previous = step.at
        left, right = sorted((lifelines.index(step.source), lifelines.index(step.target)))
        if right != left + 1:
            raise ValueError(f"F{number} goes from {step.source} to {step.target}, which are not neighbours")
        dashes = "-" * (span - 2)
        arrow = f"{dashes}>" if lifelines[left] == step.source else f"<{dashes}"
        label = _shorten(_label(number, step), span - 1)
        yield _row(lifelines, {left: label}, span) + f"  {(step.at - steps[0].at) * 1000:8.1f} ms"
        yield _row(lifelines, {left: arrow}, span)
    yield blank


def _label(number: int, step: Step) -> str:
    return f" F{number} {title(step.data)}"


def _names(lifelines: Sequence[str], span: int) -> str:
    line = ""
    for index, name in enumerate(lifelines):
        line = f"{line:{max(0, MARGIN + index * span - len(name) // 2)}}{name}"
    return line


def _row(lifelines: Sequence[str], between: dict[int, str], span: int, rung: str = "|") -> str:
    return " " * MARGIN + rung + "".join(
        f"{between.get(index, ''):{span - 1}}{rung}" for index in range(len(lifelines) - 1)
    )


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2].rstrip() + ".."


def transcript(steps: Sequence[Step], width: int = 100) -> str:
    """The messages one after another, each under its number, lines longer than `width` folded and indented."""
    return "\n\n".join(
        f"F{number} {title(step.data)}   {step.source} -> {step.target}\n\n" + _folded(step.data, width)
        for number, step in enumerate(steps, 1)
    )


def _folded(data: bytes, width: int) -> str:
    text = data.decode("utf-8", "replace").rstrip("\r\n")
    return "\n".join(
        f"    {piece}".rstrip() for line in text.split("\r\n") for piece in _pieces(_printable(line), width - 4)
    )


def _pieces(line: str, width: int) -> Iterator[str]:
    """Cut behind a space, comma or semicolon where there is one, anywhere where there is none."""
    while len(line) > width:
        cut = max(line.rfind(mark, 8, width) for mark in " ,;") + 1 or width
        yield line[:cut]
        line = "    " + line[cut:].lstrip()
    yield line


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in line)
