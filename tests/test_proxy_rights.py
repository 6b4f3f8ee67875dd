"""Who may be relayed where, and what is refused.

1. RFC 3261 16.3: 400, 416, 483, 482 by loop hash (a spiral passes), 420, 505, 404 and 480, 405.
2. 16.4: our Route value is taken out; a strict router before us; a strict router after us (16.6 step 6).
3. No open relay: an address outside the domains needs trust, authentication or the token of a dialog. Forged To
   tags and preloaded Routes give nothing (403).
4. 22.3: 407 for local users and for whoever wants more than to call one; credentials for our realm leave, others stay;
   From must be the authenticated user (403).
"""

import hashlib
import re

import pytest
from engine import Phone, ack, engine, header, headers, reply, request


@pytest.fixture
def server():
    with engine() as made:
        yield made


def digest(
    message, challenge, method, uri, user="alice", password="secret", algorithm="MD5", nc=1, name="Proxy-Authorization"
):
    """The header that answers a challenge."""
    line = next(c for c in headers(message, challenge) if f"algorithm={algorithm}" in c)
    realm, nonce = re.search(r'realm="(.*?)"', line)[1], re.search(r'nonce="(.*?)"', line)[1]
    h = lambda text: hashlib.new("md5" if algorithm == "MD5" else "sha256", text.encode()).hexdigest()  # noqa: E731
    count = f"{nc:08x}"
    response = h(f"{h(f'{user}:{realm}:{password}')}:{nonce}:{count}:c0ffee:auth:{h(f'{method}:{uri}')}")
    return (
        f'{name}: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}", '
        f'algorithm={algorithm}, cnonce="c0ffee", qop=auth, nc={count}'
    )


def confirm(server, alice, bob, **extra):
    alice.send(request("INVITE", "sip:bob@example.com", alice, f"Contact: <sip:alice@{alice.name}>", **extra))
    bob.send(reply(bob.expect("INVITE"), "200 OK", f"Contact: <sip:bob@{bob.name}>"))
    return alice.expect("SIP/2.0 200")


@pytest.mark.parametrize(
    ("uri", "extra", "options", "status"),
    [
        ("sip:nobody@example.com", (), {}, 404),
        ("tel:+15551234", (), {}, 416),
        ("weird:thing", (), {}, 416),
        ("sips:bob@example.com", (), {}, 416),
        ("sip:bob@example.com", (), {"max_forwards": 0}, 483),
        ("sip:bob@example.com", ("Proxy-Require: foo, bar",), {}, 420),
        ("sip:example.com", (), {}, 405),
        ("sip:bob@elsewhere.invalid", (), {}, 403),
        ("sip:bob@192.0.2.1", (), {}, 403),
        ("sip:bob@example.com", ("Route: <sip:192.0.2.1;lr>",), {}, 403),
        ("sip:bob@example.com", ("Route: <sip:192.0.2.1;lr>",), {"to_tag": "forged"}, 403),
        ("sip:bob@192.0.2.1", (), {"to_tag": "forged"}, 403),
    ],
)
def test_refused(server, uri, extra, options, status):
    bob = server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    for method in ("INVITE", "MESSAGE"):
        alice = server.phone()
        text = request(method, uri, alice, *extra, **options)
        alice.send(text)
        got = alice.expect(f"SIP/2.0 {status}")
        if status == 420:
            assert header(got, "Unsupported") == "foo, bar"
        if method == "INVITE":
            alice.send(ack(text, got))
    assert bob.silent(), "something went on"


def test_unregistered_user_is_480_and_unknown_404(server):
    alice = server.phone()
    server.user("carol", "x")
    alice.send(request("MESSAGE", "sip:carol@example.com", alice))
    alice.expect("SIP/2.0 480")
    alice.send(request("MESSAGE", "sip:dave@example.com", alice))
    alice.expect("SIP/2.0 404")


