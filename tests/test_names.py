"""Names: the generated header is fresh, and its hash finds what names.py says and nothing else."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastsip import names
from fastsip._message import _header_id, _method_id, _reason_phrase

ROOT = Path(__file__).parent.parent


def test_generated_header_is_fresh() -> None:
    done = subprocess.run([sys.executable, ROOT / "ext/gen_names.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("prefix", "expected"), [("HDR_", [name for name, _ in names.HEADERS]), ("METHOD_", list(names.METHODS))]
)
def test_contract_names_them_all(prefix: str, expected: list[str]) -> None:
    contract = (ROOT / "fastsip/_message.pxd").read_text()
    found = re.findall(rf"\b{prefix}[A-Z_]+\b", contract.split("int header_id")[0])
    constants = [prefix + name.upper().replace("-", "_") for name in expected]
    assert [name for name in found if name != prefix] == [prefix + "UNKNOWN", *constants, prefix + "COUNT"]


def test_every_header_in_any_case() -> None:
    for index, (name, compact) in enumerate(names.HEADERS, 1):
        spellings = {name, name.lower(), name.upper(), name.swapcase()} | {compact, compact.upper()} - {""}
        assert {_header_id(spelling.encode()) for spelling in spellings} == {index}, name


def test_names_are_unique() -> None:
    spellings = [part.lower() for pair in names.HEADERS for part in pair if part]
    assert len(set(spellings)) == len(spellings)
    assert len(set(names.METHODS)) == len(names.METHODS)


def test_other_names_are_unknown() -> None:
    """One byte changed, added or left out: another name, unless it is in the table itself."""
    known = {part.lower().encode() for pair in names.HEADERS for part in pair if part}
    for name in sorted(known):
        for at in range(len(name) + 1):
            for byte in range(256):
                other = name[:at] + bytes((byte,)) + name[at + 1 :]
                if other.lower() not in known:
                    assert _header_id(other) == 0, other
            for other in (name[:at] + b"x" + name[at:], name[:at] + name[at + 1 :]):
                if other not in known:
                    assert _header_id(other) == 0, other
    generator = random.Random(1)
    for _ in range(2000):
        other = bytes(generator.choices(b"abcdeforvt-", k=generator.randrange(30)))
        assert (_header_id(other) == 0) == (other not in known)


def test_methods_are_case_sensitive() -> None:
    for index, method in enumerate(names.METHODS, 1):
        assert _method_id(method.encode()) == index
        for other in (method.lower(), method.title(), method + "X", method[:-1], "X" + method):
            assert _method_id(other.encode()) == 0, other
    assert _method_id(b"") == 0 and _method_id(b"X" * 100) == 0


@pytest.mark.parametrize(("status", "phrase"), names.REASONS.items())
def test_reason_phrase(status: int, phrase: str) -> None:
    assert _reason_phrase(status) == phrase


def test_unknown_status_has_the_phrase_of_its_class() -> None:
    assert [_reason_phrase(status) for status in (199 - 10, 299, 399, 499, 599, 699)] == [
        names.CLASS_REASONS[digit] for digit in range(1, 7)
    ]
    assert _reason_phrase(0) == _reason_phrase(700) == "Unknown"
