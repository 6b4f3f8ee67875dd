"""Services of people: from the tables of the configuration, from a CSV or JSON file, and as `ctl` is told them.

    username,forward_busy,ring_time,find_me,do_not_disturb
    bob,sip:bob@voicemail.example.com,15,bob sip:bob@home.example.net | tel:+19725557777,no

A CSV file has a column `username` (bob or bob@example.com) and one for each service it is about; blanks stand between
the items of a list, "|" between the groups of find_me. A JSON file has an object of services by name, or objects with
`aor` in a list or one a line, as `ctl services --json` writes them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fastsip._message import canonical_aor
from fastsip.services.record import KEYS, Record

from .document import Document
from .people import ROW_PROBLEMS_AT_MOST, numbered, split_name
from .problems import Problem, shown
from .reading import Reader
from .schema import Person, ServiceKeys
from .values import Domain, Username

Served = tuple[str, Record]
"""An address-of-record ("bob@example.com") and its services."""

FORWARDS = ("forward_always", "forward_busy", "forward_no_answer", "forward_unavailable")
_LISTS = ("block_incoming", "block_outgoing")
_FLAGS = ("refuse_anonymous", "do_not_disturb", "redirect")
_WORDS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


class _Line(Document):
    """One line of a file: every key stands there."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name, "")
        self._number = number

    def line(self, key: str) -> int:
        return self._number


def table_services(reader: Reader, people: dict[str, Person], default_domain: str) -> list[Served]:
    """The services in the tables of `people`, whose names have been checked."""
    found = []
    for name, person in people.items():
        username, domain = split_name(name, default_domain)
        record = _record(person, default_domain)
        if record != Record():
            aor = f"{username}@{domain}"
            _check_whole(reader, aor, record, f"users.{name}.")
            found.append((aor, record))
    return found


def file_services(path: Path, default_domain: str, seen: dict[str, str]) -> tuple[list[Served], list[Problem]]:
    """The services in a CSV or JSON file, and what is wrong with it. `seen` (user@domain to where) grows."""
    name = str(path)
    problems: list[Problem] = []
    found: list[Served] = []
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)
        for line, raw in rows:
            reader = Reader(_Line(name, line))
            served = _row(reader, raw, default_domain)
            if served is not None:
                if served[0] in seen:
                    reader.problem("", f"{served[0]} is already in {seen[served[0]]}")
                else:
                    seen[served[0]] = f"{name}:{line}" if line else name
                    found.append(served)
            problems += reader.problems
            if len(problems) >= ROW_PROBLEMS_AT_MOST:
                problems.append(Problem(name, line, "", "too many mistakes: the rest was not read"))
                break
    except OSError as error:
        problems.append(Problem(name, 0, "", f"cannot read it: {error.strerror}"))
    except UnicodeDecodeError:
        problems.append(Problem(name, 0, "", "not UTF-8 text"))
    except _NotAFile as error:
        problems.append(Problem(name, error.line, "", error.text))
    return found, problems


def read_services(aor: str, raw: dict[str, Any], default_domain: str) -> Record:
    """The record of services given one by one, as `ctl services set` does. Raises ValueError that says what is allowed,
    a line for each mistake."""
    reader = Reader(Document("", ""))
    keys = reader.table(ServiceKeys, {key: value for key, value in raw.items() if value is not None})
    record = Record() if keys is None else _record(keys, default_domain)
    _check_whole(reader, aor, record, "")
    if reader.problems:
        raise ValueError("\n".join(_said(problem) for problem in reader.problems))
    return record


def value_of(key: str, text: str) -> Any:
    """What a person types for a service, as a value: JSON, or as in a CSV file."""
    if text[:1] in ("[", '"'):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return _cell(key, text)


def _said(problem: Problem) -> str:
    return str(problem).removeprefix(": ")


def _record(keys: ServiceKeys, default_domain: str) -> Record:
    data = msgspec.structs.asdict(keys)
    for key in FORWARDS:
        data[key] = data[key] and _uri(data[key], default_domain)
    data["find_me"] = tuple(tuple(_uri(one, default_domain) for one in group) for group in keys.find_me)
    for key in _LISTS:
        data[key] = tuple(map(str, data[key]))
    return Record(**{key: data[key] for key in KEYS})


