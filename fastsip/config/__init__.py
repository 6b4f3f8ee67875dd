"""The configuration: one TOML file, or none, and what the command line says instead.

    configuration = load(Path("fastsip.toml"))      # raises ConfigurationError with everything that is wrong

`Configuration` is frozen and whole: tables with defaults filled in, accounts with their hashes. `setup.py` turns it
into what the processes are handed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fastsip.policy.probe import Probed
from fastsip.services.record import Record

from . import checks, gateways, people, services, tls
from .document import Document
from .files import only_files
from .people import Account
from .problems import ConfigurationError, Problem
from .reading import Reader
from .schema import Tables, usable_cpus
from .services import Served
from .values import Domain, Listen, bracketed

__all__ = [
    "Account", "Configuration", "ConfigurationError", "Domain", "Listen", "Overrides", "Problem", "control", "load",
    "load_embedded", "usable_cpus",
]  # fmt: skip

MEMORY = ":memory:"
NO_MODULE = Probed()


@dataclass(frozen=True)
class Overrides:
    """What the command line says instead of the file; empty means the file's word stands."""

    listen: tuple[str, ...] = ()
    workers: int | None = None
    domains: tuple[str, ...] = ()

    def laid_over(self, data: dict[str, Any]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.listen:
            given["listen"] = list(self.listen)
        if self.workers is not None:
            given["workers"] = self.workers
        if self.domains:
            given["domains"] = list(self.domains)
        server = data.get("server", {})
        return {**data, "server": {**server, **given}} if given and isinstance(server, dict) else data


@dataclass(frozen=True)
class Configuration:
    """A configuration that can be served."""

    path: Path | None
    tables: Tables
    required: tuple[str, ...]
    """`auth.required` with its default worked out."""
    accounts: tuple[Account, ...] = dataclasses.field(repr=False)
    served: tuple[Served, ...]
    """Who has services, of `users` and the services file together."""
    default_domain: str
    """What a bare user name belongs to: the first domain, or else the first listen address."""
    probed: Probed = NO_MODULE
    """What the policy's module has."""
    tls_files: tls.Files = dataclasses.field(default_factory=dict, repr=False)
    """What the files of the `tls` table held."""
    warnings: tuple[Problem, ...] = ()
    """What can be served, and is hardly meant."""

    @property
    def store(self) -> str:
        """Absolute path of the store file, or ":memory:"."""
        if self.tables.state.path == MEMORY:
            return MEMORY
        return str(self.beside(self.tables.state.path))

    @property
    def loopback_only(self) -> bool:
        return all(listen.loopback for listen in self.tables.server.listen)

    def beside(self, path: str) -> Path:
        base = self.path.resolve().parent if self.path else Path.cwd()
        return (base / path).absolute()


def load(path: Path | None, overrides: Overrides | None = None, modules: bool = True) -> Configuration:
    """Read and check a configuration (None: the defaults, which keep nothing), and whether the policy's module can be
    loaded, unless `modules` is false.

    Raises ConfigurationError with all problems found, those of the users file too.
    """
    document = Document.read(path) if path else Document("command line", "")
    return _checked(path, document, (overrides or Overrides()).laid_over(document.data), modules)


def control(path: Path) -> Path | None:
    """What `server.control` of a file says, None if nothing. It is all that is looked at: whoever asks a running server
    may be about to put the rest right.

    Raises ConfigurationError if the file is not TOML, or that key is wrong.
    """
    document = Document.read(path)
    server = document.data.get("server", {})
    if isinstance(server, dict):
        server = {key: value for key, value in server.items() if key == "control"}
    reader = Reader(document)
    tables = reader.table(Tables, {"server": server})
    if reader.problems or tables is None:
        raise ConfigurationError(reader.problems)
    return None if tables.server.control is None else (Path(folder(path)) / tables.server.control).absolute()


def load_embedded(path: Path | None, data: Mapping[str, Any], tables: Mapping[str, Any]) -> Configuration:
    """The configuration of a server inside another program: a file, or `data` with the same tables, and `tables` laid
    over it key by key. It has one worker, whatever is said.

    Raises ConfigurationError with all problems found.
    """
    document = Document.read(path) if path else Document("configuration", "")
    raw = {**document.data, **_plain(data)}
    for name, table in _plain(tables).items():
        below = raw.get(name)
        raw[name] = {**below, **table} if isinstance(below, dict) and isinstance(table, dict) else table
    if isinstance(raw.get("server", {}), dict):
        raw["server"] = {**raw.get("server", {}), "workers": 1}
    return _checked(path, document, raw)


def _plain(value: Any) -> Any:
    """As TOML has it: what a program holds in mappings, tuples and paths."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _checked(path: Path | None, document: Document, raw: dict[str, Any], modules: bool = True) -> Configuration:
    if path is None and isinstance(raw.get("state", {}), dict):
        raw = {**raw, "state": {"path": MEMORY, **raw.get("state", {})}}
    reader = Reader(document)
    tables = reader.table(Tables, raw) or Tables()
    default_domain = _default_domain(tables)
    realm = tables.auth.realm
    seen = people.tables(reader, tables.users, realm, default_domain)
    accounts: list[Account] = []
    served: list[Served] = []
    places = dict(seen)
    file_problems: list[Problem] = []
    if not reader.problems:
        accounts = people.table_accounts(tables.users, realm, default_domain)
        if users_file := _file(reader, path, "auth.users_file", tables.auth.users_file):
            with_password = {  # the tables of others are services of whoever is in the file
                address: key
                for address, key in seen.items()
                if tables.users[key.removeprefix("users.")].password is not None
            }
            from_file, file_problems = people.file_accounts(users_file, realm, default_domain, with_password)
            accounts += from_file
        served, more = _served(reader, path, tables, default_domain, places)
        file_problems += more
        checks.homeless(reader, accounts, default_domain)

    names_users = bool(tables.users) or tables.auth.users_file is not None
    required = tables.auth.required
    if isinstance(required, msgspec.UnsetType):
        effective: tuple[str, ...] = ("*",) if names_users else ()
    else:
        effective = tuple(map(str, required))
    checks.contradictions(reader, raw, tables, effective)
    gateways.check(reader, raw, tables)
    tls_files = tls.check(reader, tables, folder(path))
    probed = checks.module(reader, tables, folder(path)) if modules else NO_MODULE
    if reader.problems or file_problems:
        raise ConfigurationError([*reader.problems, *file_problems])
    checks.stateless(reader, tables, served)
    astray = checks.astray(reader, tables, served, places, accounts if effective else None, default_domain)
    people_alone = {name: msgspec.structs.replace(person, password=None) for name, person in tables.users.items()}
    tables = msgspec.structs.replace(tables, users=people_alone)
    whole = (tuple(accounts), tuple(served), default_domain, probed, tls_files, (*astray, *reader.warnings))
    return Configuration(path, tables, effective, *whole)


def folder(path: Path | None) -> str:
    """Where a configuration lies: what it names is looked for there."""
    return str(path.resolve().parent if path else Path.cwd())


def _served(
    reader: Reader, path: Path | None, tables: Tables, default_domain: str, places: dict[str, str]
) -> tuple[list[Served], list[Problem]]:
    """The services of everybody, and what is wrong with the file they are in. `places` (user@domain to where) grows."""
    served = services.table_services(reader, tables.users, default_domain)
    file = _file(reader, path, "services.file", tables.services.file)
    if file is None:
        return served, []
    seen = {aor: places[aor] for aor, _ in served}
    from_file, problems = services.file_services(file, default_domain, seen)
    places.update(seen)
    return served + [(aor, record) for aor, record in from_file if record != Record()], problems


def _file(reader: Reader, path: Path | None, key: str, name: str | None) -> Path | None:
    """A file that lies beside the configuration; None, and a problem, if it cannot be read."""
    if name is None:
        return None
    file = (path.resolve().parent if path else Path.cwd()) / name
    try:
        open(file, "rb", opener=only_files).close()
    except OSError as error:
        reader.problem(key, f"cannot read {file}: {error.strerror}", value=name)
        return None
    return file


def _default_domain(tables: Tables) -> str:
    if tables.server.domains:
        return str(tables.server.domains[0])
    return bracketed(tables.server.listen[0].public[0])
