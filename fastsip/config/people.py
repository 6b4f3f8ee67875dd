"""Users from the tables of the configuration and from the CSV file, as accounts with HA1 hashes (RFC 7616 3.4.2).

A password lives only as long as it takes to hash it; what leaves this module cannot say it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastsip.auth import ha1_md5, ha1_sha256

from .problems import Problem
from .reading import Reader
from .schema import Person
from .values import Domain, Username

HEADERS = ("username,password[,domain]", "username,ha1,ha1_sha256[,domain]")
ROW_PROBLEMS_AT_MOST = 20

_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Account(NamedTuple):
    """A user who can authenticate: username, domain, hex HA1 by MD5 and by SHA-256 ("" when unknown)."""

    username: str
    domain: str
    ha1_md5: str
    ha1_sha256: str


def split_name(name: str, default_domain: str) -> tuple[str, str]:
    """("bob", "example.com") from "bob@example.com" or "bob". Raises ValueError if it is no such name."""
    username, at, domain = name.rpartition("@")
    if not at:
        return Username.of(name), default_domain
    return Username.of(username), Domain.of(domain)


def tables(reader: Reader, people: dict[str, Person], realm: str | None, default_domain: str) -> dict[str, str]:
    """Check the names of `people`; the result maps each user@domain to the key that has it."""
    seen: dict[str, str] = {}
    for name in people:
        key = f"users.{name}"
        try:
            username, domain = split_name(name, default_domain)
        except ValueError:
            reader.problem(key, 'expected a user such as "bob" or "bob@example.com"')
            continue
        address = f"{username}@{domain}"
        if address in seen:
            reader.problem(key, f"the same user as {seen[address]}: {address}")
        else:
            seen[address] = key
    return seen


def table_accounts(people: dict[str, Person], realm: str | None, default_domain: str) -> list[Account]:
    """The accounts of the tables that have a password."""
    accounts = []
    for name, person in people.items():
        if person.password is not None:
            username, domain = split_name(name, default_domain)
            accounts.append(_hashed(username, domain, realm, person.password))
    return accounts


def file_accounts(
    path: Path, realm: str | None, default_domain: str, seen: dict[str, str]
) -> tuple[list[Account], list[Problem]]:
    """The accounts of a CSV file, and what is wrong with its rows. `seen` (user@domain to where) grows."""
    name = str(path)
    problems: list[Problem] = []
    accounts: list[Account] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [column.strip().lower() for column in next(rows, [])]
            if not _header_fits(header):
                return [], [Problem(name, 1, "", f"expected the header {HEADERS[0]} or {HEADERS[1]}", ",".join(header))]
            for line, row in numbered(rows):
                account, wrong = _row(header, row, realm, default_domain)
                if account is not None:
                    address = f"{account.username}@{account.domain}"
                    if address in seen:
                        wrong = f"{address} is already in {seen[address]}"
                    else:
                        seen[address] = f"{name}:{line}"
                        accounts.append(account)
                if wrong:
                    problems.append(Problem(name, line, "", wrong))
                    if len(problems) == ROW_PROBLEMS_AT_MOST:
                        problems.append(Problem(name, line, "", "too many mistakes: the rest was not read"))
                        break
    except OSError as error:
        problems.append(Problem(name, 0, "", f"cannot read it: {error.strerror}"))
    except UnicodeDecodeError:
        problems.append(Problem(name, 0, "", "not UTF-8 text"))
    except csv.Error as error:
        problems.append(Problem(name, rows.line_num, "", f"not CSV: {error}"))
    return accounts, problems


def numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV reader that hold something, each with the line it ends on."""
    for row in rows:
        if row and any(cell.strip() for cell in row):
            yield rows.line_num, row  # type: ignore[attr-defined]


def _header_fits(header: list[str]) -> bool:
    names = set(header)
    if len(names) != len(header):
        return False
    return names - {"domain"} in ({"username", "password"}, {"username", "ha1", "ha1_sha256"})


def _row(header: list[str], row: list[str], realm: str | None, default_domain: str) -> tuple[Account | None, str]:
    if len(row) != len(header):
        return None, f"expected {len(header)} columns ({','.join(header)}), found {len(row)}"
    cells = dict(zip(header, row, strict=True))
    try:
        username = Username.of(cells["username"].strip())
    except ValueError:
        return None, f'username = "{cells["username"]}": expected {Username.ALLOWED}'
    domain = default_domain
    if cells.get("domain", "").strip():
        try:
            domain = Domain.of(cells["domain"].strip())
        except ValueError:
            return None, f'domain = "{cells["domain"]}": expected {Domain.ALLOWED}'
    if "password" in cells:
        if not cells["password"]:
            return None, f"{username} has an empty password"
        return _hashed(username, domain, realm, cells["password"]), ""
    md5, sha256 = cells["ha1"].strip(), cells["ha1_sha256"].strip()
    if not md5 and not sha256:
        return None, f"{username} has neither ha1 nor ha1_sha256"
    if md5 and not _MD5.fullmatch(md5):
        return None, f"ha1 of {username}: expected 32 hexadecimal digits, or nothing"
    if sha256 and not _SHA256.fullmatch(sha256):
        return None, f"ha1_sha256 of {username}: expected 64 hexadecimal digits, or nothing"
    return Account(str(username), str(domain), md5.lower(), sha256.lower()), ""


def _hashed(username: str, domain: str, realm: str | None, password: str) -> Account:
    effective = domain if realm is None else realm
    return Account(
        str(username),
        str(domain),
        ha1_md5(username, effective, password),
        ha1_sha256(username, effective, password),
    )
