"""The demonstration's phones against a stub of a proxy and registrar, also when datagrams get lost."""

from __future__ import annotations

import asyncio
import mmap
import random
import time

import pytest

import fastsip
from fastsip import _digest
from fastsip.auth import ha1_md5, ha1_sha256
from fastsip.demo import transactions
from fastsip.demo.digest import Answerer
from fastsip.demo.phones import CallFailed, Desk, Phone
from fastsip.demo.transactions import Endpoint
from fastsip.demo.wire import message

DOMAIN = "example.com"
PASSWORDS = {"alice": "secret", "bob": "hidden", "carol": "private"}


class Stub(asyncio.DatagramProtocol):
    """A stateless proxy that asks for Digest and loses a share of what passes, by seed."""

    def __init__(self, loss: float = 0.0, algorithms: int = _digest.MD5 | _digest.SHA256) -> None:
        self.digest = _digest.Authenticator(mmap.mmap(-1, _digest.table_size()), bytes(16), 300, algorithms)
        self.random, self.loss = random.Random(1), loss
        self.contacts: dict[str, tuple[str, int]] = {}
        self.seen: list[str] = []
        self.lost = 0

    def connection_made(self, transport):
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def send(self, data, to):
        if self.random.random() < self.loss:
            self.lost += 1
        else:
            self.transport.sendto(data, to)

    def datagram_received(self, data, source):
        if self.random.random() < self.loss:
            self.lost += 1
            return
        received = fastsip.parse(data)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        if received.status:
            via = next(i for i, line in enumerate(lines) if line.startswith("Via:"))
            del lines[via]
            via = fastsip.parse(self.joined(lines, body)).via
            return self.send(self.joined(lines, body), (via.host, via.port))
        self.seen.append(received.method)
        user = received.headers["From"].partition("sip:")[2].partition("@")[0]
        if received.method not in ("ACK", "CANCEL") and not self.proven(data, received, user):
            proxy = received.method != "REGISTER"
            challenge = self.digest.challenge(DOMAIN.encode(), now(), proxy, "uthorization" in head.decode())
            status = "407 Proxy Authentication Required" if proxy else "401 Unauthorized"
            return self.answer(received, status, challenge, source)
        if received.method == "REGISTER":
            self.contacts[user] = source
            return self.answer(received, "200 OK", b"", source)
        to = received.uri.user or ""
        if to not in self.contacts:
            return self.answer(received, "404 Not Found", b"", source)
        lines = [line for line in lines if not line.startswith("Route:")]
        lines[1:1] = [f"Via: SIP/2.0/UDP {self.address[0]}:{self.address[1]};branch={received.branch}p"]
        lines[2:2] = [f"Record-Route: <sip:{self.address[0]}:{self.address[1]};lr>"]
        self.send(self.joined(lines, body), self.contacts[to])

    @staticmethod
    def joined(lines, body):
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def proven(self, data, request, user):
        sha256 = b"algorithm=SHA-256" in data
        ha1 = (ha1_sha256 if sha256 else ha1_md5)(user, DOMAIN, PASSWORDS.get(user, ""))
        try:
            return self.digest.check(data, ha1.encode(), now()) in (_digest.OK, _digest.REPLAY)
        except ValueError:
            return False

    def answer(self, request, status, more, to):
        headers = [("Via", request.via), ("From", request.headers["From"]), ("To", request.headers["To"] + ";tag=s"),
                   ("Call-ID", request.call_id), ("CSeq", request.headers["CSeq"])]
        head, _, _ = message(f"SIP/2.0 {status}", headers).partition(b"Content-Length")
        self.send(head + more + b"Content-Length: 0\r\n\r\n", to)


def now() -> int:
    return int(time.time() * 1000)


