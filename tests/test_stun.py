"""STUN on the ports of SIP (RFC 5389, RFC 5626 8), and pings to clients behind a NAT."""

from __future__ import annotations

import re
import secrets
import socket
import struct
import time
import zlib

import pytest
from engine import engine
from harness import Phone, Server

COOKIE = 0x2112A442


@pytest.fixture
def server():
    with engine() as made:
        yield made


def binding(*attributes: tuple[int, bytes], fingerprint: bool = False, kind: int = 1) -> bytes:
    body = b"".join(struct.pack("!HH", t, len(v)) + v + bytes(-len(v) % 4) for t, v in attributes)
    head = struct.pack("!HHI", kind, len(body) + 8 * fingerprint, COOKIE) + secrets.token_bytes(12)
    if fingerprint:
        body += struct.pack("!HHI", 0x8028, 4, zlib.crc32(head + body) ^ 0x5354554E)
    return head + body


def ask(phone, data: bytes) -> tuple[int, dict[int, bytes]]:
    phone.socket.sendto(data, phone.proxy)
    answer = phone.socket.recv(2000)
    kind, length, cookie = struct.unpack("!HHI", answer[:8])
    assert cookie == COOKIE and answer[8:20] == data[8:20] and length == len(answer) - 20
    found, at = {}, 20
    while at < len(answer):
        attribute, size = struct.unpack("!HH", answer[at : at + 4])
        found[attribute] = answer[at + 4 : at + 4 + size]
        if attribute == 0x8028:
            assert struct.unpack("!I", found[attribute])[0] == zlib.crc32(answer[:at]) ^ 0x5354554E
        at += 4 + size + -size % 4
    return kind, found


def xored(phone) -> bytes:
    address = bytes(a ^ b for a, b in zip(socket.inet_aton(phone.host), struct.pack("!I", COOKIE), strict=True))
    return struct.pack("!HH", 1, phone.port ^ 0x2112) + address


def test_binding(server):
    phone = server.phone()
    assert ask(phone, binding()) == (0x0101, {0x0020: xored(phone)})
    software = (0x8022, b"a phone")
    assert ask(phone, binding(software, (0x0006, b"user"))) == (0x0101, {0x0020: xored(phone)})
    assert server.counters()["stun"] == 2


def test_fingerprint(server):
    phone = server.phone()
    kind, found = ask(phone, binding(fingerprint=True))
    assert kind == 0x0101 and found[0x0020] == xored(phone) and 0x8028 in found


def test_what_must_be_understood_and_is_not(server):
    phone = server.phone()
    kind, found = ask(phone, binding((0x0003, bytes(4)), (0x0027, bytes(2)), (0x7FFF, b"")))
    assert kind == 0x0111 and found[0x0009] == b"\0\0\4\x14"
    assert found[0x000A] == b"\x00\x03\x00\x27\x7f\xff"


def test_ipv6():
    with engine(host="::1") as server:
        phone = server.phone("::1")
        data = binding()
        kind, found = ask(phone, data)
        address = bytes(a ^ b for a, b in zip(socket.inet_pton(socket.AF_INET6, "::1"), data[4:20], strict=True))
        assert (kind, found[0x0020]) == (0x0101, struct.pack("!HH", 2, phone.port ^ 0x2112) + address)


@pytest.mark.parametrize(
    "data",
    [
        binding(kind=0x0011),
        binding(kind=0x0101),
        binding() + b"\0\0\0\0",
        binding((0x8022, b"x" * 20))[:-4],
        struct.pack("!HHI", 1, 4, COOKIE) + bytes(12) + struct.pack("!HH", 0x8022, 400),
        binding(fingerprint=True)[:-4] + bytes(4),
    ],
    ids=["indication", "response", "longer than it says", "shorter", "a long attribute", "a wrong fingerprint"],
)
def test_no_answer(server, data):
    phone = server.phone()
    phone.socket.sendto(data, phone.proxy)
    assert phone.silent()
    assert server.counters()["stun"] == 0 and server.counters()["dropped_malformed"] == 1


def test_pings():
    """Only who is behind a NAT gets them, from the port he registered at, and about as often as configured."""
    with (
        Server(workers=2, domains=["example.com"], extra={"nat": {"ping": 0.5}}) as server,
        Phone(server.address) as behind,
        Phone(server.address) as other,
    ):
        contact = "Contact: <sip:b@192.168.9.9:5060>\r\n"
        who = {"sender": "sip:b@example.com", "to": "sip:b@example.com"}
        data = behind.request("REGISTER", "sip:example.com", headers=contact, **who)
        behind.send(re.sub(rb"UDP [^;]*", b"UDP 192.168.9.9:5060", data, count=1))
        answer = behind.receive()
        assert answer is not None and answer.status == 200
        other.register("o@example.com", f"sip:o@{other.host}:{other.port}")
        began = time.monotonic()
        for _ in range(4):
            ping = behind.receive(3)
            while ping is not None and ping.is_response:
                ping = behind.receive(3)
            assert ping is not None and ping.method == "OPTIONS" and ping.uri == "sip:b@192.168.9.9:5060"
            assert ping.source == server.address
            behind.respond(ping, 200)
        assert 1 < time.monotonic() - began < 4
        assert other.receive(0.1) is None
        time.sleep(0.3)
        total = server.stats()["total"]
        assert total["pings"] >= total["pings_answered"] >= 4
