"""Telephones of other people's making through a whole server: Digest, a call with sound, a refusal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from baresip import Baresip
from certificates import Authority
from harness import Server, requires_peer
from stream_kit import StreamServer

pytestmark = requires_peer("baresip")

DOMAIN = "example.com"
USERS = [("alice", "wonder", DOMAIN), ("bob", "builder", DOMAIN)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(domains=[DOMAIN], users=USERS, required=["*"]) as made:
        yield made


def test_a_wrong_password_does_not_register(server: Server) -> None:
    with Baresip() as phone:
        phone.register("sip:alice@example.com", server.hostport, password="wrong")
        assert "401" in phone.until("REGISTER_OK", "REGISTER_FAIL")["param"]


def test_two_phones_register_talk_and_hang_up(server: Server) -> None:
    with Baresip() as alice, Baresip() as bob:
        for phone, (name, password, _) in ((alice, USERS[0]), (bob, USERS[1])):
            phone.register(f"sip:{name}@{DOMAIN}", server.hostport, password=password)
            assert phone.until("REGISTER_OK", "REGISTER_FAIL")["type"] == "REGISTER_OK", phone.log
        alice.dial(f"sip:bob@{DOMAIN}")
        assert bob.until("CALL_INCOMING")["peeruri"].startswith(f"sip:alice@{DOMAIN}")
        alice.until("CALL_RINGING", "CALL_PROGRESS")
        bob.accept()
        alice.until("CALL_ESTABLISHED")
        bob.until("CALL_ESTABLISHED")
        deadline = time.monotonic() + 15
        while not (alice.heard() > 0.2 and bob.heard() > 0.2):
            assert time.monotonic() < deadline, f"heard {alice.heard()} and {bob.heard()} s\n{bob.log}"
            time.sleep(0.2)
        assert "Record-Route: <sip:" in bob.log
        bob.hang_up()
        bob.until("CALL_CLOSED")
        alice.until("CALL_CLOSED")

        alice.dial(f"sip:bob@{DOMAIN}")
        bob.until("CALL_INCOMING")
        bob.hang_up()
        assert "486" in alice.until("CALL_CLOSED")["param"]


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    authority = Authority(tmp_path_factory.mktemp("certificates"))
    names = ["127.0.0.1", DOMAIN]
    with StreamServer(authority, names=names, workers=2, domains=[DOMAIN], users=USERS, required=["*"]) as made:
        yield made


@pytest.mark.parametrize("kinds", [("tcp", "tcp"), ("tls", "tls"), ("tls", "udp"), ("tcp", "tls")], ids="-".join)
def test_phones_talk_by_other_transports(streams: StreamServer, kinds: tuple[str, str]) -> None:
    """Each stays on the connection it registered by; either may hang up."""
    ca = Path(streams.extra["tls"]["ca_file"])
    with Baresip(transport=kinds[0], ca=ca) as alice, Baresip(transport=kinds[1], ca=ca) as bob:
        for phone, (name, password, _) in ((alice, USERS[0]), (bob, USERS[1])):
            port = streams.secure_port if phone.transport == "tls" else streams.port
            phone.register(f"sip:{name}@{DOMAIN}", f"{streams.host}:{port}", password=password)
            assert phone.until("REGISTER_OK", "REGISTER_FAIL")["type"] == "REGISTER_OK", phone.log
        for caller, callee, name in ((alice, bob, "bob"), (bob, alice, "alice")):
            caller.dial(f"sip:{name}@{DOMAIN}")
            callee.until("CALL_INCOMING")
            callee.accept()
            caller.until("CALL_ESTABLISHED")
            callee.until("CALL_ESTABLISHED")
            callee.hang_up()
            caller.until("CALL_CLOSED")
            callee.until("CALL_CLOSED")
        via = f"Via: SIP/2.0/{kinds[1].upper()} 127.0.0.1:"
        assert via in bob.log and "Record-Route: <sip:f" in (bob.log if kinds[1] != "udp" else alice.log)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_outbound(transport: str) -> None:
    """RFC 5626: they register by instance and reg-id, nobody listens where their Contact says, and they talk."""
    with (
        Server(transports=("udp", "tcp"), domains=[DOMAIN], users=USERS, required=["*"]) as server,
        Baresip(transport=transport) as alice,
        Baresip(transport=transport) as bob,
    ):
        for phone, (name, password, _) in ((alice, USERS[0]), (bob, USERS[1])):
            phone.register(f"sip:{name}@{DOMAIN}", server.hostport, password=password, more="sipnat=outbound")
            assert phone.until("REGISTER_OK", "REGISTER_FAIL")["type"] == "REGISTER_OK", phone.log
            assert "reg-id=1" in phone.log and "Require: outbound" in phone.log
        for caller, callee, name in ((alice, bob, "bob"), (bob, alice, "alice")):
            caller.dial(f"sip:{name}@{DOMAIN}")
            callee.until("CALL_INCOMING")
            callee.accept()
            caller.until("CALL_ESTABLISHED")
            callee.until("CALL_ESTABLISHED")
            callee.hang_up()
            callee.until("CALL_CLOSED")
            caller.until("CALL_CLOSED")
        assert "sip:f" in bob.log  # the flow's token
