"""The state process, real, over ZeroMQ: registering, order, repetition, restart, users, dialogs, paging, ending.

1. RFC 3261 10.3: bindings are added, refreshed, removed; a REGISTER is applied wholly or not at all.
2. Devices of one address-of-record that meet different workers do not lose each other's bindings.
3. A fact that comes again is applied once and answered again; one that leaves a gap waits for what is missing.
4. What was registered is there after a restart, from store or segment; what was removed or expired is not.
5. Users are from the configuration or added, never both; what was added is there after a restart.
6. Long listings come in pages. The process ends when told to, and within a second when its master is gone.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from state_harness import Server, Worker, register, wait_for

from fastsip import auth
from fastsip._location import RECORD_BINDINGS, RECORD_USER, decode_user

BOB = b"bob@example.com"
DESK, HOME = b"sip:bob@192.0.2.1", b"sip:bob@192.0.2.2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
def worker(server: Server) -> Worker:
    return Worker(server)


def stored(server: Server) -> dict[bytes, int]:
    with sqlite3.connect(server.store) as connection:
        return dict(connection.execute("SELECT aor, version FROM bindings"))


def saved(server: Server) -> bool:
    return server.ask("stats")["store_lag_ms"] == 0


def test_register_refresh_remove(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, DESK)) == 200
    assert server.bound(BOB) == [DESK]
    assert worker.status(register(2, BOB, DESK, cseq=2)) == 200
    assert worker.status(register(3, BOB, HOME, call_id=b"c2")) == 200
    assert server.bound(BOB) == [DESK, HOME]
    assert worker.status(register(4, BOB, (DESK, 0), cseq=3)) == 200
    assert server.bound(BOB) == [HOME]
    assert worker.status(register(5, BOB, call_id=b"c3", flags=1)) == 200
    assert server.bound(BOB) == []
    wait_for(lambda: saved(server))
    assert stored(server) == {}
    wait_for(lambda: server.reader.find(RECORD_BINDINGS, BOB) is None)


def test_failures_change_nothing(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, DESK, cseq=7)) == 200
    assert worker.status(register(2, BOB, HOME, DESK, cseq=6)) == 500
    assert worker.status(register(3, BOB, *[b"sip:%d@192.0.2.9" % n for n in range(10)], cseq=8)) == 403
    assert worker.status(register(4, BOB, DESK, cseq=9, flags=2)) == 401
    assert server.bound(BOB) == [DESK]
    assert worker.status(register(5, BOB, DESK, cseq=7, flags=2)) == 200


def test_late_copy_does_not_bring_back_a_removed_binding(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, DESK, cseq=1)) == 200
    assert worker.status(register(2, BOB, (DESK, 0), cseq=2)) == 200
    assert worker.status(register(3, BOB, DESK, cseq=1)) == 500
    assert server.bound(BOB) == []
    assert worker.status(register(4, BOB, DESK, cseq=3)) == 200


def test_devices_on_two_workers_keep_each_others_bindings(server: Server) -> None:
    workers = [Worker(server, 0), Worker(server, 1)]
    devices = [(workers[n % 2], b"sip:bob@192.0.2.%d" % n, b"device%d" % n) for n in range(10)]
    for cseq in range(1, 11):
        for number, (worker, uri, call_id) in enumerate(devices):
            worker.send(register(cseq * 10 + number, BOB, uri, call_id=call_id, cseq=cseq))
    for worker in workers:
        worker.settle()
        assert {status for status, _ in worker.outcomes.values()} == {200}
    assert sorted(server.bound(BOB)) == sorted(uri for _, uri, _ in devices)
    assert {c["cseq"] for c in server.ask("contacts", aor="bob@example.com")["contacts"]} == {10}


def test_repeated_batches_are_applied_once_and_answered_again(server: Server, worker: Worker) -> None:
    assert worker.hear(2)
    worker.send(register(1, BOB, DESK, cseq=1), register(2, BOB, (DESK, 0), cseq=2))
    kept = dict(worker.kept)
    worker.settle()
    version = server.reader.find(RECORD_BINDINGS, BOB)
    worker.outcomes.clear()
    worker.kept = kept
    worker.resend()
    worker.settle()
    assert worker.outcomes == {1: (200, 0), 2: (200, 0)}
    assert server.bound(BOB) == []
    assert server.reader.find(RECORD_BINDINGS, BOB) in (version, None)
    assert server.ask("stats")["facts_repeated"] == 2


def test_a_batch_that_overtook_another_waits_for_it(server: Server, worker: Worker) -> None:
    assert worker.hear(2)
    worker.sequence = 2
    worker.kept = {1: register(1, BOB, DESK, cseq=1), 2: register(2, BOB, HOME, cseq=2)}
    worker._send(2, [worker.kept[2]])
    assert worker.hear(2)
    assert server.bound(BOB) == [] and list(worker.kept) == [1, 2]
    worker.resend()
    worker.settle()
    assert server.bound(BOB) == [DESK, HOME]


def test_what_a_worker_gave_up_is_not_waited_for(server: Server, worker: Worker) -> None:
    worker.sequence = 9
    assert worker.status(register(1, BOB, DESK)) == 200


def test_malformed_facts_are_left_out_and_the_rest_applied(server: Server, worker: Worker) -> None:
    worker.send([1, 77, BOB, b"x", "cseq"], [9, 9], [2, b"only"], register(1, BOB, DESK))
    worker.settle()
    assert worker.outcomes == {77: (500, 0), 1: (200, 0)}
    stranger = Worker(server, 3)
    for frames in ([b"F", b"\xc1", b""], [b"Z"], [b"F", msgpack.packb([3, 1, 99, 3, 99]), b"\x93"], [b"Q", b"\x01"]):
        stranger.dealer.send_multipart(frames)
    assert worker.status(register(2, BOB, HOME, call_id=b"c2")) == 200
    wait_for(lambda: server.ask("stats")["facts_malformed"] == 4)


@pytest.mark.parametrize("lost", ["process", "memory"])
def test_restart_brings_every_registration_back(server: Server, worker: Worker, lost: str) -> None:
    facts = [register(n, b"u%d@example.com" % n, b"sip:u@192.0.2.1:%d" % (n + 1)) for n in range(500)]
    worker.send(*facts)
    worker.send(*[register(1000 + n, b"u%d@example.com" % n, flags=1, cseq=2) for n in range(100)])
    worker.settle()
    if lost == "process":
        server.kill()
    else:
        assert server.stop() == 0
        server.forget_memory()
    server.start()
    stats = server.ask("stats")
    assert (stats["aors"], stats["bindings"]) == (400, 400)
    assert server.bound(b"u99@example.com") == []
    assert server.bound(b"u100@example.com") == [b"sip:u@192.0.2.1:101"]
    worker.send(facts[200])
    worker.settle()
    assert worker.outcomes[200] == (200, 0)
    wait_for(lambda: saved(server))
    assert len(stored(server)) == 400


def test_removal_not_yet_stored_does_not_come_back(tmp_path: Path) -> None:
    server = Server(tmp_path, store_interval=600)
    server.start()
    worker = Worker(server)
    assert worker.status(register(1, BOB, DESK)) == 200
    wait_for(lambda: stored(server))
    assert worker.status(register(2, BOB, call_id=b"y", flags=1)) == 200
    server.kill()
    assert stored(server)
    server.start()
    assert server.bound(BOB) == []
    wait_for(lambda: not stored(server))
    server.close()


def test_expired_bindings_leave_segment_and_store(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, (DESK, 1), HOME)) == 200
    assert worker.status(register(2, b"amy@example.com", (DESK, 1))) == 200
    wait_for(lambda: saved(server) and len(stored(server)) == 2)
    wait_for(lambda: server.ask("stats")["bindings"] == 1)
    assert server.bound(BOB) == [HOME]
    wait_for(lambda: list(stored(server)) == [BOB])
    wait_for(lambda: server.reader.find(RECORD_BINDINGS, b"amy@example.com") is None)
    assert server.ask("stats")["bindings_expired"] == 2


def test_what_expired_while_it_was_down_is_not_loaded(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, (DESK, 1), HOME)) == 200
    assert worker.status(register(2, b"amy@example.com", (DESK, 1))) == 200
    assert server.stop() == 0
    server.forget_memory()
    time.sleep(1)
    server.start()
    assert server.ask("stats")["aors"] == 1
    assert [c["uri"] for c in server.ask("contacts")["contacts"]] == [HOME.decode()]
    wait_for(lambda: list(stored(server)) == [BOB])


def test_contacts_say_what_is_bound(server: Server, worker: Worker) -> None:
    assert worker.status(register(1, BOB, DESK, call_id=b"call", cseq=4)) == 200
    (contact,) = server.ask("contacts", aor="sip:bob@EXAMPLE.com")["contacts"]
    assert 3590 <= contact.pop("expires_in") <= 3600
    assert abs(contact.pop("updated") / 1000 - time.time()) < 5
    assert contact == {
        "aor": "bob@example.com",
        "uri": "sip:bob@192.0.2.1",
        "q": 1.0,
        "call_id": "call",
        "cseq": 4,
        "source": "127.0.0.1:5062",
        "transport": "udp",
        "parameters": "",
    }
    assert server.ask("contacts", aor="bob")["contacts"]
    assert server.ask("contacts", aor="nobody")["contacts"] == []


def test_twenty_thousand_contacts_in_pages(server: Server, worker: Worker) -> None:
    for start in range(0, 20_000, 500):
        numbers = range(start, start + 500)
        worker.send(*[register(n, b"u%d@example.com" % n, b"sip:u@192.0.2.1:%d" % (n % 60000 + 1)) for n in numbers])
    worker.settle()
    seen: list[str] = []
    for number, page in enumerate(server.pages("contacts", 500)):
        assert len(page) <= 600
        seen += [contact["aor"] for contact in page]
        worker.send(register(100_000 + number, b"u7@example.com", b"sip:u@192.0.2.1:8", cseq=2 + number))
    assert len(seen) == 20_000 and len(set(seen)) == 20_000


def test_users_configured_and_added(server: Server) -> None:
    assert server.ask("users_add", username="bob", password="secret")["domain"] == "example.com"
    md5, sha256, _ = decode_user(server.reader.find(RECORD_USER, b"bob@example.com"))
    assert md5.decode() == auth.ha1_md5("bob", "example.com", "secret")
    assert sha256.decode() == auth.ha1_sha256("bob", "example.com", "secret")
    server.ask("users_add", username="amy@example.org", ha1="0" * 32)
    with pytest.raises(ValueError, match="32 hex digits"):
        server.ask("users_add", username="x", ha1="12")
    with pytest.raises(ValueError, match="needs a password"):
        server.ask("users_add", username="x")
    with pytest.raises(ValueError, match="not a user's name"):
        server.ask("users_add", username="a b", password="x")
    with pytest.raises(ValueError, match=r"carl@example\.com is not known"):
        server.ask("users_remove", username="carl")
    assert server.stop() == 0
    assert "secret" not in server.log.read_text()
    server.forget_memory()
    server.settings["users"] = [("carl", "example.com", "1" * 32, "")]
    server.start()
    assert sorted((u["username"], u["domain"], u["from"]) for page in server.pages("users", 2) for u in page) == [
        ("amy", "example.org", "store"),
        ("bob", "example.com", "store"),
        ("carl", "example.com", "configuration"),
    ]
    with pytest.raises(ValueError, match=r"carl@example\.com is in the configuration"):
        server.ask("users_add", username="carl", password="x")
    server.ask("users_remove", username="bob")
    assert server.reader.find(RECORD_USER, b"bob@example.com") is None
    assert server.ask("stats")["users"] == 2


def test_user_in_configuration_and_store_is_an_error(server: Server) -> None:
    server.ask("users_add", username="bob", password="x")
    users = [["bob", "example.com", "1" * 32, ""], ["carl", "example.com", "1" * 32, ""]]
    settings = {"users": users, "realm": None, "default_domain": "example.com", "max_contacts": 1}
    answer = server.tell(do="reload", settings=settings)
    assert answer is not None and "bob@example.com" in str(answer["error"])
    assert server.ask("stats")["users"] == 1
    del users[0]
    assert server.tell(do="reload", settings=settings) == {"is": "reloaded"}
    assert server.ask("stats")["users"] == 2
    assert Worker(server).status(register(1, BOB, DESK, HOME)) == 403
    assert server.stop() == 0
    server.settings["users"] = [("bob", "example.com", "1" * 32, "")]
    server.start(ready=False)
    assert server.receive() is None and server.process is not None
    assert server.process.wait(5) == 2
    assert "bob@example.com" in server.log.read_text()


def test_dialogs(server: Server, worker: Worker) -> None:
    now = time.time_ns() // 1_000_000
    worker.send(*[[2, b"call%d" % n, b"f", b"t", b"sip:a", b"sip:b", now + n] for n in range(1000)])
    worker.send(*[[3, b"call%d" % n, b"f", b"t"] for n in range(0, 500)])
    worker.send(*[[3, b"call%d" % n, b"t", b"f"] for n in range(500, 900)])
    worker.send([3, b"unknown", b"f", b"t"])
    worker.settle()
    assert server.ask("stats")["dialogs"] == 100
    listed = [dialog for page in server.pages("dialogs", 7) for dialog in page]
    assert [dialog["call_id"] for dialog in listed] == [f"call{n}" for n in range(900, 1000)]
    assert listed[0]["from"] == "sip:a" and listed[0]["confirmed"] == now + 900


def test_a_call_that_is_too_long_counts_no_more(tmp_path: Path) -> None:
    server = Server(tmp_path, longest_call=60_000)
    server.start()
    now = time.time_ns() // 1_000_000
    worker = Worker(server)
    worker.send(*[[2, b"call%d" % n, b"f", b"t", b"sip:a", b"sip:b", now - 70_000 + 70_000 * n] for n in range(2)])
    worker.settle()
    wait_for(lambda: server.ask("stats")["dialogs_expired"] == 1)
    assert server.ask("stats")["dialogs"] == 1
    server.close()


def test_memory_store_keeps_registrations_of_a_dead_process(tmp_path: Path) -> None:
    server = Server(tmp_path, store=":memory:")
    server.start()
    worker = Worker(server)
    assert worker.status(register(1, BOB, DESK)) == 200
    assert worker.status(register(2, b"amy@example.com", HOME)) == 200
    assert worker.status(register(3, b"amy@example.com", flags=1, cseq=2)) == 200
    assert server.reader.find(RECORD_BINDINGS, b"amy@example.com") is None
    server.ask("users_add", username="bob", password="x")
    server.kill()
    server.start()
    assert server.bound(BOB) == [DESK]
    assert server.ask("stats")["users"] == 1
    assert server.stop() == 0
    server.close()


def test_unknown_commands_and_arguments_are_errors(server: Server) -> None:
    for command, arguments in {
        "dance": {},
        "contacts": {"limit": 0},
        "dialogs": {"cursor": "x"},
        "users_add": {"username": 3},
    }.items():
        with pytest.raises(ValueError):
            server.ask(command, **arguments)


def test_ends_within_a_second_when_the_master_is_gone(server: Server, worker: Worker) -> None:
    worker.send(*[register(n, b"u%d@example.com" % n, DESK) for n in range(2000)])
    worker.settle()
    assert server.process is not None and server.channel is not None
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert server.process.poll() is None
    server.channel.close()
    assert server.process.wait(1) == 0
    assert len(stored(server)) == 2000


def test_store_is_readable_by_its_owner_only(server: Server, worker: Worker) -> None:
    worker.status(register(1, BOB, DESK))
    for path in Path(server.store).parent.glob("fastsip.db*"):
        assert os.stat(path).st_mode & 0o077 == 0, path
