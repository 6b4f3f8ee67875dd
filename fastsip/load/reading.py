"""What a person types for times, shares, numbers and bounds, read into numbers. Everything here raises ValueError with
a text that says what is allowed. A range is written `a..b` wherever there is one."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

from .setup import Hold

DURATION = 'a time such as "30s", "500ms", "2m" or "1h30m"; a bare number is seconds'
_UNITS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_RANGE = re.compile(r"\.\.")

KINDS = ("call", "register", "options", "message")


def duration(text: str) -> float:
    """Seconds: 90.0 from "1m30s"."""
    bare = text.strip()
    if _NUMBER.fullmatch(bare):
        return float(bare)
    if not _DURATION.fullmatch(bare):
        raise ValueError(f"expected {DURATION}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(bare))


def milliseconds(text: str) -> int:
    """The same in whole milliseconds, at most 1,000 hours: what timers of the engine take."""
    value = round(duration(text) * 1000)
    if value > 3_600_000_000:
        raise ValueError("expected at most 1000h")
    return value


def microseconds(text: str) -> int:
    """The same in whole microseconds, at most a second."""
    value = round(duration(text) * 1e6)
    if value > 1_000_000:
        raise ValueError("expected at most 1s")
    return value


def number(text: str) -> float:
    """A positive decimal number; "10k" is 10,000."""
    bare = text.strip().replace("_", "")
    factor = 1000.0 if bare.endswith("k") else 1.0
    bare = bare.removesuffix("k")
    if not _NUMBER.fullmatch(bare):
        raise ValueError('expected a number such as "500", "0.5" or "10k"')
    return float(bare) * factor


def bound_ms(text: str) -> float:
    """A bound in milliseconds."""
    value = float(text) if _NUMBER.fullmatch(text.strip()) else -1.0
    if value < 0:
        raise ValueError('expected milliseconds such as "20" or "0.5"')
    return value


def share(text: str) -> float:
    """0..1: 0.05 from "5%" or "0.05"."""
    bare = text.strip()
    percent = bare.endswith("%")
    bare = bare.removesuffix("%")
    value = float(bare) / (100 if percent else 1) if _NUMBER.fullmatch(bare) else -1.0
    if not 0 <= value <= 1:
        raise ValueError('expected a share such as "5%" or "0.05"')
    return value


def ends(text: str) -> tuple[str, str] | None:
    """("1s", "5s") from "1s..5s"; None if it is no range."""
    parts = _RANGE.split(text)
    return (parts[0], parts[1]) if len(parts) == 2 else None


def hold(text: str) -> Hold:
    """A distribution of hold times: "3s" for each, "exp:3s" exponential with that mean, "1s..5s" even in between."""
    kind: Literal["constant", "exponential"] = "constant"
    name, colon, rest = text.strip().partition(":")
    if colon:
        if name not in ("exp", "exponential"):
            raise ValueError(f'"{name}": expected "3s", "exp:3s" or "1s..5s"')
        kind, text = "exponential", rest
    if between := ends(text):
        if colon:
            raise ValueError('expected "exp:3s" or "1s..5s", not both')
        low, high = (milliseconds(end) for end in between)
        if low > high:
            raise ValueError("the first time of a range is the shorter one")
        return Hold(kind="uniform", least=low, mean=(low + high) // 2)
    return Hold(kind=kind, mean=milliseconds(text))


def said(hold: Hold) -> str:
    """A distribution in words, seconds."""
    mean = f"{hold.mean / 1000:g} s"
    if hold.kind == "exponential":
        return f"exponential, mean {mean}"
    if hold.kind == "uniform":
        return f"{hold.least / 1000:g} to {(2 * hold.mean - hold.least) / 1000:g} s"
    return mean


class Bound(NamedTuple):
    """At most so many failures: a number, or a share of what was offered."""

    limit: float
    is_share: bool

    def broken(self, failed: int, offered: int) -> bool:
        return failed > (self.limit * offered if self.is_share else self.limit)

    def __str__(self) -> str:
        return f"{self.limit * 100:g}%" if self.is_share else f"{self.limit:g}"


def bound(text: str) -> Bound:
    """From "10" or "0.5%"."""
    if text.strip().endswith("%"):
        return Bound(share(text), True)
    if not text.strip().isdecimal():
        raise ValueError('expected a number such as "10" or a share such as "0.5%"')
    return Bound(int(text), False)


def mix(text: str) -> dict[str, float]:
    """Kinds of work by weight, of a sum of 1: from "call=5,register=2,options=1"."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        kind, equals, weight = part.strip().partition("=")
        if kind not in KINDS:
            raise ValueError(f'"{kind}": expected one of {", ".join(KINDS)}, as in "call=5,register=2,options=1"')
        if kind in weights:
            raise ValueError(f"{kind} is in it twice")
        weights[kind] = number(weight) if equals else 1.0
    total = math.fsum(weights.values())
    if not total:
        raise ValueError("all weights are 0")
    return {kind: weight / total for kind, weight in weights.items() if weight}