def test_options_for_the_server_itself(server):
    alice = server.phone()
    for uri in (f"sip:{server.name}", "sip:example.com"):
        alice.send(request("OPTIONS", uri, alice, max_forwards=0))
        assert "REGISTER" in header(alice.expect("SIP/2.0 200"), "Allow")


def test_wrong_version_is_505(server):
    alice = server.phone()
    alice.send(request("OPTIONS", f"sip:{server.name}", alice).replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"))
    alice.expect("SIP/2.0 505")


def test_loop_is_482_and_a_spiral_passes():
    with engine(open_relay=True) as server:
        alice = server.phone()
        # A binding that names the server itself: the request comes back with the same Request-URI, again and again.
        server.register("loop@example.com", f"sip:loop@example.com;maddr={server.address[0]}:{server.port}")
        server.register("echo@example.com", f"sip:loop2@{server.name}")
        server.register("loop2@example.com", f"sip:echo@{server.name}")
        alice.send(request("MESSAGE", "sip:echo@example.com", alice))
        alice.expect("SIP/2.0 482")
        assert server.counters()["loops"] == 1
        bob = server.phone()
        server.register("front@example.com", f"sip:bob@{server.name}")
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:front@example.com", alice))
        got = bob.expect("MESSAGE")
        assert len(headers(got, "Via")) == 3
        bob.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_token_opens_its_dialog_and_nothing_else(server):
    alice, bob, mallory = server.phone(), server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    ok = confirm(server, alice, bob, call_id="dialog@x")
    route, tag = header(ok, "Record-Route"), "b1"
    target = f"sip:carol@{mallory.name}"
    forged = re.sub(r"rt=[0-9a-f]{24}", "rt=0123456789abcdef01234567", route)
    for extra, options in (
        ((f"Route: {route}",), {"call_id": "other@x", "to_tag": tag}),
        ((f"Route: {route}",), {"call_id": "dialog@x"}),
        ((f"Route: {forged}",), {"call_id": "dialog@x", "to_tag": tag}),
        ((f"Route: {route}",), {"call_id": "dialog@x", "to_tag": tag, "from_tag": "guess"}),
        ((f"Route: <sip:{server.name};lr>",), {"call_id": "dialog@x", "to_tag": tag}),
    ):
        alice.send(request("MESSAGE", target, alice, *extra, cseq=5, **options))
        alice.expect("SIP/2.0 403")
    assert server.counters()["relay_denied"] == 5
    alice.send(request("BYE", f"sip:bob@{bob.name}", alice, f"Route: {route}", call_id="dialog@x", to_tag=tag, cseq=9))
    bob.send(reply(bob.expect("BYE"), "200 OK"))
    alice.expect("SIP/2.0 200")


def refused(server, phone, target, route, status=403, **options):
    denied = server.counters()["relay_denied"]
    phone.send(request("INVITE", target, phone, f"Route: {route}", call_id="dialog@x", cseq=5, **options))
    phone.expect(f"SIP/2.0 {status}")
    assert server.counters()["relay_denied"] == denied + (status == 403)


def passes(phone, to, target, route, **options):
    phone.send(request("INFO", target, phone, f"Route: {route}", call_id="dialog@x", cseq=6, **options))
    to.send(reply(to.expect("INFO"), "200 OK"))
    phone.expect("SIP/2.0 200")


def test_token_of_a_stranger_leads_to_its_callee_only(server):
    stranger, bob, gateway = server.phone("127.0.0.2"), server.phone("127.0.0.3"), server.phone("127.0.0.4")
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    ok = confirm(server, stranger, bob, call_id="dialog@x", caller="sip:x@far.invalid")
    route = header(ok, "Record-Route")
    passes(stranger, bob, f"sip:bob@{bob.name}", route, to_tag="b1", caller="sip:x@far.invalid")
    for tags in ({"to_tag": "b1"}, {"to_tag": "invented"}, {"from_tag": "b1", "to_tag": "a1"}):
        refused(server, stranger, f"sip:+1900@{gateway.name}", route, caller="sip:x@far.invalid", **tags)
    back = {"from_tag": "b1", "to_tag": "a1"}
    passes(bob, stranger, f"sip:x@{stranger.name}", route, **back)
    refused(server, bob, f"sip:+1900@{gateway.name}", route, **back)
    assert gateway.silent()


def test_token_of_an_authenticated_caller_is_of_use_to_nobody_else(guarded):
    alice, far, gateway = guarded.phone("127.0.0.2"), guarded.phone("127.0.0.3"), guarded.phone("127.0.0.4")
    uri = f"sip:x@{far.name}"
    alice.send(request("INVITE", uri, alice, call_id="dialog@x"))
    line = digest(alice.expect("SIP/2.0 407"), "Proxy-Authenticate", "INVITE", uri)
    alice.send(request("INVITE", uri, alice, line, call_id="dialog@x", cseq=2))
    far.send(reply(far.expect("INVITE"), "200 OK", f"Contact: <sip:x@{far.name}>"))
    route = header(alice.expect("SIP/2.0 200"), "Record-Route")
    # The callee's Contact may be another host than the one that was called.
    passes(alice, gateway, f"sip:x@{gateway.name}", route, to_tag="b1")
    elsewhere = {"caller": "sip:x@far.invalid"}
    refused(guarded, far, f"sip:+1900@{gateway.name}", route, 407, to_tag="b1", **elsewhere)
    refused(guarded, far, f"sip:+1900@{gateway.name}", route, 407, from_tag="b1", to_tag="a1", **elsewhere)
    passes(far, alice, f"sip:alice@{alice.name}", route, from_tag="b1", to_tag="a1", **elsewhere)
    assert gateway.silent()


def test_trusted_neighbour_may_relay():
    with engine(trusted=["127.0.0.0/8"], required=["*"]) as server:
        alice, far = server.phone(), server.phone()
        alice.send(
            request(
                "MESSAGE", f"sip:x@{far.name}", alice, f"Route: <sip:{server.name};lr>", f"Route: <sip:{far.name};lr>"
            )
        )
        got = far.expect(f"MESSAGE sip:x@{far.name}")
        assert headers(got, "Route") == [f"<sip:{far.name};lr>"]
        far.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_strict_router_after_us():
    with engine(open_relay=True) as server:
        alice, strict = server.phone(), server.phone()
        alice.send(
            request(
                "MESSAGE",
                "sip:bob@far.invalid",
                alice,
                f"Route: <sip:{server.name};lr>, <sip:{strict.name}>, <sip:b.invalid;lr>",
            )
        )
        got = strict.expect("MESSAGE")
        assert got.startswith(f"MESSAGE sip:{strict.name} SIP/2.0\r\n")
        assert headers(got, "Route") == ["<sip:b.invalid;lr>", "<sip:bob@far.invalid>"]
        strict.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_strict_router_before_us(server):
    alice, bob = server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    ok = confirm(server, alice, bob, call_id="strict@x")
    own = re.search("<(.*)>", header(ok, "Record-Route"))[1]
    alice.send(request("BYE", own, alice, f"Route: <sip:bob@{bob.name};x=1>", call_id="strict@x", to_tag="b1", cseq=2))
    got = bob.expect("BYE")
    assert got.startswith(f"BYE sip:bob@{bob.name};x=1 SIP/2.0\r\n") and not headers(got, "Route")
    bob.send(reply(got, "200 OK"))
    alice.expect("SIP/2.0 200")


@pytest.fixture
def guarded():
    with engine(required=["*"]) as made:
        made.user("alice", "secret")
        made.user("bob", "hidden")
        yield made


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_local_user_is_asked_for_a_password(guarded, algorithm):
    alice, bob = guarded.phone(), guarded.phone()
    guarded.register("bob@example.com", f"sip:bob@{bob.name}")
    text = request("INVITE", "sip:bob@example.com", alice)
    alice.send(text)
    challenge = alice.expect("SIP/2.0 407")
    assert [re.search("algorithm=([^,]*)", c)[1] for c in headers(challenge, "Proxy-Authenticate")] == [
        "SHA-256",
        "MD5",
    ]
    alice.send(ack(text, challenge))
    assert bob.silent(), "the ACK of a 407 went on"
    own = digest(challenge, "Proxy-Authenticate", "INVITE", "sip:bob@example.com", algorithm=algorithm)
    other = (
        'Proxy-Authorization: Digest username="alice", realm="elsewhere.invalid", nonce="1", uri="sip:x", response="'
        + "0" * 32
        + '"'
    )
    text = request("INVITE", "sip:bob@example.com", alice, own, other, cseq=2, call_id=header(text, "Call-ID"))
    alice.send(text)
    got = bob.expect("INVITE")
    assert headers(got, "Proxy-Authorization") == [other.partition(": ")[2]]
    # The same request again is a retransmission: it meets its transaction before anyone looks at the nonce.
    bob.send(reply(got, "180 Ringing"))
    alice.expect("SIP/2.0 180")
    alice.send(text)
    alice.expect("SIP/2.0 180")
    assert bob.silent()
    bob.send(reply(got, "486 Busy"))
    bob.expect("ACK")
    alice.send(ack(text, alice.expect("SIP/2.0 486")))
    # Another request with the spent credentials is a replay.
    alice.send(request("INVITE", "sip:bob@example.com", alice, own, cseq=3))
    assert "stale=true" in header(alice.expect("SIP/2.0 407"), "Proxy-Authenticate")
    assert guarded.counters()["auth_replays"] == 1


@pytest.mark.parametrize("host, domain", [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")])
def test_credentials_for_an_address_leave_too(host, domain):
    with engine(host=host, domains=[], required=["*"]) as server:
        address = f"{domain}:{server.port}"
        server.user("alice", "secret", realm=domain)
        alice, bob = server.phone(domain.strip("[]")), server.phone(domain.strip("[]"))
        server.register(f"bob@{domain}", f"sip:bob@{bob.name}")
        uri, caller = f"sip:bob@{address}", f"sip:alice@{address}"
        alice.send(request("MESSAGE", uri, alice, caller=caller))
        line = digest(alice.expect("SIP/2.0 407"), "Proxy-Authenticate", "MESSAGE", uri)
        alice.send(request("MESSAGE", uri, alice, line, caller=caller, cseq=2))
        got = bob.expect("MESSAGE")
        assert headers(got, "Proxy-Authorization") == []
        bob.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_wrong_password_and_unknown_user(guarded):
    alice = guarded.phone()
    for user, password in (("alice", "wrong"), ("nobody", "secret")):
        caller = f"sip:{user}@example.com"
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, caller=caller))
        challenge = alice.expect("SIP/2.0 407")
        line = digest(challenge, "Proxy-Authenticate", "MESSAGE", "sip:bob@example.com", user, password)
        alice.send(request("MESSAGE", "sip:bob@example.com", alice, line, caller=caller, cseq=2))
        assert "stale" not in header(alice.expect("SIP/2.0 407"), "Proxy-Authenticate")
    assert guarded.counters()["auth_failures"] == 2


def test_user_must_own_from(guarded):
    alice = guarded.phone()
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, caller="sip:bob@example.com"))
    challenge = alice.expect("SIP/2.0 407")
    line = digest(challenge, "Proxy-Authenticate", "MESSAGE", "sip:bob@example.com", "alice", "secret")
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, line, caller="sip:bob@example.com", cseq=2))
    alice.expect("SIP/2.0 403")


