"""TLS connections against Python's ssl module, in both directions."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import random
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from tls_kit import Both, Setup, client_context, pair, server_context

from fastsip import _tls
from fastsip._tls import DONE, FAILED, WANT_READ, WANT_WRITE, TlsContexts
from fastsip.launch import TlsSetup

VERSIONS = ["1.2", "1.3"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Strange Authority")


@pytest.fixture(autouse=True)
def no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every TlsContexts of a test has no connection left at its end."""
    made: list[TlsContexts] = []

    class Noted(TlsContexts):
        def __init__(self, setup: object) -> None:
            made.append(self)

    monkeypatch.setattr(sys.modules[__name__], "TlsContexts", Noted)
    yield
    gc.collect()
    assert [one.live for one in made if one.live] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_of_python_comes(ca: Authority, version: str) -> None:
    both = Both(TlsContexts(Setup([ca.sign("sip.example.com")])), client_context(ca, version))
    assert both.shake() == DONE and both.error is None
    assert both.ours.version == both.theirs.version() == f"TLSv{version}"
    assert both.theirs.cipher() is not None and both.ours.cipher == both.theirs.cipher()[0]
    assert not both.ours.peer_verified and both.ours.peer_names == [] and not both.ours.resumed
    both.say()
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_of_python_is_visited(ca: Authority, version: str) -> None:
    contexts = TlsContexts(Setup(ca_file=ca.file))
    both = Both(contexts, server_context(ca.sign("sip.example.com"), version), accepts=False)
    assert both.shake() == DONE and both.error is None
    assert both.ours.peer_verified and both.ours.peer_is("SIP.example.com.") and not both.ours.peer_is("example.com")
    both.say()
    both.close()


def test_the_setup_of_the_launch_fits(ca: Authority) -> None:
    contexts = TlsContexts(TlsSetup(certificates=[ca.sign("sip.example.com")], ticket_secret=b""))
    both = Both(contexts, client_context(ca))
    assert both.shake() == DONE
    both.close()


def test_the_library_says_its_name() -> None:
    assert _tls.library().startswith("OpenSSL ")


def test_the_least_version_is_kept(ca: Authority) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")], minimum="1.3"))
    both = Both(contexts, client_context(ca, "1.2"))
    assert both.shake() == FAILED and isinstance(both.error, ssl.SSLError)
    assert "unsupported protocol" in both.ours.reason
    both.close()


# --- which certificate ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("a.example.com", "a.example.com"),
        ("B.example.com", "b.example.com"),
        ("x.wild.example", "*.wild.example"),
        ("own.wild.example", "own.wild.example"),
        ("x.y.wild.example", "a.example.com"),
        ("wild.example", "a.example.com"),
        ("nobody.example", "a.example.com"),
        (None, "a.example.com"),
    ],
)
def test_the_certificate_is_the_one_for_the_name(ca: Authority, version: str, asked: str | None, shown: str) -> None:
    names = ["a.example.com", "b.example.com", "*.wild.example", "own.wild.example"]
    contexts = TlsContexts(Setup([ca.sign(name) for name in names]))
    peer = client_context(ca, version)
    peer.check_hostname = False
    both = Both(contexts, peer, name=asked)
    assert both.shake() == DONE and both.error is None
    assert both.theirs.getpeercert()["subjectAltName"] == (("DNS", shown),)
    both.close()