def _uri(destination: str, default_domain: str) -> str:
    if destination.lower().startswith(("sip:", "sips:", "tel:")):
        return str(destination)
    return f"sip:{destination}" if "@" in destination else f"sip:{destination}@{default_domain}"


def _check_whole(reader: Reader, aor: str, record: Record, prefix: str) -> None:
    """Report services that cannot be meant."""
    own = aor.encode()
    for key in FORWARDS:
        uri = getattr(record, key)
        if uri is not None and canonical_aor(uri.encode()) == own:
            reader.problem(f"{prefix}{key}", f"{aor} would forward to himself", value=uri)


def _row(reader: Reader, raw: dict[str, Any], default_domain: str) -> Served | None:
    """One person's services from a file."""
    name, domain = raw.pop("username", None), raw.pop("domain", None)
    before = len(reader.problems)
    try:
        username, home = split_name(name, default_domain) if isinstance(name, str) else (Username.of(name), "")
    except ValueError:
        reader.problem("username", 'expected a user such as "bob" or "bob@example.com"', value=name)
        return None
    if domain:
        try:
            home = Domain.of(domain)
        except ValueError:
            reader.problem("domain", f"expected {Domain.ALLOWED}", value=domain)
    keys = reader.table(ServiceKeys, raw)
    aor = f"{username}@{home}"
    record = Record() if keys is None else _record(keys, default_domain)
    _check_whole(reader, aor, record, "")
    return (aor, record) if len(reader.problems) == before else None


class _NotAFile(Exception):
    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text


def _csv_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        unknown = [column for column in header if column not in ("username", "domain", *KEYS)]
        if "username" not in header or len(header) < 2 or len(set(header)) != len(header) or unknown:
            known = f"username, domain, {', '.join(KEYS)}"
            what = f' found "{unknown[0]}"' if unknown else f" found {','.join(header) or 'nothing'}"
            raise _NotAFile(1, f"expected a header with username and services, each once,{what} (known: {known})")
        for line, row in numbered(rows):
            if len(row) != len(header):
                raise _NotAFile(line, f"expected {len(header)} columns ({','.join(header)}), found {len(row)}")
            cells = {key: cell.strip() for key, cell in zip(header, row, strict=True)}
            yield line, {k: v if k in ("username", "domain") else _cell(k, v) for k, v in cells.items() if v}
    except csv.Error as error:
        raise _NotAFile(rows.line_num, f"not CSV: {error}") from None


def _cell(key: str, text: str) -> Any:
    """A service's value as it stands in a cell; what it cannot be is left for the reader to refuse."""
    if key == "find_me":
        return [group.split() for group in text.split("|")]
    if key in _LISTS:
        return text.split()
    if key in _FLAGS:
        return _WORDS.get(text.lower(), text)
    if key == "ring_time":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or not lines[1][1].lstrip().startswith("{"):
            raise _NotAFile(getattr(error, "lineno", 0), f"not JSON: {error}") from None
        yield from _json_lines(lines)
        return
    if isinstance(document, dict) and "aor" not in document:
        for name, services in document.items():
            if not isinstance(services, dict):
                raise _NotAFile(0, f"{name} = {shown(name, services)}: expected an object of services")
            yield 0, {"username": name, **services}
        return
    for item in [document] if isinstance(document, dict) else document:
        yield 0, _item(0, item)


def _json_lines(lines: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines:
        try:
            yield number, _item(number, json.loads(line))
        except ValueError as error:
            raise _NotAFile(number, f"not JSON: {error}") from None


def _item(line: int, item: object) -> dict[str, Any]:
    if not isinstance(item, dict) or "aor" not in item:
        raise _NotAFile(line, f'{shown("", item)}: expected an object with "aor" and services')
    return {"username": item["aor"], **{key: value for key, value in item.items() if key not in ("aor", "from")}}
