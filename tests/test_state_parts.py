"""Parts of the state process, each alone: versions, expiry, a full table, the dialog table, wire format, logging."""

from __future__ import annotations

import io
import json
import logging
import random
import sqlite3
from pathlib import Path
from typing import Any

import msgpack
import pytest

from fastsip import log
from fastsip._facts import Dialogs, Register, apply
from fastsip._location import RECORD_BINDINGS, summarize_bindings
from fastsip.location import LocationTable, MemoryTable
from fastsip.state import schema
from fastsip.state.bindings import Bindings
from fastsip.state.expiry import Expiry
from fastsip.state.facts import Batch, Hello
from fastsip.state.users import Users
from fastsip.state.workers import Workers

NOW = 1_800_000_000_000
BOB = b"bob@example.com"


def register(uri: bytes, expires: int = 3600, cseq: int = 1, call_id: bytes = b"x") -> Register:
    fact = [1, 1, BOB, call_id, cseq, 0, [4, bytes(16), 5062, 0, 1, 0], b"", [[uri, 1000, expires, b""]]]
    (one,), _ = apply(msgpack.packb(fact), 1, 0, Dialogs())
    return one


def tell(dialogs: Dialogs, *listed: list[Any]) -> None:
    assert apply(b"".join(map(msgpack.packb, listed)), len(listed), 0, dialogs) == ([], 0)


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
        tell(dialogs, [2, b"%d" % number, b"f", b"t", b"", b"", number])
    assert (len(dialogs), dialogs.dropped) == (600, 1400)
    cursor, listed = dialogs.list(0, 100)
    assert [d["call_id"] for d in listed] == [str(n) for n in range(1400, 1500)]
    for number in range(1500, 1700):
        tell(dialogs, [3, b"%d" % number, b"f", b"t"])
    assert cursor is not None
    cursor, listed = dialogs.list(cursor, 1000)
    assert cursor is None and [d["call_id"] for d in listed] == [str(n) for n in range(1700, 2000)]


def test_dialogs_come_and_go_as_in_a_dictionary() -> None:
    """Against a model: forked calls of one Call-ID, BYEs of either side, unknown ones, repeats, growth and holes."""
    chance, dialogs, model = random.Random(3), Dialogs(limit=10_000), {}
    for step in range(60_000):
        call, tag = b"c%d" % chance.randrange(step // 8 + 1), b"t%d" % chance.randrange(2)
        if chance.random() < 0.6:
            tell(dialogs, [2, call, b"f", tag, b"sip:a", b"sip:b", step])
            model.setdefault((call, tag), step)
        else:
            tell(dialogs, [3, call, *chance.sample([b"f", tag], 2)])
            model.pop((call, tag), None)
    assert len(dialogs) == len(model) > 1000 and not dialogs.dropped
    cursor: int | None = 0
    found = []
    while cursor is not None:
        cursor, listed = dialogs.list(cursor, 97)
        found += [(d["call_id"], d["to_tag"], d["confirmed"]) for d in listed]
    assert found == [(call.decode(), tag.decode(), step) for (call, tag), step in model.items()]


def test_dialogs_nobody_ended_go_by_age() -> None:
    dialogs = Dialogs(lifetime=1000)
    tell(dialogs, *[[2, b"%d" % n, b"f", b"t", b"", b"", NOW + n] for n in range(100)])
    dialogs.expire(NOW + 1029, 10)
    assert (len(dialogs), dialogs.expired) == (90, 10)
    dialogs.expire(NOW + 1029, 100)
    assert (len(dialogs), dialogs.expired) == (70, 30)
    assert dialogs.list(0, 1)[1][0]["call_id"] == "30"
    dialogs.expire(NOW + 10_000, 100)
    assert (len(dialogs), dialogs.dropped) == (0, 0)


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
    assert apply(one * 3, 3, 0, Dialogs()) == ([], 0)
    for body, count in ((one, 2), (one * 2, 1), (one[:-1], 1), (one + b"\xc1", 2), (one + one[:3], 2), (b"", 1)):
        with pytest.raises(ValueError):
            apply(body, count, 0, Dialogs())


def test_facts_that_are_none_are_left_out() -> None:
    dialogs = Dialogs()
    good = [2, b"c", b"f", b"t", b"sip:a", b"sip:b", 1]
    strange = [7, None, True, -1, 1.5, "text", {"a": [1, {2: 3}]}, [], [4], ["x"], [2], [*good, 1, 1]]
    strange += [[2, *good[2:], 1]]
    strange += [[3, b"c", 1, b"t"], [2, "c", *good[2:]], [b"x" * 70_000], msgpack.ExtType(5, b"abc"), [2**64 - 1]]
    strange += [[2, b"x" * 65_536, *good[2:]], list(range(70_000)), [1], [1, b"token"]]
    body = b"".join(map(msgpack.packb, [*strange, good]))
    assert apply(body, len(strange) + 1, 0, dialogs) == ([], len(strange))
    assert len(dialogs) == 1


def test_a_register_with_a_token_is_answered_whatever_else_it_is() -> None:
    fact = [1, 9, BOB, b"c", 1, 0, [4, bytes(16), 5062, 0, 1, 0], b"", [[b"sip:a", 1000, 60, b""]]]
    wrong = [fact[:8], [*fact, 1], [*fact[:2], "bob", *fact[3:]], [*fact[:4], 2**32, *fact[5:]]]
    wrong += [[*fact[:6], origin, *fact[7:]] for origin in ([], [5, *fact[6][1:]], [4, b"", *fact[6][2:]])]
    wrong += [[*fact[:8], contacts] for contacts in (0, [[b"sip:a"]], [[b"sip:a", 1000, -1, b""]])]
    wrong += [[*fact[:5], 1, *fact[6:]]]
    registers, left_out = apply(b"".join(map(msgpack.packb, [*wrong, fact])), len(wrong) + 1, 0, Dialogs())
    assert [(r.token, r.readable) for r in registers] == [(9, False)] * len(wrong) + [(9, True)]
    assert registers[-1].index == len(wrong) and not left_out
    with pytest.raises(ValueError, match="not a REGISTER"):
        registers[0].decide(None, NOW, 10, 1)


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
