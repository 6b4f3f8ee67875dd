"""Services in the state process: from the configuration and set over it; counted for the workers; kept on the disk.

1. What was set is published and in the store when the command is answered, and there after every kind of restart.
2. It wins over what the configuration says of the same service, through restarts and reloads, until it is taken back.
3. `control.services` is how many records the segment has.
4. A change builds on the one before it, even where that is still on its way to the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from state_harness import Server

from fastsip._location import RECORD_SERVICES
from fastsip.location import MemoryTable
from fastsip.services.record import Record, decode
from fastsip.state.services import ServiceRecords

SETTINGS = {"users": [], "realm": None, "default_domain": "example.com", "max_contacts": 10}
VOICEMAIL = "sip:bob@voicemail.example.com"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.close()


def services(server: Server, aor: bytes = b"bob@example.com") -> Record | None:
    value = server.reader.find(RECORD_SERVICES, aor)
    return decode(value) if value is not None else None


def test_set_unset_and_list(server: Server) -> None:
    assert server.control.services == 0
    answer = server.ask("services_set", aor="bob", services={"forward_busy": VOICEMAIL, "ring_time": 15})
    assert answer.pop("warning").startswith("bob@example.com is no user and is not registered")
    assert answer == {
        "aor": "bob@example.com",
        "from": {"forward_busy": "store", "ring_time": "store"},
        "forward_busy": VOICEMAIL,
        "ring_time": 15.0,
    }
    assert services(server) == Record(forward_busy=VOICEMAIL, ring_time=15, added=("forward_busy", "ring_time"))
    assert server.control.services == server.ask("stats")["services"] == 1
    server.ask("services_set", aor="sip:bob@EXAMPLE.com", services={"find_me": [["bob", "tel:+1972555"]]})
    server.ask("services_set", aor="amy@example.org", services={"do_not_disturb": True})
    assert server.ask("services", aor="bob")["services"] == [
        {
            "aor": "bob@example.com",
            "from": {"forward_busy": "store", "ring_time": "store", "find_me": "store"},
            "forward_busy": VOICEMAIL,
            "ring_time": 15.0,
            "find_me": [["sip:bob@example.com", "tel:+1972555"]],
        }
    ]
    listed = [item["aor"] for page in server.pages("services", 1) for item in page]
    assert sorted(listed) == ["amy@example.org", "bob@example.com"]
    answer = server.ask("services_unset", aor="bob", names=["ring_time", "find_me"])
    assert answer == {"aor": "bob@example.com", "from": {"forward_busy": "store"}, "forward_busy": VOICEMAIL}
    server.ask("services_unset", aor="bob")
    assert services(server) is None and server.control.services == 1
    server.ask("services_set", aor="amy@example.org", services={"do_not_disturb": None})
    assert server.control.services == 0
    with sqlite3.connect(server.store) as connection:
        assert connection.execute("SELECT * FROM services").fetchall() == []


@pytest.mark.parametrize(
    "command, arguments, message",
    [
        (
            "services_set",
            {"aor": "bob", "services": {"forward_bsy": "x"}},
            'forward_bsy: unknown key; did you mean "fo',
        ),
        (
            "services_set",
            {"aor": "bob", "services": {"ring_time": 0}},
            "ring_time = 0: expected a number from 1 to 180",
        ),
        (
            "services_set",
            {"aor": "bob", "services": {"forward_busy": "a b"}},
            'forward_busy = "a b": expected a URI such',
        ),
        ("services_set", {"aor": "bob", "services": {"forward_busy": "sip:x@y?Subject=z"}}, "expected a URI such as"),
        (
            "services_set",
            {"aor": "bob", "services": {"forward_busy": "bob"}},
            "bob@example.com would forward to himself",
        ),
        (
            "services_set",
            {"aor": "bob", "services": {"block_incoming": ["x@y"]}},
            'expected a SIP or tel URI in which "*"',
        ),
        ("services_set", {"aor": "b b", "services": {}}, "b b: expected somebody such as bob or bob@example.com"),
        ("services_set", {"services": {}}, "aor"),
        ("services_unset", {"aor": "bob"}, "services of bob@example.com are not set"),
        (
            "services_unset",
            {"aor": "carl"},
            "services of carl@example.com are in the configuration alone: change them there, or set others",
        ),
        (
            "services_unset",
            {"aor": "carl", "names": ["do_not_disturb"]},
            "do_not_disturb of carl@example.com is not set by `ctl services`: it is in the configuration",
        ),
        ("services_unset", {"aor": "bob", "names": ["zz"]}, "zz is no service (known: forward_always, forward_busy,"),
        ("services_set", {"aor": "bob", "services": {"zz": None}}, "zz is no service (known: forward_always,"),
        (
            "services_replace",
            {"records": {"amy": {"ring_time": 9}, "bob": {"ring_time": 900}}},
            "bob@example.com: ring_time = 900: expected a number from 1 to 180, in seconds",
        ),
    ],
)
def test_mistakes_are_named_and_change_nothing(tmp_path: Path, command: str, arguments: Any, message: str) -> None:
    server = Server(tmp_path, services=[("carl@example.com", {"do_not_disturb": True})])
    server.start()
    with pytest.raises(ValueError) as caught:
        server.ask(command, **arguments)
    assert message in str(caught.value)
    assert server.control.services == 1
    server.close()


def test_what_was_set_is_there_after_every_restart(server: Server) -> None:
    server.ask("services_replace", records={f"u{n}": {"ring_time": 9} for n in range(2500)})
    assert server.control.services == 2500
    for end, memory in ((server.kill, True), (server.stop, True), (server.kill, False), (server.stop, False)):
        end()
        if not memory:
            server.forget_memory()
        server.control.services = 0
        server.start()
        assert server.control.services == server.ask("stats")["services"] == 2500
        assert services(server, b"u7@example.com") == Record(ring_time=9, added=("ring_time",))


def test_services_of_the_configuration_follow_a_reload(tmp_path: Path) -> None:
    configured = [("carl@example.com", {"do_not_disturb": True}), ("dan@example.com", {"redirect": True})]
    server = Server(tmp_path, services=configured)
    server.start()
    server.ask("services_set", aor="amy", services={"ring_time": 5})
    assert server.control.services == 3
    changed = [("carl@example.com", {"forward_always": VOICEMAIL})]
    assert server.tell(do="reload", settings={**SETTINGS, "services": changed}) == {"is": "reloaded"}
    assert services(server, b"carl@example.com") == Record(forward_always=VOICEMAIL)
    assert services(server, b"dan@example.com") is None and server.control.services == 2
    server.close()


def test_what_is_set_wins_over_the_configuration_until_it_is_taken_back(tmp_path: Path) -> None:
    says = {"forward_busy": "sip:desk@192.0.2.7", "do_not_disturb": True, "ring_time": 9.0}
    server = Server(tmp_path, services=[("bob@example.com", says)])
    server.start()
    server.ask("services_set", aor="bob", services={"forward_busy": VOICEMAIL, "do_not_disturb": False})
    both = {"forward_busy": VOICEMAIL, "do_not_disturb": False, "ring_time": 9.0}
    origins = {"forward_busy": "store", "ring_time": "configuration", "do_not_disturb": "store"}
    for end, memory in ((server.kill, True), (server.stop, True), (server.stop, False)):
        assert server.ask("services")["services"] == [{"aor": "bob@example.com", "from": origins, **both}]
        record = services(server)
        assert record and (record.forward_busy, record.do_not_disturb, record.ring_time) == (VOICEMAIL, False, 9)
        end()
        if not memory:
            server.forget_memory()
        server.start()
    server.ask("services_set", aor="bob", services={"ring_time": ""})
    record = services(server)
    assert record and record.ring_time is None and "ring_time" in record.added
    changed = [("bob@example.com", {"forward_busy": "sip:other@192.0.2.8", "forward_always": "tel:+1972"})]
    assert server.tell(do="reload", settings={**SETTINGS, "services": changed}) == {"is": "reloaded"}
    record = services(server)
    assert record and (record.forward_busy, record.forward_always) == (VOICEMAIL, "tel:+1972")
    server.ask("services_unset", aor="bob", names=["forward_busy"])
    record = services(server)
    assert record and record.forward_busy == "sip:other@192.0.2.8" and record.added == ("ring_time", "do_not_disturb")
    server.ask("services_unset", aor="bob")
    assert services(server) == Record(forward_busy="sip:other@192.0.2.8", forward_always="tel:+1972")
    assert server.control.services == 1
    server.close()


def test_an_import_leaves_no_others_not_even_of_the_configuration(tmp_path: Path) -> None:
    server = Server(tmp_path, services=[("bob@example.com", {"forward_busy": VOICEMAIL, "ring_time": 9.0})])
    server.start()
    server.ask("services_replace", records={"bob": {"ring_time": 9, "redirect": True}})
    record = services(server)
    assert record and (record.forward_busy, record.ring_time, record.redirect) == (None, 9, True)
    assert record.added == ("forward_busy", "ring_time", "redirect")
    assert server.tell(do="reload", settings=SETTINGS) == {"is": "reloaded"}
    record = services(server)
    assert record and record.ring_time == 9 and record.below is None
    server.close()


def test_a_store_of_before_there_were_services_gets_the_table(server: Server) -> None:
    server.ask("users_add", username="bob", password="x")
    assert server.stop() == 0
    with sqlite3.connect(server.store) as connection:
        connection.execute("DROP TABLE services")
    server.start()
    server.ask("services_set", aor="bob", services={"ring_time": 9})
    assert server.ask("stats")["users"] == 1 and server.control.services == 1


def test_changes_on_the_way_to_the_disk_do_not_lose_each_other(server: Server) -> None:
    with server.context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.IDENTITY, b"m1")
        dealer.connect(server.endpoint)
        for number, change in enumerate(({"ring_time": 9}, {"do_not_disturb": True}, {"forward_busy": VOICEMAIL})):
            query = [number, "services_set", {"aor": "bob", "services": change}]
            dealer.send_multipart([b"Q", msgpack.packb(query)])
        for _ in range(3):
            assert dealer.poll(5000)
            assert msgpack.unpackb(dealer.recv_multipart()[1])[1]
    added = ("forward_busy", "ring_time", "do_not_disturb")
    assert services(server) == Record(forward_busy=VOICEMAIL, ring_time=9, do_not_disturb=True, added=added)


class Full(MemoryTable):
    """A table that takes so many records and no more."""

    room = 1

    def put(self, kind: int, key: bytes, value: bytes) -> None:
        if len(self) >= self.room and self.get(kind, key) is None:
            raise MemoryError("full")
        super().put(kind, key, value)


def test_the_count_is_told_before_a_record_and_taken_back_without_it() -> None:
    told: list[tuple[int, int]] = []
    table = Full()
    records = ServiceRecords(table, None, lambda count: told.append((count, len(table))))
    answers: list[tuple[bool, Any]] = []
    for name in ("bob@example.com", "amy@example.com"):
        records.change(name, {"ring_time": 9}, "example.com", lambda ok, result: answers.append((ok, result)))
    records.unset("bob@example.com", [], lambda ok, result: answers.append((ok, result)))
    assert told == [(1, 0), (2, 1), (1, 1), (0, 0)]
    assert [ok for ok, _ in answers] == [True, False, True] and "full" in answers[1][1]["error"]
    assert records.count == 0