# --- who the other one is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "common", "identities"),
    [
        (["sip:example.com", "other.example"], "", ["example.com"]),
        (["SIP:Example.COM:5061;transport=tls", "sip:two.example?x=y"], "", ["example.com", "two.example"]),
        (["sip:alice@example.com", "sip.example.com"], "", ["sip.example.com"]),
        (["https://example.com/", "sips:example.com", "sip.example.com"], "", ["sip.example.com"]),
        (["a.example", "b.example"], "c.example", ["a.example", "b.example"]),
        ([], "c.example", ["c.example"]),
        ([], "Alice Smith", []),
        (["192.0.2.1", "2001:db8::1", "a.example"], "", ["a.example", "192.0.2.1", "2001:db8::1"]),
        (["*.example.com"], "", ["*.example.com"]),
        (["https://example.com/"], "c.example", []),
        (["sip.example.com\0.evil.example", "sip:example.com\0.evil.example"], "", []),
        (["x" * 64 + ".example", "é".encode().hex() + ".example"], "", ["x" * 64 + ".example", "c3a9.example"]),
    ],
)
def test_identities_are_those_of_rfc_5922(ca: Authority, names: list[str], common: str, identities: list[str]) -> None:
    contexts = TlsContexts(Setup(ca_file=ca.file))
    both = Both(contexts, server_context(ca.sign(*names, common=common)), accepts=False, name=None)
    assert both.shake() == DONE
    assert both.ours.peer_names == identities
    assert all(both.ours.peer_is(name) for name in identities)
    assert not both.ours.peer_is("x.example.com") and not both.ours.peer_is("alice@example.com")
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("names", [["other.example"], ["*.example.com"], ["sip:other.example", "sip.example.com"]])
def test_a_server_with_another_name_is_refused(ca: Authority, version: str, names: list[str]) -> None:
    contexts = TlsContexts(Setup(ca_file=ca.file))
    both = Both(contexts, server_context(ca.sign(*names), version), accepts=False)
    assert both.shake() == FAILED
    assert both.ours.reason == "the certificate is not for sip.example.com"
    assert both.ours.read(100) == -FAILED and both.ours.write(b"x") == -FAILED
    both.close()


def test_a_server_known_by_address(ca: Authority) -> None:
    contexts = TlsContexts(Setup(ca_file=ca.file))
    both = Both(contexts, server_context(ca.sign("192.0.2.7")), accepts=False, name="192.0.2.7")
    assert both.shake() == DONE
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_nobody_vouches_for_is_refused(ca: Authority, stranger: Authority, version: str) -> None:
    contexts = TlsContexts(Setup(ca_file=ca.file))
    unknown, old = stranger.sign("sip.example.com"), ca.sign("sip.example.com", expired=True)
    for own, why in ((unknown, "issuer"), (old, "expired")):
        both = Both(contexts, server_context(own, version), accepts=False)
        assert both.shake() == FAILED
        assert both.ours.reason.startswith("certificate verify failed: ") and why in both.ours.reason
        both.close()


def test_a_server_may_be_believed_blindly_and_then_is_nobody(stranger: Authority) -> None:
    contexts = TlsContexts(Setup(verify_server=False))
    both = Both(contexts, server_context(stranger.sign("other.example")), accepts=False)
    assert both.shake() == DONE
    assert not both.ours.peer_verified and both.ours.peer_names == []
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rule", ["ask", "require"])
def test_clients_with_certificates(ca: Authority, stranger: Authority, version: str, rule: str) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")], ca_file=ca.file, verify_client=rule))
    good, old = ca.sign("sip:trunk.example"), ca.sign("sip:trunk.example", expired=True)
    unfit = ca.sign("sip:trunk.example", usages=["server"])
    both = Both(contexts, client_context(ca, version, good))
    assert both.shake() == DONE
    assert both.ours.peer_verified and both.ours.peer_names == ["trunk.example"]
    both.say()
    both.close()
    for own, why in ((old, "expired"), (stranger.sign("sip:trunk.example"), "issuer"), (unfit, "purpose")):
        both = Both(contexts, client_context(ca, version, own))
        assert both.shake() == FAILED
        assert both.ours.reason.startswith("certificate verify failed: ") and why in both.ours.reason, both.ours.reason
        both.close()
    both = Both(contexts, client_context(ca, version))
    if rule == "ask":
        assert both.shake() == DONE and not both.ours.peer_verified and both.ours.peer_names == []
    else:
        assert both.shake() == FAILED and "peer did not return a certificate" in both.ours.reason
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_certificate_is_shown_to_servers_that_ask(ca: Authority, version: str) -> None:
    contexts = TlsContexts(Setup([ca.sign("own.example")], ca_file=ca.file))
    both = Both(contexts, server_context(ca.sign("sip.example.com"), version, clients=ca), accepts=False)
    assert both.shake() == DONE and both.error is None
    both.say()
    assert both.theirs.getpeercert()["subjectAltName"] == (("DNS", "own.example"),)
    both.close()


