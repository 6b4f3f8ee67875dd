"""Who calls and who is called: users from a CSV file, or from a pattern that counts."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from fastsip.config.values import Domain, Username

from .setup import User

ALLOWED = 'a CSV file, or a pattern such as "user0..9999@example.com" (0..99 counts; 0000..9999 keeps the zeros)'
AT_MOST = 10_000_000
COLUMNS = ("username", "password", "domain")

_COUNT = re.compile(r"(\d+)\.\.(\d+)")


class WrongUsers(ValueError):
    """What is wrong with users, for a person; with file and line where there is one."""


def read_users(text: str, domain: str, password: str | None = None) -> list[User]:
    """The users `text` says: a file, or else a pattern. `domain` and `password` are for users who bring none.

    Raises WrongUsers.
    """
    path = Path(text)
    if path.is_file():
        users = list(_from_file(path, domain, password))
    elif path.suffix == ".csv" or ("/" in text and "@" not in text):
        raise WrongUsers(f"{text}: there is no such file")
    else:
        users = _from_pattern(text, domain, password)
    if not users:
        raise WrongUsers(f"{text}: no users in it")
    return users


def counted(pattern: str) -> list[str]:
    """The strings a pattern with at most one `first..last` stands for. Raises WrongUsers."""
    found = _COUNT.findall(pattern)
    if not found:
        return [pattern]
    if len(found) > 1:
        raise WrongUsers(f"{pattern}: one range is enough")
    first, last = found[0]
    begin, end = int(first), int(last)
    if end < begin or end - begin >= AT_MOST:
        raise WrongUsers(f"{pattern}: expected a range upwards, of at most {AT_MOST:,}")
    width = len(first) if first.startswith("0") and len(first) > 1 else 0
    before, after = _COUNT.split(pattern)[0], _COUNT.split(pattern)[-1]
    return [f"{before}{number:0{width}}{after}" for number in range(begin, end + 1)]


def _from_pattern(text: str, domain: str, password: str | None) -> list[User]:
    bare = text.removeprefix("sip:")
    name, at, own = bare.rpartition("@")
    if at:
        domain = _domain(own, text)
    else:
        name = bare
    names = counted(name)
    try:
        Username.of(names[0])
    except ValueError:
        raise WrongUsers(f"{text}: expected {ALLOWED}") from None
    return [_user(each, domain, password) for each in names]


def _domain(text: str, whole: str) -> str:
    """A domain, with a port if it has one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or host.endswith(":"):
        host, colon, port = text, "", ""
    try:
        return f"{Domain.of(host)}{colon}{port}"
    except ValueError:
        raise WrongUsers(f"{whole}: {text!r}: expected {Domain.ALLOWED}") from None


def _user(name: str, domain: str, password: str | None) -> User:
    return User(aor=f"sip:{name}@{domain}", name=name, password=password)


def _from_file(path: Path, domain: str, password: str | None) -> Iterator[User]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [column.strip().lower() for column in next(rows, [])]
            if "username" not in header or not set(header) <= set(COLUMNS) or len(set(header)) != len(header):
                hashed = " (hashes do not do: who calls has to know the password)" if "ha1" in header else ""
                raise WrongUsers(f"{path}:1: expected the header username[,password][,domain]{hashed}")
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield _row(header, row, f"{path}:{rows.line_num}", domain, password)
    except OSError as error:
        raise WrongUsers(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUsers(f"{path}: not UTF-8 text") from None
    except csv.Error as error:
        raise WrongUsers(f"{path}:{rows.line_num}: not CSV: {error}") from None


def _row(header: list[str], row: list[str], where: str, domain: str, password: str | None) -> User:
    if len(row) != len(header):
        raise WrongUsers(f"{where}: expected {len(header)} columns ({','.join(header)}), found {len(row)}")
    cells = dict(zip(header, row, strict=True))
    try:
        name = str(Username.of(cells["username"].strip()))
    except ValueError:
        raise WrongUsers(f'{where}: username = "{cells["username"]}": expected {Username.ALLOWED}') from None
    own = cells.get("domain", "").strip()
    return _user(name, _domain(own, where) if own else domain, cells.get("password") or password)
