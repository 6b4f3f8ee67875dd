"""Parts of the state process, each alone: versions, expiry, a full table, the dialog table, wire format, logging."""

from __future__ import annotations

import io
import json
import logging
import random
import sqlite3
from pathlib import Path

import msgpack
import pytest

from fastsip import log
from fastsip._location import RECORD_BINDINGS, summarize_bindings
from fastsip.location import LocationTable, MemoryTable
from fastsip.registrar import Origin, Register, RegisterContact
from fastsip.state import facts, schema
from fastsip.state.bindings import Bindings
from fastsip.state.dialogs import Dialogs
from fastsip.state.expiry import Expiry
from fastsip.state.facts import Batch, Hello, Malformed
from fastsip.state.users import Users
from fastsip.state.workers import Workers

NOW = 1_800_000_000_000
BOB = b"bob@example.com"


def register(uri: bytes, expires: int = 3600, cseq: int = 1, call_id: bytes = b"x") -> Register:
    contact = RegisterContact(uri, 1000, expires, b"")
    return Register(1, BOB, call_id, cseq, 0, Origin(4, bytes(16), 5062, 0, 1, 0), b"", (contact,))


def version(table: LocationTable) -> int:
    value = table.get(RECORD_BINDINGS, BOB)
    assert value is not None
    return summarize_bindings(value)[0]


def test_versions_grow_when_the_clock_goes_back() -> None:
    table = MemoryTable()
    bindings = Bindings(table, None, 10, False)
    assert bindings.register(register(b"sip:a"), NOW) == (200, 0)
    first = version(table)
    assert bindings.register(register(b"sip:a", cseq=2), NOW - 3_600_000) == (200, 0)
    assert version(table) > first
    successor = Bindings(table, None, 10, False)
    value = table.get(RECORD_BINDINGS, BOB)
    assert value is not None
    successor.adopt(BOB, value)
    before = version(table)
    assert successor.register(register(b"sip:a", cseq=3), NOW - 7_200_000) == (200, 0)
    assert version(table) > before


def test_full_table_refuses_and_changes_nothing() -> None:
    class Full(MemoryTable):
        def put(self, kind: int, key: bytes, value: bytes) -> None:
            raise MemoryError

    bindings = Bindings(Full(), None, 10, False)
    status, retry_after = bindings.register(register(b"sip:a"), NOW)
    assert status == 503 and retry_after > 0
    assert (bindings.aors, bindings.bindings) == (0, 0)
    assert bindings.next_expiry() is None


def test_expiry_takes_each_binding_in_its_second() -> None:
    table = MemoryTable()
    bindings = Bindings(table, None, 10, False)
    for number, seconds in enumerate((10, 30, 20)):
        bindings.register(register(b"sip:%d" % number, seconds, cseq=number + 1), NOW)
    left = []
    for second in range(0, 35, 5):
        while (due := bindings.next_expiry()) is not None and due <= NOW + second * 1000 + 1000:
            bindings.expire(NOW + second * 1000 + 1000, 1)
        left.append([b.uri for b in bindings.get(BOB)])
    both, one = [b"sip:1", b"sip:2"], [b"sip:1"]
    assert left == [[b"sip:0", *both], [b"sip:0", *both], both, both, one, one, []]
    assert (bindings.aors, bindings.bindings, bindings.expired) == (0, 0, 3)
    assert table.get(RECORD_BINDINGS, BOB) is None


def test_calendar_gives_everything_once_it_is_due() -> None:
    chance = random.Random(1)
    calendar, wanted = Expiry(), {}
    for number in range(2000):
        wanted[b"%d" % number] = when = chance.randrange(100_000)
        calendar.enter(b"%d" % number, when)
    for now in range(0, 110_000, 700):
        while found := calendar.due(now, 50):
            assert len(found) <= 50
            for aor in found:
                assert now - 1700 <= wanted.pop(aor) < now
    assert not wanted and not len(calendar) and calendar.next() is None


