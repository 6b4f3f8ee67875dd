"""fastsip.Proxy: a server inside this very process, several of them, and nothing left when they are gone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine as wire
import pytest
from harness.phone import Phone

from fastsip import CannotStart, ConfigurationError, Proxy, UsageError
from fastsip.process import keys, listeners

LOCAL = {"listen": ["udp:127.0.0.1:0"], "domains": ["example.com"], "drain_timeout": 0.2}
USERS = {"alice": {"password": "wonderland"}, "bob": {"password": "builder"}}


def proxy(**tables: Any) -> Proxy:
    return Proxy({"server": LOCAL, **tables})


def until(condition: Callable[[], object], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_registers_and_tells_of_it() -> None:
    with proxy(users=USERS) as server, Phone(server.addresses[0]) as phone:
        assert server.serving and phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wrong").status == 401
        assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wonderland").status == 200
        (contact,) = server.contacts("alice@example.com")
        assert (contact["uri"], contact["aor"]) == ("sip:alice@127.0.0.1:6000", "alice@example.com")
        assert server.contacts() == [contact] and server.contacts("bob@example.com") == []
        stats = server.stats()
        assert stats["state"]["bindings"] == 1 and stats["state"]["users"] == 2 and stats["durable"]
        assert stats["listen"] == [f"udp:127.0.0.1:{server.addresses[0][1]}"] and not stats["draining"]
        until(lambda: server.stats()["total"]["requests_in"] >= 3)
    assert not server.serving and repr(server) == "<fastsip.Proxy stopped>"


def test_carries_a_call() -> None:
    with proxy() as server, Phone(server.addresses[0]) as registrar:
        alice, bob = wire.Phone(), wire.Phone()
        alice.proxy = bob.proxy = server.addresses[0]
        assert registrar.register("bob@example.com", f"sip:bob@{bob.name}").status == 200
        invite = wire.request("INVITE", "sip:bob@example.com", alice)
        alice.send(invite)
        received = bob.expect("INVITE sip:bob@127.0.0.1")
        bob.send(wire.reply(received, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
        assert wire.header(alice.expect("SIP/2.0 200"), "CSeq") == "1 INVITE"
        until(lambda: server.stats()["total"]["calls_set_up"] == 1)
        for phone in (alice, bob):
            phone.socket.close()


def test_services_of_people_forward_and_screen() -> None:
    alice, cell = wire.Phone(), wire.Phone()
    stranger = "sip:alice@elsewhere.example"
    users = {
        "bob": {"forward_always": f"sip:bob@{cell.name}"},
        "carol": {"password": "x", "block_incoming": ["sip:alice@*"]},
    }
    with proxy(users=users) as server:
        assert server.stats()["state"]["services"] == 2
        alice.proxy = server.addresses[0]
        alice.send(wire.request("INVITE", "sip:bob@example.com", alice, caller=stranger))
        alice.expect("SIP/2.0 181")
        assert ";cause=302" in cell.expect("INVITE sip:bob@127.0.0.1").split("\r\n")[0]
        alice.send(wire.request("MESSAGE", "sip:carol@example.com", alice, caller=stranger, call_id="2"))
        alice.expect("SIP/2.0 403 Screening Failure (Terminating)")
        for phone in (alice, cell):
            phone.socket.close()


def test_several_at_once_know_nothing_of_each_other() -> None:
    with proxy() as one, proxy() as other, Phone(one.addresses[0]) as phone:
        assert one.addresses != other.addresses
        assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000").status == 200
        assert len(one.contacts()) == 1 and other.contacts() == []
        phone.server = other.addresses[0]
        assert (answer := phone.options(1)) is not None and answer.status == 200


def test_store_keeps_registrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "WAIT", 0)
    file = tmp_path / "fastsip.toml"
    file.write_text('[server]\nlisten = "udp:127.0.0.1:0"\ndomains = "example.com"\n[state]\npath = "kept.db"\n')
    server = Proxy(file, server={"drain_timeout": 0})
    for number in range(2):  # the same Proxy may be started again
        with server, Phone(server.addresses[0]) as phone:
            assert len(server.contacts()) == number
            uri = f"sip:alice@127.0.0.1:{6000 + number}"
            assert phone.register("alice@example.com", uri).status == 200
            with pytest.raises(CannotStart, match="in use by another server"):
                Proxy(file).start()
    assert (tmp_path / "kept.db").exists()
    with Proxy(str(file)) as server:
        assert len(server.contacts("alice@example.com")) == 2


def _open() -> tuple[int, int, int]:
    """Descriptors, threads, mappings of our shared memory."""
    gc.collect()
    shared = sum("memfd:fastsip" in line for line in Path("/proc/self/maps").read_text().splitlines())
    return len(os.listdir("/proc/self/fd")), threading.active_count(), shared


def _resident() -> int:
    return int(re.findall(r"^RssAnon:\s+(\d+)", Path("/proc/self/status").read_text(), re.M)[0])


def test_gives_everything_back(tmp_path: Path) -> None:
    server = proxy(state={"path": str(tmp_path / "store.db")}, users=USERS)
    sizes = []
    before = None
    for _ in range(10):
        with server, Phone(server.addresses[0]) as phone:
            assert phone.register("alice@example.com", "sip:alice@127.0.0.1:6000", "wonderland").status == 200
        before = before or _open()
        assert _open() == before and before[2] == 0
        sizes.append(_resident())
    assert sizes[-1] - sizes[5] < 2_000, f"KiB after each round: {sizes}"


def test_what_cannot_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "WAIT", 0)
    before = _open()
    with proxy() as taken:
        address = f"udp:127.0.0.1:{taken.addresses[0][1]}"
        with pytest.raises(CannotStart, match="address already in use"):
            Proxy(server={"listen": ["udp:127.0.0.1:0", address]}).start()
        with pytest.raises(CannotStart, match="cannot write the store"):
            proxy(state={"path": str(tmp_path / "no" / "folder.db")}).start()
        (tmp_path / "text.db").write_text("no store at all, and longer than a header of one" * 10)
        with pytest.raises(CannotStart, match="cannot use the store"):
            proxy(state={"path": str(tmp_path / "text.db")}).start()
    assert _open() == before


def test_stop_ends_what_is_open() -> None:
    with proxy() as server, Phone(server.addresses[0]) as registrar:
        alice, bob = wire.Phone(), wire.Phone()
        alice.proxy = bob.proxy = server.addresses[0]
        registrar.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(wire.request("INVITE", "sip:bob@example.com", alice))
        bob.send(wire.reply(bob.expect("INVITE"), "180 Ringing"))
        alice.expect("SIP/2.0 180")
        begun = time.monotonic()
        server.stop()
        assert 0.2 <= time.monotonic() - begun < 2
        assert alice.expect("SIP/2.0 ").startswith(("SIP/2.0 408", "SIP/2.0 487", "SIP/2.0 5"))
        bob.expect("CANCEL")
        server.stop()
        for phone in (alice, bob):
            phone.socket.close()


def test_touches_nothing_of_the_program() -> None:
    def state() -> list[object]:
        root = logging.getLogger()
        return [signal.getsignal(number) for number in signal.valid_signals()] + [root.level, list(root.handlers)]

    before = state()
    with proxy(log={"level": "debug", "format": "json"}):
        assert state() == before
        assert not [path for path in Path("/proc/self/task").glob("*/children") if path.read_text().split()]
    assert state() == before


def test_says_what_it_does_through_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastsip"), proxy() as server:
        port = server.addresses[0][1]
    assert any(f"serving on udp:127.0.0.1:{port}" in line for line in caplog.messages)
    assert caplog.messages[-1] == "fastsip stopped"


def test_async_with() -> None:
    async def main() -> int:
        async with proxy() as server:
            with Phone(server.addresses[0]) as phone:
                answer = await asyncio.to_thread(phone.options, 1)
            return answer.status if answer else 0

    assert asyncio.run(main()) == 200


def test_misuse() -> None:
    server = proxy()
    server.stop()
    for wrong in (lambda: server.addresses, server.stats, server.contacts):
        with pytest.raises(UsageError, match="does not serve"):
            wrong()
    with server:
        with pytest.raises(UsageError, match="serves already"):
            server.start()
        with pytest.raises(TypeError, match="not int"):
            server.contacts(7)  # type: ignore[arg-type]
        assert server.contacts("nonsense") == []


def test_a_forked_child_is_told_at_once() -> None:
    with proxy() as server:
        pid = os.fork()
        if pid == 0:
            begun = time.monotonic()
            try:
                server.stats()
            except UsageError:
                os._exit(0 if time.monotonic() - begun < 1 else 2)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_configuration_is_checked_at_once() -> None:
    for wrong in (5, [1], object()):
        with pytest.raises(TypeError, match="a path or a dictionary"):
            Proxy(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError) as raised:
        Proxy({"server": {"listen": "udp:here", "domain": "x"}}, users={"bob": {"password": "secret", "age": 7}})
    text = str(raised.value)
    assert "server.listen" in text and 'did you mean "domains"' in text and "users.bob.age" in text
    assert "secret" not in text
    with pytest.raises(ConfigurationError, match="cannot read it"):
        Proxy("/no/such/file.toml")
    with pytest.raises(ConfigurationError, match="anyone who reaches"):
        Proxy(server={"listen": "udp:0.0.0.0:0"})


def test_keyword_tables_lie_over_the_configuration() -> None:
    with Proxy({"server": {**LOCAL, "listen": ("udp:127.0.0.1:0", "udp:[::1]:0")}}, server={"workers": 7}) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    "end", ["", "del server; gc.collect(); print('gone')", "sys.exit(3)", "os.fork() or os._exit(0)"]
)
def test_a_program_may_forget_it(end: str) -> None:
    code = (
        "import fastsip, gc, os, sys\n"
        "server = fastsip.Proxy(server={'listen': ['udp:127.0.0.1:0']})\n"
        f"server.start()\n{end}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert done.returncode == (3 if "exit(3)" in end else 0), done.stderr
    assert done.stderr == "" and ("gone" in done.stdout) == ("gone" in end)
