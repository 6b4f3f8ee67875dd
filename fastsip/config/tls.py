"""The `tls` table: what is wrong with it, and what workers are handed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from fastsip._tls import SetupError, TlsContexts
from fastsip.launch import TlsSetup

from .files import only_files
from .reading import Reader
from .schema import Tables, Tls

Files = Mapping[str, bytes]
"""What files hold, by their absolute path."""


def tls_setup(table: Tls, folder: str, secret: bytes, files: Files) -> TlsSetup | None:
    """None without certificates. Paths are relative to `folder`."""
    pairs = [(chain, key) for _, chain, key in _pairs(table)]
    if not pairs:
        return None
    here = Path(folder)
    return TlsSetup(
        certificates=[(str(here / chain), str(here / key)) for chain, key in pairs],
        ca_file=str(here / table.ca_file) if table.ca_file else None,
        files=dict(files),
        verify_client=table.verify_client,
        verify_server=table.verify_server,
        minimum=table.minimum,
        ciphers=table.ciphers,
        suites=table.suites,
        tickets=table.tickets,
        ticket_secret=secret,
    )


def _pairs(table: Tls) -> list[tuple[str, str, str]]:
    """The table where they stand, certificate, key."""
    pairs = [(f"tls.certificates[{at}]", one.certificate, one.key) for at, one in enumerate(table.certificates)]
    if table.certificate is not None and table.key is not None:
        pairs.insert(0, ("tls", table.certificate, table.key))
    return pairs


def _read(setup: TlsSetup) -> Files:
    """All that can be read: what is looked over now is what workers are handed, whatever is on the disk by then."""
    paths = [path for pair in setup.certificates for path in pair]
    files = {}
    for path in [*paths, setup.ca_file] if setup.ca_file else paths:
        with contextlib.suppress(OSError), open(path, "rb", opener=only_files) as file:
            files[path] = file.read()
    return files


def check(reader: Reader, tables: Tables, folder: str) -> Files:
    """Report what does not go together, and files that cannot be used; what the others hold."""
    table = tables.tls
    if table.alias and not table.verify_server:
        reader.problem(
            "tls.alias",
            "expected tls.verify_server = true beside it: others are asked to send requests back by our connections, "
            "and nobody would know who they are",
            value=True,
        )
    if reader.complained("tls.certificate", "tls.certificates", "tls.key"):
        return {}  # and who needs one is not told that there is none
    if (table.certificate is None) != (table.key is None):
        missing, there = ("key", "certificate") if table.key is None else ("certificate", "key")
        reader.problem(f"tls.{there}", f"expected tls.{missing} beside it")
        return {}
    setup = tls_setup(table, folder, b"", {})
    for index, listen in enumerate(tables.server.listen):
        if listen.transport in ("tls", "wss") and setup is None:
            reader.problem(
                f"server.listen[{index}]",
                f"{listen} needs a certificate: tls.certificate and tls.key, or tls.certificates",
            )
            return {}
    if setup is None:
        return {}
    files = _read(setup)
    try:
        contexts = TlsContexts(msgspec.structs.replace(setup, files=files))
    except SetupError as error:
        _wrong_file(reader, table, error)
    except (ValueError, RuntimeError) as error:
        reader.problem("tls", str(error))
    else:
        _outside_its_time(reader, table, contexts)
    return files


def _outside_its_time(reader: Reader, table: Tls, contexts: TlsContexts) -> None:
    """Warn of certificates that others refuse by now, or still."""
    now = time.time()
    for (where, chain, _key), (_names, begins, ends) in zip(_pairs(table), contexts.certificates, strict=True):
        if now < begins:
            reader.warn(f"{where}.certificate", f"not valid before {_day(begins)}: others refuse it", value=chain)
        elif 0 < ends < now:
            reader.warn(f"{where}.certificate", f"expired on {_day(ends)}: others refuse it", value=chain)


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _wrong_file(reader: Reader, table: Tls, error: SetupError) -> None:
    if error.key == "ca_file":
        reader.problem("tls.ca_file", error.text, value=table.ca_file)
        return
    where, chain, key = _pairs(table)[error.index]
    reader.problem(f"{where}.{error.key}", error.text, value=chain if error.key == "certificate" else key)
