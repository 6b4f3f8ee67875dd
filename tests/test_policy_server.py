"""A whole server with somebody's policy in it: decided, blocked, cancelled, reloaded, broken."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import engine as wire
import pytest
from doubles.server import until
from harness.phone import Phone
from harness.server import Server

from fastsip import ConfigurationError, Proxy

MODULE = """
import asyncio, time
from fastsip.policy import *

METHODS = ("INVITE", "MESSAGE")

def refuse(status):
    return reject(status)

async def later(seconds, plan):
    await asyncio.sleep(seconds)
    return plan

def route(request):
    what, _, rest = (request.user or "").partition("-")
    if what == "refuse":
        return refuse(int(rest))
    if what == "block":
        time.sleep(float(rest))
        return reject(486)
    if what == "slow":
        return later(float(rest), reject(480))
    if what == "error":
        return 1 / 0
    if what == "nothing":
        return "nothing"
    if what == "bob":
        return fork(*lookup("bob@example.com"))
    if what == "fail":
        return Plan((step(*lookup("dave@example.com")),), on_failure=True)
    return None

async def on_failure(request, responses):
    await asyncio.sleep(0.01)
    return redirect("sip:elsewhere@192.0.2.1") if responses[0].status == 486 else None
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = {"policy": {"module": "my_policy", "timeout": 2}}
    server = Server(workers=1, domains=["example.com"], extra=extra)
    (server.folder / "my_policy.py").write_text(MODULE)
    with server:
        yield server


@pytest.fixture
def phones(server: Server) -> Iterator[list[wire.Phone]]:
    made = [wire.Phone() for _ in range(4)]
    for phone in made:
        phone.proxy = server.address
    yield made
    for phone in made:
        phone.socket.close()


def final(phone: wire.Phone, invite: str, timeout: float = 3) -> str:
    """Call, and the final response, acknowledged."""
    phone.send(invite)
    response = phone.expect("SIP/2.0 ", timeout)
    phone.send(wire.ack(invite, response))
    return response


def call(phone: wire.Phone, user: str, timeout: float = 3) -> str:
    invite = wire.request("INVITE", f"sip:{user}@example.com", phone)
    return final(phone, invite, timeout).split("\r\n")[0]


def test_plans_are_followed(server: Server, phones: list[wire.Phone]) -> None:
    alice, bob, *_ = phones
    with Phone(server.address) as registrar:
        assert registrar.register("bob@example.com", f"sip:bob@{bob.name}").status == 200
    assert call(alice, "refuse-410") == "SIP/2.0 410 Gone"
    assert call(alice, "nobody") == "SIP/2.0 404 Not Found", "as without a policy"
    alice.send(wire.request("INVITE", "sip:bob-1@example.com", alice))
    received = bob.expect(f"INVITE sip:bob@{bob.name}")
    bob.send(wire.reply(received, "200 OK", f"Contact: <sip:bob@{bob.name}>"))
    alice.expect("SIP/2.0 200")
    alice.send(wire.request("MESSAGE", "sip:refuse-403@example.com", alice))
    alice.expect("SIP/2.0 403")


def test_mistakes_are_500_at_once(server: Server, phones: list[wire.Phone]) -> None:
    begun = time.monotonic()
    for user in ("error-1", "nothing-1"):
        assert call(phones[0], user).startswith("SIP/2.0 500")
    assert time.monotonic() - begun < 1
    assert "ZeroDivisionError" in server.log and "expected a Plan or None, found str" in server.log


def test_sleep_in_one_request_hurts_no_other(server: Server, phones: list[wire.Phone]) -> None:
    blocked, other, third, _ = phones
    invite = wire.request("INVITE", "sip:block-60@example.com", blocked)
    begun = time.monotonic()
    blocked.send(invite)
    assert call(other, "refuse-410").startswith("SIP/2.0 410")
    assert time.monotonic() - begun < 1.2
    with Phone(server.address) as registrar:
        before = time.monotonic()
        assert registrar.register("carol@example.com", "sip:carol@127.0.0.1:6000").status == 200
        assert time.monotonic() - before < 0.5
    assert call(third, "slow-0.1").startswith("SIP/2.0 480")
    blocked.expect("SIP/2.0 100", 1)
    response = blocked.expect("SIP/2.0 500", 3)
    assert 1.9 < time.monotonic() - begun < 3
    blocked.send(wire.ack(invite, response))
    assert "route in " in server.log and "my_policy.py" in server.log and "has not come back" in server.log


def test_cancel_while_it_decides(server: Server, phones: list[wire.Phone]) -> None:
    alice = phones[0]
    invite = wire.request("INVITE", "sip:slow-1.5@example.com", alice)
    alice.send(invite)
    alice.expect("SIP/2.0 100", 0.5)
    cancel = invite.replace("INVITE sip", "CANCEL sip", 1).replace("1 INVITE", "1 CANCEL")
    alice.send(cancel)
    answers = sorted(alice.receive().split("\r\n")[0] for _ in range(2))
    assert answers == ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    alice.send(wire.ack(invite, "To: <sip:bob@example.com>;tag=x\r\n"))


def test_on_failure_finds_another_way(server: Server, phones: list[wire.Phone]) -> None:
    alice, bob, *_ = phones
    with Phone(server.address) as registrar:
        assert registrar.register("dave@example.com", f"sip:dave@{bob.name}").status == 200
    for status, found in (("486 Busy Here", "SIP/2.0 302"), ("603 Decline", "SIP/2.0 603")):
        invite = wire.request("INVITE", "sip:fail-1@example.com", alice)
        alice.send(invite)
        received = bob.expect("INVITE")
        response = wire.reply(received, status)
        bob.send(response)
        bob.expect("ACK")
        answer = alice.expect(found)
        alice.send(wire.ack(invite, answer))


