"""A whole server as its operator meets it: real children killed, hung, reloaded and drained; `ctl` against them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from doubles.server import ENVIRONMENT, alive, until
from harness.phone import Phone
from harness.server import Server

ALICE = ("alice", "wonderland", "example.com")


@pytest.fixture
def server():
    with Server(workers=2, domains=["example.com"], users=[ALICE], required=["*"]) as running:
        yield running


@pytest.fixture
def phone(server):
    with Phone(server.address) as one:
        yield one


def every_worker_answers(phone: Phone, samples: int = 12) -> bool:
    """Whether OPTIONS with different Call-IDs (so of all owners) are answered."""
    return all((answer := phone.options(1)) is not None and answer.status == 200 for _ in range(samples))


def ctl(server: Server, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastsip", "ctl", "--control", str(server.folder / "ctl.sock"), *words],
        input=given, capture_output=True, text=True, timeout=20, env=ENVIRONMENT,
    )  # fmt: skip


def workers(server: Server) -> list[int]:
    return [worker["pid"] for worker in server.ctl("stats")["workers"]]


def contacts(server: Server, *words: str) -> list[dict]:
    return [json.loads(line) for line in ctl(server, "contacts", *words, "--json").stdout.splitlines()]


def test_killed_worker_serves_again_and_registrations_are_there(server, phone):
    assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wonderland").status == 200
    before = workers(server)
    os.kill(before[0], signal.SIGKILL)
    assert every_worker_answers(phone)
    after = workers(server)
    assert after[1] == before[1] and after[0] not in before
    assert [contact["uri"] for contact in contacts(server)] == ["sip:alice@127.0.0.1:6000"]


def test_stopped_worker_is_taken_for_hung_and_replaced(server, phone):
    before = workers(server)
    os.kill(before[1], signal.SIGSTOP)
    until(lambda: "worker 1" in server.log and "hangs" in server.log, 8)
    until(lambda: every_worker_answers(phone), 5)
    assert workers(server)[1] != before[1]


def test_worker_that_keeps_dying_is_taken_over(server, phone):
    for _ in range(3):
        until(lambda: workers(server)[0] and every_worker_answers(phone, 4))
        os.kill(workers(server)[0], signal.SIGKILL)
    until(lambda: server.ctl("stats")["workers"][0]["taken_over_by"] == 1)
    assert every_worker_answers(phone, 20)


def test_killed_state_process_loses_no_registration(server, phone):
    assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wonderland").status == 200
    state = next(pid for pid, name in server.children().items() if name == "state")
    os.kill(state, signal.SIGKILL)
    assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6001", "wonderland", timeout=5).status == 200
    uris = {contact["uri"] for contact in contacts(server, "alice@example.com")}
    assert uris == {"sip:alice@127.0.0.1:6000", "sip:alice@127.0.0.1:6001"}


def test_killed_master_takes_all_down_and_a_restart_has_every_registration():
    with (
        Server(workers=2, domains=["example.com"], users=[ALICE], required=["*"], store="fastsip.db") as server,
        Phone(server.address) as phone,
    ):
        assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wonderland").status == 200
        time.sleep(0.2)  # the store's interval, twice
        children = server.children()
        server.kill()
        server.start()
        assert not any(map(alive, children))
        assert [contact["uri"] for contact in contacts(server)] == ["sip:alice@127.0.0.1:6000"]


def test_users_added_and_removed_while_it_runs(server, phone):
    assert phone.register("bob@example.com", "sip:bob@127.0.0.1:6000", "x", timeout=1).status in (401, 403)
    done = ctl(server, "users", "add", "bob@example.com", "--password-stdin", given="builder\n")
    assert (done.returncode, done.stdout) == (0, "added bob@example.com\n")
    assert phone.register("bob@example.com", "sip:bob@127.0.0.1:6000", "builder").status == 200
    listed = [json.loads(line) for line in ctl(server, "users", "--json").stdout.splitlines()]
    assert {(user["username"], user["from"]) for user in listed} == {("alice", "configuration"), ("bob", "store")}
    done = ctl(server, "users", "add", "alice", "--password-stdin", given="x\n")
    assert done.returncode == 1 and "is in the configuration" in done.stderr
    assert ctl(server, "users", "remove", "bob").stdout == "removed bob@example.com\n"
    assert phone.register("bob@example.com", "sip:bob@127.0.0.1:6000", "builder", timeout=1).status != 200


def test_unknown_user_and_wrong_password_are_refused(server, phone):
    for name, password in (("nobody", "x"), ("alice", "wrong")):
        assert phone.register(f"{name}@example.com", "sip:a@127.0.0.1:6000", password).status in (401, 403)
    assert "wonderland" not in server.log and "wrong" not in server.log


def test_sighup_brings_a_new_user_in_and_a_mistake_changes_nothing(server, phone):
    users = server.folder / "users.csv"
    users.write_text(users.read_text() + "carol,curie,example.com\n")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: "configuration read again" in server.log, 5)
    assert phone.register("carol@example.com", "sip:carol@127.0.0.1:6000", "curie").status == 200
    users.write_text(users.read_text() + "dave\n")
    assert "expected 3 columns" in ctl(server, "reload").stderr
    assert phone.register("carol@example.com", "sip:carol@127.0.0.1:6000", "curie").status == 200


def test_contacts_stream_as_lines(server, phone):
    for port in range(6000, 6003):
        assert phone.register("alice@example.com", f"sip:alice@127.0.0.1:{port}", "wonderland").status == 200
    assert {contact["uri"] for contact in contacts(server)} == {
        f"sip:alice@127.0.0.1:{port}" for port in range(6000, 6003)
    }
    assert ctl(server, "contacts", "nobody").stdout == ""
    assert "alice@example.com  sip:alice@127.0.0.1:6000" in ctl(server, "contacts").stdout


def test_services_are_set_listed_imported_and_taken_away(server):
    def said(*words: str) -> str:
        done = ctl(server, "services", *words)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    assert said() == ""
    find_me = "find_me='sip:bob@example.com | tel:+1972 sip:b@h.example'"
    set_now = f"bob@example.com  forward_busy=sip:amy@example.com  {find_me}"
    assert said("set", "bob", "forward_busy=amy", "find_me=bob | tel:+1972 sip:b@h.example") == f"{set_now}  (store)\n"
    assert said() == f"{set_now}  (store)\n"
    wrong = ctl(server, "services", "set", "bob", "ring_time=0")
    assert (wrong.returncode, wrong.stderr) == (1, "ring_time = 0: expected a number from 1 to 180, in seconds\n")
    assert ctl(server, "services", "set", "bob", "ring=0").returncode == 2

    people = server.folder / "people.csv"
    people.write_text("username,ring_time,do_not_disturb\namy,9,yes\ncat@example.net,maybe,\n")
    wrong = ctl(server, "services", "import", str(people))
    assert (wrong.returncode, wrong.stderr) == (
        2,
        f'{people}:3: ring_time = "maybe": expected a number from 1 to 180, in seconds\n',
    )
    people.write_text("username,ring_time,do_not_disturb\n" + "".join(f"u{n:05},9,yes\n" for n in range(8000)))
    assert said("import", str(people)) == f"services of 8000 from {people}\n"
    assert server.ctl("stats")["state"]["services"] == 8001
    exported = server.folder / "exported.json"
    exported.write_text(said("--json"))
    assert len(exported.read_text().splitlines()) == 8001
    assert said("unset", "bob") == "bob@example.com  none\n"
    assert said("import", str(exported)) == f"services of 8001 from {exported}\n"
    assert said("unset", "bob", "find_me") == "bob@example.com  forward_busy=sip:amy@example.com  (store)\n"
    for words in (("show", "u00007"), ("u00007",)):
        assert said(*words) == "u00007@example.com  ring_time=9  do_not_disturb=yes  (store)\n"
    for aor, warned in (
        ("bob", "bob@example.com is no user and is not registered: these services wait for who registers so"),
        ("bob@other.org", "bob@other.org does not live here (example.com): nothing asks for these services"),
        ("alice", ""),
    ):
        one = ctl(server, "services", "set", aor, "forward_busy=")
        whole = aor if "@" in aor else f"{aor}@example.com"
        assert (one.returncode, one.stdout) == (0, f"{whole}  forward_busy=  (store)\n")
        assert one.stderr == (f"warning: {warned}\n" if warned else "")
    said("unset", "bob@other.org")
    nobody = ctl(server, "services", "nobody")
    assert (nobody.returncode, nobody.stderr) == (1, "nobody has no services\n")
    wrong = ctl(server, "services", "unset", "bob", "zz")
    assert wrong.returncode == 1 and wrong.stderr.startswith("zz is no service (known: forward_always, forward_busy")
