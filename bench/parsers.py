"""Parsers beside fastsip's: libosip2 and sofia-sip from C, sipmessage and sippy from Python.

    python bench/parsers.py [--quick]

In C: nanoseconds to parse a message and give it back, each under the same clock, least of the rounds. Both libraries
build a tree of allocated values; fastsip's parser fills one struct with offsets and reads eight values, which is what
a proxy needs, so the comparison is of jobs and not of equal results. In Python: parse, then read five headers, as text
and as the values in them (branch, tags, Call-ID, CSeq number). sippy makes objects of header bodies: one figure.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import timeit
from collections.abc import Callable, Iterator
from typing import Any

from measure import NotBuilt, compiled, package_flags, package_version, pinned
from parse import CORPUS, PLOT, least
from rows import Bench, Row, alone, missing

import fastsip

TITLE = "Parsers"
ABOUT = "the same messages in other parsers, least of the rounds; from Python with five headers read"
SAMPLES = ("invite_500", "invite_1400")
LIBRARIES = (
    ("libosip2", "libosip2", ("-DOSIP",), "libosip2-dev"),
    ("sofia-sip", "sofia-sip-ua", ("-DSOFIA",), "libsofia-sip-ua-dev"),
)
"""Name, pkg-config's name, flags, Debian package."""
TIMES = 20.0
"""How many times as fast as sipmessage fastsip.parse has to be."""


def rows(bench: Bench) -> Iterator[Row]:
    rounds = bench.pick(2, 50, 300)
    with pinned():
        own = {name: least((CORPUS / f"{name}.sip").read_bytes(), rounds * 10, False) for name in SAMPLES}
        for name, package, flags, debian in LIBRARIES:
            bench.say(f"parsing with {name}")
            yield from _library(name, package, flags, debian, rounds, own)
        yield from _python(bench, rounds)


def _library(
    name: str, package: str, flags: tuple[str, ...], debian: str, rounds: int, own: dict[str, float]
) -> Iterator[Row]:
    try:
        program = compiled("parsers", name, (*flags, *package_flags(package)))
    except NotBuilt as error:
        yield missing(f"{name} in C", f"{error}: apt-get install {debian}", "ns")
        return
    files = [str(CORPUS / f"{sample}.sip") for sample in SAMPLES]
    done = subprocess.run([program, str(rounds), *files], capture_output=True, text=True, timeout=120)
    if done.returncode:
        yield missing(f"{name} in C", done.stderr.strip(), "ns")
        return
    version = package_version(package)
    for sample, word in zip(SAMPLES, done.stdout.split(), strict=True):
        note = f"{float(word) / own[sample]:.1f} x fastsip's"
        yield Row(f"{name} {version}, {sample}", float(word), "ns", rival=True, note=note, plot=(PLOT, sample, name))


def _python(bench: Bench, rounds: int) -> Iterator[Row]:
    data = (CORPUS / "invite_500.sip").read_bytes()
    readers = {"fastsip": _fastsip(data), "sipmessage": _sipmessage(data), "sippy": _sippy(data)}
    found: dict[tuple[str, str], float] = {}
    for name, ways in readers.items():
        if isinstance(ways, str):
            yield missing(f"{name} from Python", ways, "µs")
            continue
        bench.say(f"parsing with {name} from Python")
        version = f" {importlib.metadata.version(name)}" if name != "fastsip" else ""
        for way, read in ways.items():
            taken = min(timeit.repeat(read, number=100, repeat=rounds)) / 100 * 1e6
            found[name, way] = taken
            yield Row(f"{name}{version} from Python, {way}", taken, "µs", rival=name != "fastsip")
    for way in ("five headers as text", "five values"):
        if ("sipmessage", way) in found:
            times = found["sipmessage", way] / found["fastsip", way]
            yield Row(f"fastsip.parse against sipmessage, {way}", times, "x", TIMES, least=True)


Ways = dict[str, Callable[[], Any]]


def _fastsip(data: bytes) -> Ways:
    def text() -> tuple[str, ...]:
        headers = fastsip.parse(data).headers
        return headers["Via"], headers["From"], headers["To"], headers["Call-ID"], headers["CSeq"]

    def values() -> Any:
        message = fastsip.parse(data)
        return message.branch, message.from_tag, message.to_tag, message.call_id, message.cseq

    return {"five headers as text": text, "five values": values}


def _sipmessage(data: bytes) -> Ways | str:
    try:
        parse = importlib.import_module("sipmessage").Message.parse
    except ImportError:
        return "not installed: pip install sipmessage"

    def text() -> tuple[str, ...]:
        headers = parse(data).headers
        return headers["Via"], headers["From"], headers["To"], headers["Call-ID"], headers["CSeq"]

    def values() -> Any:
        message = parse(data)
        return (
            message.via[0].parameters.get("branch"),
            message.from_address.parameters.get("tag"),
            message.to_address.parameters.get("tag"),
            message.call_id,
            message.cseq.sequence,
        )

    assert [values(), text()] == [_fastsip(data)["five values"](), _fastsip(data)["five headers as text"]()]
    return {"five headers as text": text, "five values": values}


def _sippy(data: bytes) -> Ways | str:
    try:
        request = importlib.import_module("sippy.SipRequest").SipRequest
    except ImportError as error:
        return f"not installed: pip install sippy ({error})"
    message = data.decode()

    def bodies() -> tuple[Any, ...]:
        body = request(message).getHFBody
        return body("via"), body("from"), body("to"), body("call-id"), body("cseq")

    return {"five header bodies": bodies}


if __name__ == "__main__":
    alone(__name__)