def test_reload_loses_no_call(server: Server, phones: list[wire.Phone]) -> None:
    alice, bob, *_ = phones
    path = server.folder / "my_policy.py"
    invite = wire.request("INVITE", "sip:slow-1@example.com", alice)
    alice.send(invite)
    alice.expect("SIP/2.0 100")
    try:
        path.write_text(MODULE.replace("return reject(status)", "return reject(600)"))
        server.ctl("reload")
        assert call(bob, "refuse-410").startswith("SIP/2.0 600")
        answer = alice.expect("SIP/2.0 480")
        alice.send(wire.ack(invite, answer))
        path.write_text("def route(request)\n")
        server._process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        until(lambda: "my_policy.py:1: SyntaxError: expected ':'" in server.log, 5)
        assert call(bob, "refuse-410").startswith("SIP/2.0 600"), "the old one goes on"
        path.write_text("import os\nos._exit(3)\n")
        worker = next(pid for pid, kind in server.children().items() if kind == "worker")
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in server.children() and "worker" in server.children().values(), 10)
        assert call(bob, "refuse-410", 10).startswith("SIP/2.0 600"), "and in a worker that begins"
        assert "(code 3)" not in server.log and "with status 3" not in server.log
    finally:
        path.write_text(MODULE)
        server.ctl("reload")


def test_setup_that_fails_when_a_worker_begins_is_tried_again() -> None:
    """When the server starts, and when a worker is replaced: there is no old module to go on with."""
    code = """
from pathlib import Path
from fastsip.policy import reject
def setup():
    Path(__file__).with_name("database").read_text()
def route(request):
    return reject(486)
"""
    server, alice = Server(workers=1, domains=["example.com"], extra={"policy": {"module": "my_setup"}}), wire.Phone()
    (server.folder / "my_setup.py").write_text(code)
    database = server.folder / "database"
    with server, contextlib.closing(alice.socket):
        alice.proxy = server.address

        def behind() -> bool:
            return bool(server.stats()["workers"][0]["behind"])

        assert call(alice, "bob").startswith("SIP/2.0 500") and behind()
        database.write_text("")
        until(lambda: "worker 0 follows" in server.log, 8)
        assert call(alice, "bob").startswith("SIP/2.0 486") and not behind()
        database.unlink()
        (worker,) = [pid for pid, kind in server.children().items() if kind == "worker"]
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in server.children() and "worker" in server.children().values(), 10)
        assert call(alice, "bob", 10).startswith("SIP/2.0 500")
        until(behind, 3)
        database.write_text("")
        server.ctl("reload")
        assert call(alice, "bob").startswith("SIP/2.0 486") and not behind()


def test_all_is_given_back(server: Server) -> None:
    server.quiet(15)


def test_embedded(tmp_path: Path) -> None:
    path = tmp_path / "fastsip.toml"
    path.write_text(
        '[server]\nlisten = "udp:127.0.0.1:0"\ndomains = "example.com"\n[state]\npath = ":memory:"\n'
        '[policy]\nmodule = "my_embedded"\n'
    )
    with pytest.raises(ConfigurationError, match="there is no module my_embedded"):
        Proxy(path)
    (tmp_path / "my_embedded.py").write_text(MODULE)
    for _ in range(2):
        alice = wire.Phone()
        with Proxy(path) as proxy:
            alice.proxy = proxy.addresses[0]
            assert call(alice, "refuse-410").startswith("SIP/2.0 410")
            assert call(alice, "nobody").startswith("SIP/2.0 404")
            assert call(alice, "slow-0.1").startswith("SIP/2.0 480")
            alice.send(wire.request("INVITE", "sip:block-3@example.com", alice))
            alice.expect("SIP/2.0 100")
            begun = time.monotonic()
            proxy.stop(0)
            assert time.monotonic() - begun < 2.5
        alice.socket.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("fastsip") and "policy" not in one.name]


class Service(BaseHTTPRequestHandler):
    to = ""

    def do_GET(self) -> None:
        if "9" in self.path:
            time.sleep(3)
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps({"to": type(self).to}).encode())

    def log_message(self, *_: Any) -> None: ...


def test_the_slow_service_of_the_examples() -> None:
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, args=(0.02,), daemon=True).start()
    gateway, fallback, alice = wire.Phone(), wire.Phone(), wire.Phone()
    Service.to = f"sip:+1555@{gateway.name}"
    env = {
        **os.environ,
        "ROUTING_SERVICE": f"http://127.0.0.1:{service.server_port}/route",
        "ROUTING_DEFAULT": f"sip:{{number}}@{fallback.name}",
    }
    extra = {"policy": {"module": "fastsip.examples.policies.slow_http"}}
    with Server(domains=["example.com"], extra=extra, env=env) as server:
        alice.proxy = gateway.proxy = fallback.proxy = server.address
        for number, phone, start in (("+15550101", gateway, "+1555"), ("+15550109", fallback, "+15550109")):
            invite = wire.request("INVITE", f"sip:{number}@example.com", alice)
            alice.send(invite)
            received = phone.expect(f"INVITE sip:{start}@{phone.name}", 3)
            phone.send(wire.reply(received, "603 Decline"))
            alice.send(wire.ack(invite, alice.expect("SIP/2.0 603")))
    service.shutdown()
    service.server_close()
    for phone in (gateway, fallback, alice):
        phone.socket.close()