def test_stranger_may_call_a_local_user_only(guarded):
    stranger, bob = guarded.phone(), guarded.phone()
    guarded.register("bob@example.com", f"sip:bob@{bob.name}")
    stranger.send(request("MESSAGE", "sip:bob@example.com", stranger, caller="sip:x@far.invalid"))
    bob.send(reply(bob.expect("MESSAGE"), "200 OK"))
    stranger.expect("SIP/2.0 200")
    stranger.send(request("MESSAGE", f"sip:x@{bob.name}", stranger, caller="sip:x@far.invalid"))
    stranger.expect("SIP/2.0 407")
    assert bob.silent()


def test_authenticated_user_may_relay(guarded):
    alice, far = guarded.phone(), guarded.phone()
    uri = f"sip:x@{far.name}"
    alice.send(request("MESSAGE", uri, alice))
    line = digest(alice.expect("SIP/2.0 407"), "Proxy-Authenticate", "MESSAGE", uri)
    alice.send(request("MESSAGE", uri, alice, line, cseq=2))
    far.send(reply(far.expect("MESSAGE"), "200 OK"))
    alice.expect("SIP/2.0 200")


def test_wildcard_listener_and_advertised_address():
    with engine(host="0.0.0.0", open_relay=True) as server:
        phone = Phone("127.0.0.7")
        phone.proxy = ("127.0.0.3", server.port)
        server.phones.append(phone)
        server.register("bob@example.com", f"sip:bob@{phone.name}")
        phone.socket.connect(phone.proxy)
        phone.socket.send(request("OPTIONS", f"sip:127.0.0.3:{server.port}", phone).encode())
        phone.expect("SIP/2.0 200")
        phone.socket.send(request("INVITE", "sip:bob@example.com", phone).encode())
        got = phone.expect("INVITE")
        assert headers(got, "Via")[0].startswith(f"SIP/2.0/UDP 127.0.0.3:{server.port};")
        assert header(got, "Record-Route").startswith(f"<sip:127.0.0.3:{server.port};lr")
        phone.socket.send(reply(got, "486 Busy").encode())
        phone.expect("ACK")
        busy = phone.expect("SIP/2.0 486")
        phone.socket.send(ack(got, busy).encode())
    with engine(advertise="192.0.2.77") as server:
        alice, bob = server.phone(), server.phone()
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("MESSAGE", "sip:bob@example.com", alice))
        got = bob.expect("MESSAGE")
        assert headers(got, "Via")[0].startswith(f"SIP/2.0/UDP 192.0.2.77:{server.port};")
        bob.send(reply(got, "200 OK"))
        alice.expect("SIP/2.0 200")