async def office(*users: str, loss: float = 0.0, **kwargs):
    """A stub and a phone for each user, each on a socket of its own."""
    _, stub = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Stub(loss, **kwargs), local_addr=("127.0.0.1", 0))
    phones = []
    for user in users:
        desk = Desk(await Endpoint.open())
        phones.append(desk.add(Phone(desk.endpoint, stub.address, user, DOMAIN, PASSWORDS[user], ring=0.02)))
    return stub, phones


@pytest.fixture(autouse=True)
def fast_timers(monkeypatch):
    monkeypatch.setattr(transactions, "T1", 0.03)
    monkeypatch.setattr(transactions, "T2", 0.2)


def test_register_and_call():
    async def scene():
        stub, (alice, bob) = await office("alice", "bob")
        await alice.register()
        await bob.register()
        assert stub.contacts == {p.user: (p.endpoint.host, p.endpoint.port) for p in (alice, bob)}
        outcome = await alice.call(bob.address, 0.05)
        assert 0 < outcome.ringing < outcome.answered < 1
        await alice.call(bob.address, 0.0)
        assert stub.seen == ["REGISTER"] * 4 + ["INVITE", "ACK", "INVITE", "ACK", "BYE"] + ["INVITE", "ACK", "BYE"]
        assert not bob.dialogs

    asyncio.run(scene())


@pytest.mark.parametrize("algorithms", [_digest.MD5, _digest.SHA256])
def test_either_algorithm(algorithms):
    async def scene():
        stub, (alice,) = await office("alice", algorithms=algorithms)
        await alice.register()
        assert stub.seen == ["REGISTER"] * 2

    asyncio.run(scene())


def test_many_calls_while_datagrams_get_lost():
    async def scene():
        stub, phones = await office("alice", "bob", "carol", loss=0.1)
        await asyncio.gather(*(phone.register() for phone in phones))
        pairs = [(phones[i % 3], phones[(i + 1) % 3]) for i in range(60)]
        await asyncio.gather(*(caller.call(callee.address, 0.05) for caller, callee in pairs))
        assert stub.lost > 50
        await asyncio.sleep(0.3)
        assert not any(phone.dialogs for phone in phones)

    asyncio.run(scene())


def test_failures_say_what_happened():
    async def scene():
        stub, (alice, bob) = await office("alice", "bob")
        bob._answerers[401] = Answerer("bob", "wrong")
        with pytest.raises(CallFailed, match="REGISTER got 401"):
            await bob.register()
        await alice.register()
        with pytest.raises(CallFailed, match="INVITE got 404 Not Found"):
            await alice.call(bob.address, 0.0)
        stub.loss = 1.0
        with pytest.raises(CallFailed, match="no answer to INVITE"):
            await alice.call(bob.address, 0.0)

    asyncio.run(scene())


def test_a_phone_answers_for_itself():
    async def scene():
        _, (alice, bob) = await office("alice", "bob")
        host, port = bob.endpoint.host, bob.endpoint.port

        async def ask(method, user="bob", branch="z9hG4bK1"):
            headers = [("Via", f"SIP/2.0/UDP {alice.endpoint.host}:{alice.endpoint.port};branch={branch}"),
                       ("From", "<sip:a@b>;tag=1"), ("To", "<sip:c@d>"), ("Call-ID", "x"), ("CSeq", f"1 {method}")]
            data = message(f"{method} sip:{user}@{host}:{port} SIP/2.0", headers)
            return (await alice.endpoint.request(method, branch, data, (host, port)).final).status

        assert await ask("OPTIONS") == 200
        assert await ask("OPTIONS", user="nobody", branch="z9hG4bK2") == 404
        assert await ask("BYE") == 481
        assert await ask("CANCEL") == 481
        assert await ask("PUBLISH") == 501
        bob.ring = 10
        ringing = asyncio.create_task(ask("INVITE", branch="z9hG4bK3"))
        await asyncio.sleep(0.05)
        assert await ask("CANCEL", branch="z9hG4bK3") == 200
        assert await ringing == 487

    asyncio.run(scene())
