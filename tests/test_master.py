"""The master, with doubles for its children: they answer datagrams with their name and die, hang or hold up a drain on
command. What the real children do is tested with them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doubles.server import ENVIRONMENT, ROOT, Server, alive, until
from harness import free_port

from fastsip.admin.client import Client, NoServer
from fastsip.admin.paths import control_path, control_path_by
from fastsip.config import Listen, load
from fastsip.process.following import Following
from fastsip.process.listeners import Listeners
from fastsip.process.problems import CannotStart
from fastsip.state.schema import connect


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as running:
        yield running


def test_serves_on_every_socket_and_says_so(tmp_path):
    with Server(tmp_path, workers=3) as server:
        assert f"serving on udp:127.0.0.1:{server.port} with 3 workers\n" in server.log
        assert set(server.who()) == {0, 1, 2}
        assert oct(server.control.stat().st_mode & 0o777) == "0o600"


def test_killed_worker_is_back_within_a_second_and_the_other_notices_nothing(server):
    pids = server.who()
    sock = server.socket_of(0)
    os.kill(pids[0], signal.SIGKILL)
    sock.sendto(b"who", ("127.0.0.1", server.port))  # waits in the socket that outlives the worker
    began = time.monotonic()
    sock.settimeout(3)
    answer = sock.recv(100).decode()
    assert time.monotonic() - began < 1
    assert answer.startswith("worker 0 ") and answer != f"worker 0 {pids[0]}"
    assert server.who()[1] == pids[1]
    stats = server.stats()
    assert stats["restarts"] == {"workers": 1, "state": 0}
    assert stats["workers"][0]["incarnation"] > stats["workers"][1]["incarnation"]


def test_hung_worker_is_killed_and_replaced(server):
    sock = server.socket_of(1)
    before = server.who()
    server.say("hang", sock)
    took = until(lambda: server.who(8).get(1, before[1]) != before[1], 8)
    assert 1 < took < 5
    assert "worker 1" in server.log and "hangs (no turn of its loop for 1.5 s)" in server.log


def test_a_master_that_was_stopped_does_not_take_its_children_for_hung(server):
    pids = server.who()
    for pid in [server.process.pid, *server.children()]:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.8)
    for pid in [server.process.pid, *pids.values(), *server.children()]:
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    assert server.who() == pids


def test_datagram_in_hand_is_kept_in_a_crash_file_and_not_tried_again(tmp_path):
    with Server(tmp_path, state="fastsip.db") as server:
        for stale in range(40):
            (tmp_path / f"crash-20200101T0000{stale:02}.000Z-0.sip").write_bytes(b"old")
        sock = server.socket_of(0)
        server.say("die of this", sock)
        until(lambda: "it was working on is in" in server.log)
        until(lambda: server.say("who", sock).startswith("worker 0 "))
        kept = sorted(tmp_path.glob("crash-*.sip"))
        assert kept[-1].read_bytes() == b"die of this" and len(kept) == 32
        assert oct(kept[-1].stat().st_mode & 0o777) == "0o600"
        assert server.stats()["restarts"]["workers"] == 1


def test_worker_that_keeps_dying_is_taken_over_and_tried_again(tmp_path):
    with Server(tmp_path, workers=3) as server:
        sock = server.socket_of(1)
        for _ in range(3):
            until(lambda: server.say("who", sock), 5)
            server.say("die", sock)
        until(lambda: "worker 2 takes over for worker 1" in server.log)
        assert server.say("who", sock).startswith("worker 2 ")
        stats = server.stats()
        assert [worker["taken_over_by"] for worker in stats["workers"]] == [None, 2, None]
        assert "down, taken over by 2" in server.ctl("stats").stdout
        # The neighbour's own successor goes on with both.
        os.kill(stats["workers"][2]["pid"], signal.SIGKILL)
        until(lambda: server.say("who", sock).startswith("worker 2 "), 5)
        # Tried again, it serves for itself; one death on trial takes it out at once.
        until(lambda: server.say("who", sock).startswith("worker 1 "), 8)
        assert server.stats()["workers"][1]["taken_over_by"] is None
        server.say("die", sock)
        until(lambda: server.say("who", sock).startswith("worker 2 "), 5)


def test_only_worker_that_keeps_dying_comes_back_every_second(tmp_path):
    with Server(tmp_path, workers=1) as server:
        for _ in range(4):
            until(lambda: server.say("who"), 5)
            server.say("die")
        assert until(lambda: server.say("who"), 5) > 0.3


def test_killed_state_process_is_replaced_and_workers_stay(server):
    pids = server.who()
    (state,) = set(server.children()) - set(pids.values())
    os.kill(state, signal.SIGKILL)
    until(lambda: "state serves again" in server.log, 3)
    stats = server.stats()
    assert stats["state"]["pid"] != state and stats["restarts"] == {"workers": 0, "state": 1}
    assert server.who() == pids


def test_hung_state_process_is_killed_and_replaced(server):
    (state,) = set(server.children()) - set(server.who().values())
    os.kill(state, signal.SIGSTOP)
    assert 1 < until(lambda: "state serves again" in server.log, 8) < 6
    assert "hangs (no answer for 3 s)" in server.log
    assert server.stats()["restarts"] == {"workers": 0, "state": 1}


def test_children_end_when_the_master_is_killed_and_a_restart_serves_at_once(tmp_path):
    with Server(tmp_path, state="fastsip.db") as server:
        children = server.children()
        server.signal(signal.SIGKILL)
        server.start()
        assert not any(map(alive, children))
        assert set(server.who()) == {0, 1}


def test_drain_waits_for_open_calls_then_ends_with_0(server):
    children = server.children()
    sock = server.socket_of(0)
    server.say("open", sock)
    server.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None and server.stats()["draining"]
    server.say("close", sock)
    assert server.end(1.5) == 0
    assert not any(map(alive, children)) and not server.control.exists()


def test_drain_ends_after_its_time(server):
    server.say("open")
    began = time.monotonic()
    assert server.ctl("drain").stdout == "draining\n"
    assert server.end() == 0
    assert 1.8 < time.monotonic() - began < 4


def test_second_signal_ends_at_once(server):
    children = server.children()
    server.say("open")
    server.signal(signal.SIGTERM)
    time.sleep(0.2)
    server.signal(signal.SIGINT)
    assert server.end(1) == 1
    assert not any(map(alive, children))


def test_reload_follows_users_and_refuses_what_needs_a_restart(server):
    server.configure('[users.bob]\npassword = "x"\n')
    server.signal(signal.SIGHUP)
    until(lambda: "configuration read again" in server.log)
    assert server.ctl("users").stdout == "bob@example.com  double\n"

    server.configure('[users.carol]\npassword = "x"\n', port=free_port())
    done = server.ctl("reload")
    assert (done.returncode, done.stderr) == (
        1,
        "server.listen changed: that needs a restart, nothing was changed now\n",
    )

    server.configure("[registrar]\nmax_contacts = 0\n[nope]\n")
    done = server.ctl("reload")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 2
    assert f"{server.config}:10: registrar.max_contacts = 0: expected a whole number" in done.stderr
    assert server.ctl("users", "--json").stdout == '{"username":"bob","domain":"example.com","from":"double"}\n'


def test_a_worker_that_could_not_follow_is_told_again(server):
    with contextlib.closing(server.socket_of(1)) as sock:
        server.say("refuse", sock)
    done = server.ctl("reload")
    assert (done.returncode, done.stderr) == (1, "worker 1: no database; it is told again until it follows\n")
    until(lambda: "worker 1 follows" in server.log, 3)
    assert [one["behind"] for one in server.stats()["workers"]] == [False, False]


def test_a_worker_that_could_not_follow_from_its_start_is_told_again(server):
    with contextlib.closing(server.socket_of(1)) as sock:
        server.say("stumble", sock)
        until(lambda: "worker 1 does not follow the configuration yet: no database" in server.log, 3)
        until(lambda: "worker 1 follows" in server.log, 3)
        assert [one["behind"] for one in server.stats()["workers"]] == [False, False]
        server.say("mute", sock)
        server.say("stumble", sock)
        until(lambda: server.stats()["workers"][1]["behind"], 3)


def test_how_a_worker_began_is_no_answer_to_an_order() -> None:
    known = Following()
    known.begins(0)
    known.told(0, anew=True)
    assert not known.stumbled(0, 100) and known.behind(0) and not known.due(1000)
    assert known.answered(0, "", 101) and not known.behind(0)
    known.begins(0)
    assert known.stumbled(0, 100) and known.behind(0) and not known.owes(0)
    assert (known.due(104), known.due(105)) == ([], [0])
    known.told(0)
    assert known.owes(0) and known.answered(0, "no database", 106) and (known.due(115), known.due(116)) == ([], [0])
    known.begins(0)
    assert not known.behind(0)


def test_a_worker_that_does_not_answer_a_reload_is_named_and_follows_later(server):
    with contextlib.closing(server.socket_of(1)) as sock:
        server.say("mute", sock)
        done = server.ctl("reload")
        assert (done.returncode, done.stderr) == (
            1,
            "no answer from worker 1 in 1.5 s; all others follow, and it will\n",
        )
        assert [one["behind"] for one in server.stats()["workers"]] == [False, True]
        assert f"{server.who()[1]}, not reloaded" in server.ctl("stats").stdout
        server.say("answer", sock)
        until(lambda: "worker 1 follows" in server.log, 3)
        assert not server.stats()["workers"][1]["behind"]
        server.say("mute", sock)
        server.ctl("reload")
        os.kill(server.who()[1], signal.SIGKILL)
    until(lambda: not server.stats()["workers"][1]["behind"], 3, "a new one begins with it")


def test_a_reload_goes_on_when_the_state_process_was_replaced(server):
    (state,) = set(server.children()) - set(server.who().values())
    os.kill(state, signal.SIGSTOP)
    server.configure('[users.bob]\npassword = "x"\n')
    done = server.ctl("reload")
    assert done.stderr == "no answer from the state process in 1.5 s; the workers are told when there is one\n"
    until(lambda: "configuration read again" in server.log, 10)
    assert server.ctl("users").stdout == "bob@example.com  double\n" and server.ctl("reload").returncode == 0


def test_replaced_state_process_has_the_users_of_the_last_reload(server):
    server.configure('[users.bob]\npassword = "x"\n')
    assert server.ctl("reload").returncode == 0
    (state,) = set(server.children()) - set(server.who().values())
    os.kill(state, signal.SIGKILL)
    until(lambda: "state serves again" in server.log, 3)
    assert server.ctl("users").stdout == "bob@example.com  double\n"


def start_fails(config: Path, *more: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/doubles/serve.py"), "serve", "--config", str(config), *more],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr, done
    return done.stderr


def test_port_taken_says_by_whom(tmp_path, server):
    (tmp_path / "second").mkdir()
    second = Server(tmp_path / "second")
    second.configure(port=server.port)
    error = start_fails(second.config)
    assert f"cannot listen on udp:127.0.0.1:{server.port}: address already in use by " in error
    assert f"(pid {server.process.pid})" in error


def test_port_is_waited_for_while_children_of_a_killed_master_hold_it(tmp_path):
    server = Server(tmp_path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", server.port))
        server.start(wait=False)
        time.sleep(0.8)
    try:
        until(lambda: "serving on" in server.log, 5)
    finally:
        server.__exit__()


def test_store_of_another_server_is_refused(tmp_path):
    store = tmp_path / "fastsip.db"
    (tmp_path / "second").mkdir()
    with Server(tmp_path, state=str(store)) as server:
        error = start_fails(Server(tmp_path / "second", state=str(store)).config)
        assert f"the store {store} is in use by another server (process {server.process.pid})" in error


@pytest.mark.parametrize(
    "given, message",
    [
        (
            'state = { path = "none/fastsip.db" }',
            "cannot write the store {}/none/fastsip.db: No such file or directory",
        ),
        ('state = { path = "text.db" }', "cannot use the store {}/text.db: file is not a database (state.path)"),
        (
            'server = { listen = "udp:192.0.2.1:5060" }\nauth = { required = "*" }',
            "no interface with the address 192.0.2.1",
        ),
        ('server = { control = "text.db" }', "{}/text.db exists and is no socket (server.control)"),
        ('server = { control = "none/ctl" }', "cannot make the control socket {}/none/ctl: No such file or directory"),
        (f'server = {{ control = "{"x" * 100}" }}', "the path of the control socket is longer than 107 bytes"),
    ],
    ids=["store folder", "store text", "interface", "control file", "control folder", "control length"],
)
def test_what_the_machine_refuses_is_said(tmp_path, given, message):
    (tmp_path / "text.db").write_text("this is not a database, and longer than a header of one would be" * 20)
    config = tmp_path / "fastsip.toml"
    if "listen" not in given:
        port = "listen = 'udp:127.0.0.1:0'"
        given = (
            given.replace("server = { ", f"server = {{ {port}, ") if "server" in given else f"server.{port}\n{given}"
        )
    if "state" not in given:
        given = f"state.path = ':memory:'\n{given}"
    config.write_text(given)
    assert message.format(tmp_path) in start_fails(config)


def test_child_that_cannot_start_ends_the_server_and_leaves_nothing(tmp_path):
    server = Server(tmp_path)
    (tmp_path / "double_worker.py").write_text("raise SystemExit(3)")
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tests/doubles/serve.py"), "serve", "--config", str(server.config)],
        capture_output=True, text=True, env=environment, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1 and "ended with status 3 before it served" in done.stderr


def test_keys_survive_a_restart(tmp_path):
    server = Server(tmp_path, state="fastsip.db")

    def keys():
        with server:
            pass
        with sqlite3.connect(tmp_path / "fastsip.db") as database:
            return database.execute("SELECT * FROM keys").fetchall()

    assert keys() == keys() != []


def test_ctl_without_a_server_says_so(tmp_path):
    server = Server(tmp_path)
    done = server.ctl("stats")
    assert done.returncode == 1 and done.stderr.startswith(f"no server at {server.control}: is it running?")


def test_ctl_names_the_other_servers_it_might_have_meant(tmp_path):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "udp-127.0.0.1-5070.sock"))
        with pytest.raises(NoServer, match=rf"\n  or --control {tmp_path}/udp-127.0.0.1-5070.sock$"):
            Client(tmp_path / "udp-127.0.0.1-5060.sock")


def test_ctl_finds_the_server_by_its_configuration_and_survives_a_dead_state_process(server):
    (state,) = set(server.children()) - set(server.who().values())
    os.kill(state, signal.SIGSTOP)
    done = subprocess.run(
        [sys.executable, "-m", "fastsip", "ctl", "--config", str(server.config), "stats"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=20,
    )  # fmt: skip
    with contextlib.suppress(ProcessLookupError):
        os.kill(state, signal.SIGCONT)
    assert done.returncode == 0
    assert "hand-offs" in done.stdout and "state process: down (calls go on, registrations wait)" in done.stdout


def test_ctl_needs_to_know_only_where_the_server_is(server):
    """Whoever is in the midst of a change, or has lost a certificate, can look at his server."""

    def ctl():
        return subprocess.run(
            [sys.executable, "-m", "fastsip", "ctl", "--config", str(server.config), "stats"],
            capture_output=True, text=True, env=ENVIRONMENT, timeout=20,
        )  # fmt: skip

    fine = server.config.read_text()
    for wrong in (
        '[tls]\ncertificate = "nowhere.pem"\nkey = "nowhere.key"\n', '[auth]\nusers_file = "nowhere.csv"\n',
        '[policy]\nmodule = "nowhere"\n', "[timers]\nt1 = -1\n", "[nonsense]\na = 1\n",
    ):  # fmt: skip
        server.config.write_text(fine + wrong)
        assert f"{server.folder}/fastsip.toml:" in server.ctl("reload").stderr
        done = ctl()
        assert done.returncode == 0 and "hand-offs" in done.stdout, done.stderr
    server.config.write_text(fine.replace("workers = ", "workers = -"))
    assert ctl().returncode == 0
    for wrong, text in (
        (fine + "[tls\n", "9: not TOML: "),
        (fine.replace('control = "ctl.sock"', "control = 5"), "5: server.control = 5: expected a path\n"),
        ("server = 5\n", "1: server = 5: expected a table\n"),
    ):
        server.config.write_text(wrong)
        done = ctl()
        assert done.returncode == 2 and done.stderr.startswith(f"{server.config}:{text}"), done.stderr


@pytest.mark.parametrize("key", ["", 'control = "somewhere/ctl"'])
def test_ctl_looks_where_the_server_listens(tmp_path, key):
    path = tmp_path / "fastsip.toml"
    path.write_text(f"[server]\n{key}\n")
    assert control_path_by(path) == control_path(load(path))
    assert control_path_by(None) == control_path(load(None))


@contextlib.contextmanager
def unprivileged():
    """As an ordinary user, if the tests run as root."""
    if os.getuid() == 0:
        "a".encode("idna")  # loaded while the interpreter's files can still be read
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(os.getuid())


def test_ctl_without_permission_says_so(server):
    for folder in (server.folder, *server.folder.parents[:3]):
        folder.chmod(0o755)
    server.control.chmod(0)
    with unprivileged(), pytest.raises(NoServer, match=r"no permission to use .*: run as the user the server runs as"):
        Client(server.control)


def test_low_port_without_permission_says_so():
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip()
    if int(lowest) <= 1:
        pytest.skip("this machine lets anyone listen on any port")
    with unprivileged(), pytest.raises(CannotStart, match="permission denied; ports below 1024 need root or CAP_NET"):
        Listeners([Listen("udp", "127.0.0.1", 1)], 1)


def test_a_name_both_in_the_store_and_in_the_configuration_is_wrong_configuration(tmp_path):
    """What the state process says when it finds one: exit code 2, and the name."""
    server = Server(tmp_path, state="fastsip.db", text='[users.bob]\npassword = "x"\n')
    with contextlib.closing(connect(str(tmp_path / "fastsip.db"))) as store:
        store.execute("INSERT INTO users VALUES ('bob', 'example.com', 'example.com', '', '', 0)")
    done = subprocess.run(
        [sys.executable, "-m", "fastsip", "serve", "--config", str(server.config)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=20,
    )  # fmt: skip
    assert done.returncode == 2 and "bob@example.com" in done.stderr
