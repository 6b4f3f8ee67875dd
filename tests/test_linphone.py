"""linphone through a whole server: by every transport, called by its GRUU, over connections it opened alone."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from baresip import Baresip
from certificates import Authority
from harness import requires_peer
from linphone import Linphone
from stream_kit import StreamServer

pytestmark = requires_peer("linphone")

DOMAIN = "example.com"
PASSWORDS = {"alice": "wonder", "bob": "builder"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    """It has a name, since linphone finds no address in a certificate."""
    authority = Authority(Path(tmp_path_factory.mktemp("certificates")))
    users = [(name, password, DOMAIN) for name, password in PASSWORDS.items()]
    with StreamServer(
        authority, names=["localhost"], called="localhost", workers=2, domains=[DOMAIN], users=users, required=["*"]
    ) as made:
        yield made


def phone(server: StreamServer, name: str, transport: str = "udp", **more: Any) -> Linphone:
    """It trusts the server's authority, unless `more` says otherwise."""
    words = {
        "where": f"localhost:{server.secure_port}" if transport == "tls" else server.hostport,
        "password": PASSWORDS[name],
        "ca": server.extra["tls"]["ca_file"],
        **more,
    }
    return Linphone(f"sip:{name}@{DOMAIN}", words.pop("where"), transport=transport, **words)


def call(caller: Linphone, callee: Linphone, name: str, ends: Linphone) -> None:
    """A call from ringing to its end, by the one that `ends` it."""
    caller.dial(f"sip:{name}@{DOMAIN}")
    callee.until("IncomingReceived")
    caller.until("OutgoingRinging")
    callee.answer()
    for one in (caller, callee):
        one.until("StreamsRunning")
    ends.hang_up()
    for one in (caller, callee):
        one.until("End")
        one.until("Released")
        assert one.idle()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_it_registers_and_unregisters(server: StreamServer, transport: str) -> None:
    """It says which instance it is, and is given GRUUs (RFC 5627). It knows of outbound (RFC 5626), but has no reg-id
    and is promised nothing."""
    with phone(server, "alice", transport) as alice:
        assert alice.registered() == "Ok", alice.log
        assert "SIP/2.0 401 " in alice.log
        (binding,) = server.contacts(f"alice@{DOMAIN}")
        assert binding["transport"] == transport and binding["uri"] == f"sip:alice@{binding['source']};{transport=!s}"
        instance = re.fullmatch(r'\+sip\.instance="<(urn:uuid:[-\w]+)>"', binding["parameters"])
        assert instance, binding
        assert f';pub-gruu="sip:alice@{DOMAIN};gr={instance[1]}"' in alice.log and "temp-gruu" in alice.log
        assert re.search(r"^Supported: .*outbound", alice.log, re.M) and "\nRequire: " not in alice.log
        alice.unregister()
        assert server.contacts(f"alice@{DOMAIN}") == []


def test_a_wrong_password_does_not_register(server: StreamServer) -> None:
    with phone(server, "alice", password="wrong") as alice:
        assert alice.registered() == "Failed"
        assert server.contacts(f"alice@{DOMAIN}") == []


def test_a_server_of_another_name_is_refused(server: StreamServer) -> None:
    with phone(server, "alice", "tls", where=f"127.0.0.1:{server.secure_port}") as alice:
        assert alice.registered() == "Failed"
        assert "flags=[CN-mismatch ]" in alice.log and "REGISTER sip:" not in alice.log


def test_a_server_of_another_authority_is_refused(server: StreamServer, tmp_path: Path) -> None:
    with phone(server, "alice", "tls", ca=Authority(tmp_path).file) as alice:
        assert alice.registered() == "Failed"
        assert "flags=[not-trusted ]" in alice.log and "REGISTER sip:" not in alice.log


@pytest.mark.parametrize("kinds", [("udp", "udp"), ("tcp", "tls"), ("tls", "udp")], ids="-".join)
def test_calls_both_ways(server: StreamServer, kinds: tuple[str, str]) -> None:
    """Nobody listens where a Contact of tcp or tls says, and Contacts of calls are GRUUs. Either may hang up."""
    with phone(server, "alice", kinds[0]) as alice, phone(server, "bob", kinds[1]) as bob:
        for one, name in ((alice, "alice"), (bob, "bob")):
            assert one.registered() == "Ok", one.log
            (binding,) = server.contacts(f"{name}@{DOMAIN}")
            if one.transport != "udp":
                host, _, port = binding["source"].partition(":")
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, int(port)), 3)
        call(alice, bob, "bob", ends=bob)
        call(bob, alice, "alice", ends=bob)
        assert re.search(rf"^Contact: <sip:alice@{DOMAIN};gr=urn:uuid:", bob.log, re.M)
        assert re.search(rf"^BYE sip:alice@{DOMAIN};gr=urn:uuid:", bob.log, re.M)
        assert re.search(rf"^BYE sip:alice@127.0.0.1:\d+;transport={kinds[0]} ", alice.log, re.M)


def test_who_is_called_declines_and_who_calls_gives_up(server: StreamServer) -> None:
    with phone(server, "alice", "tls") as alice, phone(server, "bob", "tcp") as bob:
        for one in (alice, bob):
            assert one.registered() == "Ok", one.log
        alice.dial(f"sip:bob@{DOMAIN}")
        bob.until("IncomingReceived")
        bob.hang_up()
        alice.until("Error", "End")
        assert "SIP/2.0 603 " in alice.log
        for one in (alice, bob):
            one.until("Released")
        alice.dial(f"sip:bob@{DOMAIN}")
        bob.until("IncomingReceived")
        alice.until("OutgoingRinging")
        alice.hang_up()
        for one in (alice, bob):
            one.until("Released")
            assert one.idle()
        assert re.search(r"^CANCEL sip:bob@", bob.log, re.M) and "SIP/2.0 487 " in alice.log


@requires_peer("baresip")
@pytest.mark.parametrize("kinds", [("tls", "udp"), ("udp", "tcp")], ids="-".join)
def test_it_talks_to_baresip(server: StreamServer, kinds: tuple[str, str]) -> None:
    with phone(server, "alice", kinds[0]) as alice, Baresip(transport=kinds[1]) as bob:
        bob.register(f"sip:bob@{DOMAIN}", server.hostport, password=PASSWORDS["bob"])
        assert bob.until("REGISTER_OK", "REGISTER_FAIL")["type"] == "REGISTER_OK", bob.log
        assert alice.registered() == "Ok", alice.log
        alice.dial(f"sip:bob@{DOMAIN}")
        bob.until("CALL_INCOMING")
        alice.until("OutgoingRinging")
        bob.accept()
        alice.until("StreamsRunning")
        bob.until("CALL_ESTABLISHED")
        alice.hang_up()
        bob.until("CALL_CLOSED")
        alice.until("Released")
        bob.dial(f"sip:alice@{DOMAIN}")
        alice.until("IncomingReceived")
        bob.until("CALL_RINGING")
        alice.answer()
        bob.until("CALL_ESTABLISHED")
        alice.until("StreamsRunning")
        bob.hang_up()
        alice.until("Released")
        bob.until("CALL_CLOSED")
        assert alice.idle()