def test_ipv6():
    with engine(host="::1") as server:
        alice, bob = server.phone("::1"), server.phone("::1")
        server.register("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("INVITE", "sip:bob@example.com", alice))
        got = bob.expect("INVITE")
        assert headers(got, "Via")[0].startswith(f"SIP/2.0/UDP [::1]:{server.port};")
        bob.send(reply(got, "486 Busy"))
        bob.expect("ACK")
        alice.expect("SIP/2.0 486")


def test_message_that_outgrows_a_datagram_is_513(server):
    alice, bob = server.phone(), server.phone()
    server.register("bob@example.com", f"sip:bob@{bob.name}")
    alice.send(request("MESSAGE", "sip:bob@example.com", alice, body="x" * 65_230))
    alice.expect("SIP/2.0 513")


def test_garbage_is_counted_and_forgotten(server):
    alice = server.phone()
    for junk in (b"\x00" * 10, b"GET / HTTP/1.1\r\n\r\n", b"INVITE sip:x SIP/2.0\r\n\r\n", bytes(range(256)) * 200):
        alice.send(junk)
    alice.send(request("OPTIONS", f"sip:{server.name}", alice))
    alice.expect("SIP/2.0 200")
    assert server.counters()["dropped_malformed"] == 3
    assert server.counters()["keepalives"] == 1