def test_dialogs_are_bounded_and_the_oldest_goes() -> None:
    dialogs = Dialogs(limit=600)
    for number in range(2000):
        dialogs.confirmed((2, b"%d" % number, b"f", b"t", b"", b"", number))
    assert (len(dialogs), dialogs.dropped) == (600, 1400)
    cursor, listed = dialogs.list(0, 100)
    assert [d["call_id"] for d in listed] == [str(n) for n in range(1400, 1500)]
    for number in range(1500, 1700):
        dialogs.ended((3, b"%d" % number, b"f", b"t"))
    assert cursor is not None
    cursor, listed = dialogs.list(cursor, 1000)
    assert cursor is None and [d["call_id"] for d in listed] == [str(n) for n in range(1700, 2000)]


def test_progress_of_workers() -> None:
    workers = Workers()
    progress, known = workers.begin(Batch(0, 1, 1, 10))
    assert known == 0
    progress.applied = 10
    assert workers.begin(Batch(0, 1, 6, 10, 1))[1] == 5
    assert workers.begin(Batch(0, 1, 1, 5, 1))[1] == 5
    assert workers.begin(Batch(0, 1, 12, 1, 11))[1] == -1  # number 11 is still kept: it comes again
    assert workers.begin(Batch(0, 1, 12, 1, 12))[1] == 0  # it was given up
    assert workers.begin(Batch(0, 1, 20, 1))[1] == 0  # the worker does not say
    assert workers.begin(Batch(0, 2, 1, 1, 1))[1] == 0  # its successor counts anew
    assert workers.begin(Batch(1, 1, 7, 1, 5))[1] == -1  # never heard of, and 5 and 6 are missing
    assert workers.hello(Hello(2, 1, 40)).applied == 39
    for index in range(1000):
        workers.hello(Hello(index, 9, 1))


def test_bodies_hold_what_they_say() -> None:
    one = msgpack.packb([3, b"c", b"f", b"t"])
    assert facts.decode_body(one * 3, 3) == [(3, b"c", b"f", b"t")] * 3
    for body, count in ((one, 2), (one * 2, 1), (one[:-1], 1), (one + b"\xc1", 1), (one + one[:3], 1)):
        with pytest.raises(Malformed):
            facts.decode_body(body, count)


def test_keys_are_made_once(tmp_path: Path) -> None:
    path = str(tmp_path / "fastsip.db")
    keys = schema.read_keys(path)
    assert len(keys) == schema.KEY_BYTES and schema.read_keys(path) == keys
    assert schema.read_keys(schema.MEMORY) != schema.read_keys(schema.MEMORY)


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, " * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        schema.connect(str(path))
    assert path.read_text().startswith("Dear reader, ")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE meta (name, value)")
    with pytest.raises(schema.WrongStore, match="schema None"):
        schema.connect(str(other))


def test_log_lines(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.raiseExceptions
    try:
        for form in ("text", "json"):
            stream = io.StringIO()
            log.configure("state", "warning", form, stream)
            logging.getLogger("fastsip.x").info("not this")
            logging.getLogger("fastsip.x").warning("two\nlines of %s", "text")
            (line,) = stream.getvalue().splitlines()
            if form == "json":
                fields = json.loads(line)
                assert (fields["process"], fields["level"], fields["message"]) == (
                    "state",
                    "warning",
                    "two\nlines of text",
                )
            else:
                assert " warning state[" in line and line.endswith("two | lines of text")
        with pytest.raises(ValueError, match="neither text nor json"):
            log.configure("state", "info", "xml")
        with pytest.raises(ValueError, match="unknown log level"):
            log.configure("state", "loud")
    finally:
        root.handlers[:], root.level, logging.raiseExceptions = before


@pytest.mark.parametrize("domain", ["0.0.0.0", "[::]"])
def test_bare_name_without_a_domain_to_belong_to(domain):
    answers = []
    users = Users(None, None, None, domain)
    users.add({"username": "bob", "password": "x"}, lambda ok, result: answers.append((ok, result)))
    assert answers == [(False, {"error": "the server has no domain of its own: say bob@DOMAIN"})]