# --- sessions -------------------------------------------------------------------------------------------------------


def visit(
    contexts: TlsContexts, peer: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession]:
    """Whether the peer says that it resumed, and its session after a word was exchanged."""
    both = Both(contexts, peer, session=session)
    assert both.shake() == DONE and both.error is None
    both.say()
    reused, after = both.theirs.session_reused, both.theirs.session
    assert both.ours.resumed == reused
    both.close()
    assert after is not None
    return bool(reused), after


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_resume_at_whichever_process_has_the_secret(ca: Authority, version: str) -> None:
    setup, peer = Setup([ca.sign("sip.example.com")]), client_context(ca, version)
    first, second = TlsContexts(setup), TlsContexts(setup)
    third = TlsContexts(dataclasses.replace(setup, ticket_secret=bytes(32)))
    reused, session = visit(first, peer)
    assert not reused
    assert visit(first, peer, session)[0]
    assert visit(second, peer, session)[0]
    assert not visit(third, peer, session)[0]
    second.reload(setup)
    assert visit(second, peer, session)[0]
    second.reload(dataclasses.replace(setup, tickets=False))
    both = Both(second, peer, session=session)
    assert both.shake() == DONE and not both.theirs.session_reused
    both.close()


def test_ticket_keys_change_and_the_last_ones_are_honoured(ca: Authority) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")], ticket_lifetime=3))
    peers = [client_context(ca, version) for version in VERSIONS]
    time.sleep((2.5 - time.time()) % 3)                           # half a second before the change
    before = [visit(contexts, peer)[1] for peer in peers]
    time.sleep(0.7)
    after = [visit(contexts, peer, session) for peer, session in zip(peers, before, strict=True)]
    assert [reused for reused, _ in after] == [True, True]
    time.sleep(4)
    assert not any(visit(contexts, peer, session)[0] for peer, (_, session) in zip(peers, after, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stricter_rule_resumes_nobody(ca: Authority, version: str) -> None:
    setup, peer = Setup([ca.sign("sip.example.com")], ca_file=ca.file), client_context(ca, version)
    contexts = TlsContexts(setup)
    session = visit(contexts, peer)[1]
    contexts.reload(dataclasses.replace(setup, verify_client="require"))
    both = Both(contexts, peer, session=session)
    assert both.shake() == FAILED
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_resumed_client_is_who_it_was(ca: Authority, version: str) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")], ca_file=ca.file, verify_client="require"))
    peer = client_context(ca, version, ca.sign("sip:trunk.example"))
    session = visit(contexts, peer)[1]
    both = Both(contexts, peer, session=session)
    assert both.shake() == DONE and both.ours.resumed
    assert both.ours.peer_verified and both.ours.peer_names == ["trunk.example"]
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_we_resume_at_servers(ca: Authority, version: str) -> None:
    setup = Setup(ca_file=ca.file)
    contexts, peer = TlsContexts(setup), server_context(ca.sign("sip.example.com", "sip:other.example"), version)
    peer = server_context(ca.sign("sip.example.com", "other.example"), version)

    def resumed(name: str = "sip.example.com") -> bool:
        both = Both(contexts, peer, accepts=False, name=name)
        assert both.shake() == DONE
        both.say()
        assert both.ours.resumed == both.theirs.session_reused and both.ours.peer_is(name)
        both.ours.shutdown()
        found = both.ours.resumed
        both.close()
        return found

    assert [resumed() for _ in range(4)] == [False, True, True, True]
    assert [resumed("other.example") for _ in range(2)] == [False, True]
    contexts.reload(setup)
    assert [resumed() for _ in range(2)] == [False, True]


def test_every_resumed_session_brings_the_ticket_of_the_next(ca: Authority) -> None:
    """OpenSSL's clients use a ticket of TLS 1.3 once."""
    server = TlsContexts(Setup([ca.sign("sip.example.com")]))
    client = TlsContexts(Setup(ca_file=ca.file))
    resumed = []
    for _ in range(4):
        sockets = pair()
        there, here = server.accept(sockets[0].fileno()), client.connect(sockets[1].fileno(), "sip.example.com")
        while (here.handshake(), there.handshake()) != (DONE, DONE):
            pass
        assert there.write(b"word") == 4 and here.read(10) == b"word"
        resumed.append((here.resumed, there.resumed))
        for end, sock in zip((there, here), sockets, strict=True):
            end.free()
            sock.close()
    assert resumed == [(False, False), (True, True), (True, True), (True, True)]


def test_sessions_of_servers_are_bounded(ca: Authority) -> None:
    """The one longest unused is forgotten."""
    contexts = TlsContexts(Setup(ca_file=ca.file))
    peer = server_context(ca.sign(*[f"s{i}.example" for i in range(258)]), "1.3")

    def resumed(name: str) -> bool:
        both = Both(contexts, peer, accepts=False, name=name)
        assert both.shake() == DONE
        both.say()
        found = both.ours.resumed
        both.close()
        return found

    for i in range(256):
        assert not resumed(f"s{i}.example")
    assert resumed("s0.example") and not resumed("s256.example")
    assert resumed("s0.example") and not resumed("s1.example")


# --- reload, and what is wrong with a setup -------------------------------------------------------------------------


def test_new_connections_follow_a_reload_and_old_ones_live_on(ca: Authority) -> None:
    setup = Setup([ca.sign("sip.example.com", "old.example")])
    contexts, peer = TlsContexts(setup), client_context(ca)
    old, half = Both(contexts, peer), Both(contexts, peer)
    assert old.shake() == DONE
    assert half.ours.handshake() == WANT_READ
    contexts.reload(Setup([ca.sign("sip.example.com", "new.example")]))
    new = Both(contexts, peer)
    assert new.shake() == DONE and half.shake() == DONE
    names = [both.theirs.getpeercert()["subjectAltName"][1][1] for both in (old, half, new)]
    assert names == ["old.example", "old.example", "new.example"]
    for both in (old, half, new):
        both.say()
    for wrong in (Setup([("/nowhere.pem", "/nowhere.key")]), Setup(minimum="1.0")):
        with pytest.raises(ValueError):
            contexts.reload(wrong)
    both = Both(contexts, peer)
    assert both.shake() == DONE
    assert contexts.live == 4
    for each in (old, half, new, both):
        each.close()
    assert contexts.live == 0


def test_what_the_certificates_are_for_and_until_when(ca: Authority) -> None:
    setup = Setup([ca.sign("sip:a.example", "*.b.example"), ca.sign(common="c.example", expired=True)])
    contexts = TlsContexts(setup)
    (first, begins, ends), (second, began, ended) = contexts.certificates
    now = time.time()
    assert first == ["a.example", "*.b.example"]
    assert abs(begins - now + 86400) < 600 and abs(ends - now - 365 * 86400) < 600
    assert second == ["c.example"] and abs(began - now + 9 * 86400) < 600 and abs(ended - now + 86400) < 600
    contexts.reload(Setup())
    assert contexts.certificates == []


def test_connections_outlive_their_contexts(ca: Authority) -> None:
    both = Both(_tls.TlsContexts(Setup([ca.sign("sip.example.com")])), client_context(ca))
    gc.collect()
    assert both.shake() == DONE
    both.say()
    both.close()


def test_a_wrong_setup_says_what_is_wrong(ca: Authority, tmp_path: Path) -> None:
    good, other = ca.sign("a.example"), ca.sign("b.example")
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    wrong = [
        (Setup([(str(junk), good[1])]), f"certificate: {junk}: "),
        (Setup([(good[0], "/nowhere.key")]), "key: cannot read /nowhere.key: No such file"),
        (Setup([(good[0], other[1])]), f"key: {other[1]} is not that of {good[0]}"),
        (Setup([(good[0], str(junk))]), f"key: {junk} is no private key that can be used"),
        (Setup(ca_file=str(junk)), f"ca_file: {junk}: "),
        (Setup(ciphers="NONSENSE"), "ciphers = 'NONSENSE': no cipher match"),
        (Setup(suites="NONSENSE"), "suites = 'NONSENSE'"),
        (Setup(minimum="1.1"), "minimum = '1.1': expected one of 1.2, 1.3"),
        (Setup(verify_client="maybe"), "verify_client = 'maybe': expected one of no, ask, require"),
        (Setup(ticket_secret=b"short"), "ticket_secret has 5 bytes: expected 16 to 64"),
        (Setup(ticket_lifetime=0), "ticket_lifetime = 0"),
    ]
    for setup, text in wrong:
        with pytest.raises(ValueError) as error:
            TlsContexts(setup)
        assert text in str(error.value)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(ca: Authority, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    chain, key = ca.sign("a.example")
    locked = tmp_path / "locked.key"
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ValueError, match=f"key: {locked} is encrypted: a key without a passphrase is needed"):
        TlsContexts(Setup([(chain, str(locked))]))


def test_without_certificates_nothing_is_accepted() -> None:
    contexts = TlsContexts(Setup())
    ours, theirs = pair()
    with pytest.raises(OSError):
        contexts.accept(ours.fileno())
    ours.close(), theirs.close()


# --- bytes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=VERSIONS)
def both(ca: Authority, request: pytest.FixtureRequest) -> Iterator[Both]:
    """Ready, with nothing under way."""
    made = Both(TlsContexts(Setup([ca.sign("sip.example.com")])), client_context(ca, request.param))
    assert made.shake() == DONE
    made.say()
    yield made
    made.close()


def test_a_small_record_is_one_system_call(both: Both) -> None:
    before = both.ours.system_calls
    for _ in range(10):
        both.say(b"x" * 500)
    reads, writes = both.ours.system_calls
    assert (reads - before[0], writes - before[1]) == (10, 10)


def test_many_small_records_come_in_one_read(both: Both) -> None:
    for i in range(20):
        both.theirs.send(bytes([i]) * 300)
    before = both.ours.system_calls
    assert both.read() == b"".join(bytes([i]) * 300 for i in range(20))
    assert both.ours.system_calls[0] - before[0] == 1
    assert both.ours.pending() == 0 and both.read() == -WANT_READ


def test_what_was_not_taken_is_pending(both: Both) -> None:
    both.theirs.send(b"abcdef")
    both.theirs.send(b"ghi")
    assert both.read(4) == b"abcd" and both.ours.pending() == 2
    assert both.read(2) == b"ef" and both.ours.pending() == 1     # a record that nobody decrypted yet
    assert both.read(2) == b"gh" and both.ours.pending() == 1
    assert both.read(2) == b"i" and both.ours.pending() == 0
    assert both.read(2) == -WANT_READ


def test_half_a_record_is_awaited(both: Both) -> None:
    """It sits in our buffer, and yet there is nothing to do before the socket is readable."""
    both.theirs.send(b"x" * 1000)
    record = both.sockets[0].recv(4096)
    saved, (ours, theirs) = os.dup(both.ours.fileno()), pair()
    os.dup2(ours.fileno(), both.ours.fileno())
    theirs.send(record[:300])
    assert both.read() == -WANT_READ and both.ours.pending() == 0
    theirs.send(record[300:])
    assert both.read() == b"x" * 1000 and both.ours.pending() == 0
    os.dup2(saved, both.ours.fileno())
    os.close(saved)
    ours.close(), theirs.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_behind_the_handshake_is_pending(ca: Authority, version: str) -> None:
    """It is in the segment with the client's last words, so the socket has nothing more."""
    both = Both(TlsContexts(Setup([ca.sign("sip.example.com")])), client_context(ca, version))
    for _ in range(50):
        try:
            both.theirs.do_handshake()
            break
        except ssl.SSLWantReadError:
            both.ours.handshake()
    both.theirs.send(b"REGISTER")
    while (outcome := both.ours.handshake()) == WANT_READ:
        pass
    assert outcome == DONE
    if version == "1.3":
        assert both.ours.pending() == 1
    assert both.read() == b"REGISTER" and both.ours.pending() == 0
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_megabyte_in_parts_from_a_buffer_that_moves(ca: Authority, version: str) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")]))
    both = Both(contexts, client_context(ca, version), buffer=20_000)
    assert both.shake() == DONE
    data = b"".join(struct.pack("!I", i) for i in range(1 << 18))
    sent, got, blocked = 0, bytearray(), 0
    while len(got) < len(data):
        while sent < len(data) and (n := both.ours.write(bytearray(data[sent : sent + 100_000]))) > 0:
            sent += n
        if sent < len(data):
            assert n == -WANT_WRITE
            blocked += 1
        while part := both.receive():
            got += part
    assert bytes(got) == data and blocked > 3
    both.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_megabyte_comes(ca: Authority, version: str) -> None:
    both = Both(TlsContexts(Setup([ca.sign("sip.example.com")])), client_context(ca, version), buffer=20_000)
    assert both.shake() == DONE
    data = b"".join(struct.pack("!I", i) for i in range(1 << 18))
    sent, got = 0, bytearray()
    while len(got) < len(data):
        with contextlib.suppress(ssl.SSLWantWriteError):
            sent += both.theirs.send(data[sent:]) if sent < len(data) else 0
        while isinstance(part := both.read(5000), bytes):
            assert part
            got += part
    assert bytes(got) == data
    both.close()


def test_who_waits_as_the_contract_says_misses_nothing(both: Both) -> None:
    """Records of all sizes, torn on the way, to one who reads what is pending and else waits for the socket."""
    rng, (near, far) = random.Random(1), pair()
    data = rng.randbytes(400_000)
    plain = socket.socket(fileno=os.dup(both.ours.fileno()))       # what the peer writes comes out here

    def send() -> None:
        at = end = 0
        while at < len(data):
            end = max(end, at + rng.choice((1, 20, 500, 3000, 16384, 40000)))
            try:
                at += both.theirs.send(data[at:end])
            except ssl.SSLWantWriteError:
                time.sleep(0.001)

    def tear() -> None:
        size = random.Random(2)
        while True:
            select.select([plain], [], [], 5)
            with contextlib.suppress(BlockingIOError):
                piece = plain.recv(size.choice((1, 5, 100, 700, 20000)))
                if not piece:
                    return
                while piece:
                    with contextlib.suppress(BlockingIOError):
                        piece = piece[far.send(piece) :]
                if size.random() < 0.05:
                    time.sleep(0.001)

    saved = os.dup(both.ours.fileno())
    os.dup2(near.fileno(), both.ours.fileno())
    threads = [threading.Thread(target=work, daemon=True) for work in (send, tear)]
    for thread in threads:
        thread.start()
    got, sizes = bytearray(), random.Random(3)
    while len(got) < len(data):
        if not both.ours.pending():
            assert select.select([both.ours.fileno()], [], [], 5)[0], (len(got), both.ours.pending())
        part = both.read(sizes.choice((1, 64, 4096, 65536)))
        assert part == -WANT_READ or isinstance(part, bytes)
        got += part if isinstance(part, bytes) else b""
    assert bytes(got) == data
    os.dup2(saved, both.ours.fileno())
    both.theirs.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(5)
    os.close(saved)
    for each in (near, far, plain):
        each.close()


def test_a_goodbye_is_read_behind_the_last_words(both: Both) -> None:
    both.theirs.send(b"BYE")
    with pytest.raises(ssl.SSLWantReadError):
        both.theirs.unwrap()                                      # close_notify went out
    assert both.read() == b"BYE" and both.ours.pending() == 1     # the goodbye was read with it
    assert both.read() == b"" and both.read() == b""
    assert both.ours.write(b"last") == 4                          # the other direction is open yet
    both.ours.shutdown()
    assert both.receive() == b"last"


def test_our_goodbye_is_heard(both: Both) -> None:
    assert both.ours.write(b"BYE") == 3
    both.ours.shutdown()
    both.ours.shutdown()
    assert both.receive() == b"BYE" and both.receive() == b""
    assert both.ours.write(b"more") == -FAILED and "shutdown" in both.ours.reason


def test_an_end_without_goodbye_is_an_end(both: Both) -> None:
    both.theirs.send(b"BYE")
    both.theirs.shutdown(socket.SHUT_RDWR)
    assert both.read() == b"BYE"
    assert both.read() == b"" and both.read() == b""


def test_a_reset_is_a_failure_and_no_signal_comes(ca: Authority) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for end in (client, server):
        end.setblocking(False)
    ours = contexts.accept(server.fileno())
    theirs = client_context(ca).wrap_socket(client, server_hostname="sip.example.com", do_handshake_on_connect=False)
    done = False
    while not done or ours.handshake() != DONE:
        try:
            theirs.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            ours.handshake()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    was = signal.signal(signal.SIGPIPE, signal.SIG_DFL)           # would end this process
    try:
        while (n := ours.write(b"x" * 1000)) > 0:
            pass
        assert n == -FAILED and ours.reason in ("Connection reset by peer", "Broken pipe")
        assert ours.write(b"x") == -FAILED and ours.read(10) == -FAILED
    finally:
        signal.signal(signal.SIGPIPE, was)
    ours.free()
    server.close()


# --- nonsense -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"OPTIONS sip:a SIP/2.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        bytes(100),
        b"\x16\x03\x01\xff\xff" + b"x" * 100,
        b"\r\n" * 3,
    ],
)
def test_garbage_for_a_hello_is_refused(ca: Authority, garbage: bytes) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")]))
    ours, theirs = pair()
    connection = contexts.accept(ours.fileno())
    theirs.send(garbage)
    assert connection.handshake() == FAILED
    assert connection.reason and connection.handshake() == FAILED
    connection.free()
    with pytest.raises(ValueError):
        connection.read(1)
    ours.close(), theirs.close()


def test_an_end_within_the_handshake_has_a_reason(ca: Authority) -> None:
    contexts = TlsContexts(Setup([ca.sign("sip.example.com")]))
    ours, theirs = pair()
    connection = contexts.accept(ours.fileno())
    theirs.send(b"\x16\x03\x01\x00\xff\x01")
    assert connection.handshake() == WANT_READ
    theirs.close()
    assert connection.handshake() == FAILED and connection.reason == "closed by the peer"
    connection.free()
    ours.close()


def test_garbage_within_a_connection_is_a_failure(both: Both) -> None:
    both.theirs.send(b"fine")
    raw = socket.socket(fileno=both.theirs.detach())
    raw.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert both.read() == b"fine" and both.ours.pending() == 1
    assert both.read() == -FAILED and both.ours.reason
    assert both.ours.write(b"x") == -FAILED
    raw.close()
