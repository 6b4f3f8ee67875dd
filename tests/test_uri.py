"""URIs: parts (RFC 3261 19.1.1), comparison (19.1.4, with its examples), canonical address-of-record (10.3 step 5)."""

from __future__ import annotations

import random

import oracle
import pytest
from guard import Guard
from messages import cut

from fastsip import _message
from fastsip._message import _uri, canonical_aor, uri_equal

EQUAL = [
    (b"sip:%61lice@atlanta.com;transport=TCP", b"sip:alice@AtLanTa.CoM;Transport=tcp"),
    (b"sip:carol@chicago.com", b"sip:carol@chicago.com;newparam=5"),
    (b"sip:carol@chicago.com;newparam=5", b"sip:carol@chicago.com;security=on"),
    (
        b"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        b"sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        b"sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        b"sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    (b"SIP:bob@biloxi.com", b"sip:bob@biloxi.com"),
    (b"sip:bob@biloxi.com;lr", b"sip:bob@biloxi.com"),
    (b"sip:bob@biloxi.com;LR", b"sip:bob@biloxi.com;lr"),
    (b"sip:bob:pw@biloxi.com", b"sip:%62ob:%70w@biloxi.com"),
    (b"sip:bob@[2001:DB8::1]:5060", b"sip:bob@[2001:db8::1]:5060"),
    (b"sip:bob@biloxi.com:05060", b"sip:bob@biloxi.com:5060"),
    (b"sip:bob@biloxi.com;maddr=239.255.255.1;ttl=15", b"sip:bob@biloxi.com;ttl=15;maddr=239.255.255.1"),
    (b"sip:%2abob@biloxi.com", b"sip:*bob@biloxi.com"),
    (b"sip:b%26b@biloxi.com", b"sip:b%26b@biloxi.com"),
    (b"sip:a%3bb@biloxi.com", b"sip:a%3Bb@biloxi.com"),
    (b"sip:a@b?h=1&h=1&g=2", b"sip:a@b?g=2&H=1&h=1"),
    (b"tel:+1-972-555-0123", b"tel:+1(972)5550123"),
    (b"tel:7042;phone-context=example.com", b"TEL:70-42;Phone-Context=EXAMPLE.com"),
    (b"mailto:a@b", b"MAILTO:a@b"),
]
DIFFERENT = [
    (b"SIP:ALICE@AtLanTa.CoM;Transport=udp", b"sip:alice@AtLanTa.CoM;Transport=UDP"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:5060"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;transport=udp"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com:6000;transport=tcp"),
    (b"sip:carol@chicago.com", b"sip:carol@chicago.com?Subject=next%20meeting"),
    (b"sip:bob@phone21.boxesbybob.com", b"sip:bob@192.0.2.4"),
    (b"sip:bob@biloxi.com", b"sips:bob@biloxi.com"),
    (b"sip:carol@chicago.com;security=on", b"sip:carol@chicago.com;security=off"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;user=ip"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;ttl=1"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;method=INVITE"),
    (b"sip:bob@biloxi.com", b"sip:bob@biloxi.com;maddr=biloxi.com"),
    (b"sip:bob@biloxi.com", b"sip:biloxi.com"),
    (b"sip:bob@biloxi.com", b"sip:bob:@biloxi.com"),
    (b"sip:bob:pw@biloxi.com", b"sip:bob:PW@biloxi.com"),
    (b"sip:b%26b@biloxi.com", b"sip:b&b@biloxi.com"),
    (b"sip:a%40b@biloxi.com", b"sip:a@biloxi.com"),
    (b"sip:bob@biloxi.com;lr", b"sip:bob@biloxi.com;lr=on"),
    (b"sip:a@b?h=1&h=1&g=2", b"sip:a@b?h=1&g=2&g=2"),
    (b"sip:a@b;x=1;x=2", b"sip:a@b;x=1"),
    (b"tel:+19725550123", b"tel:19725550123"),
    (b"tel:7042;phone-context=example.com", b"tel:7042"),
    (b"tel:7042", b"sip:7042@example.com"),
    (b"mailto:a@b", b"mailto:A@b"),
    (b"http:a", b"https:a"),
    (b"no uri", b"no uri"),
    (b"", b""),
    (b"sip:", b"sip:"),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal(a: bytes, b: bytes) -> None:
    assert uri_equal(a, b) and uri_equal(b, a) and uri_equal(a, a) and uri_equal(b, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a: bytes, b: bytes) -> None:
    assert not uri_equal(a, b) and not uri_equal(b, a)


def test_comparison_ends_early_whatever_the_length() -> None:
    """Components are compared each with each; an attacker gets no square of thousands."""
    a = b"sip:a@b" + b"".join(b";p%d=1" % i for i in range(7000))
    b = b"sip:a@b" + b"".join(b";p%d=1" % i for i in reversed(range(7000)))
    assert uri_equal(a, a) and not uri_equal(a, b)
    few = [b"sip:a@b" + b"".join(b";p%d=1" % i for i in order) for order in (range(60), reversed(range(60)))]
    assert uri_equal(*few)
    assert not uri_equal(b"sip:a@b;x=" + b"y" * 70000, b"sip:a@b;x=" + b"y" * 70000)


@pytest.mark.parametrize(
    ("uri", "aor"),
    [
        (b"sip:bob@Example.COM", b"bob@example.com"),
        (b"sips:Bob:secret@example.com:5061;transport=tcp?Subject=x", b"Bob@example.com"),
        (b"sip:%62o%42@example.com", b"boB@example.com"),
        (b"sip:a%40b%3b@example.com", b"a%40b%3B@example.com"),
        (b"sip:a%2a%28@example.com", b"a*(@example.com"),
        (b"sip:*21#@example.com", b"*21%23@example.com"),
        (b"sip:*21%23@example.com", b"*21%23@example.com"),
        (b"sip:null-%00-null@example.com", b"null-%00-null@example.com"),
        (b"sip:Example.com:5070", b"example.com"),
        (b"sip:bob@[2001:DB8::1]", b"bob@[2001:db8::1]"),
        (b"tel:+1972", None),
        (b"http://example.com", None),
        (b"sip:@example.com", None),
        (b"bob@example.com", None),
        (b"", None),
    ],
)
def test_canonical_aor(uri: bytes, aor: bytes | None) -> None:
    assert canonical_aor(uri) == aor
    if aor is not None:
        for capacity in range(len(aor)):
            assert _message._canonical_aor(uri, capacity) == b""
        assert _message._canonical_aor(uri, len(aor)) == aor


def test_faces_take_any_buffer() -> None:
    assert uri_equal(bytearray(b"sip:a@b"), memoryview(b"sip:a@B"))
    assert canonical_aor(bytearray(b"sip:a@B")) == b"a@b"


def test_parts() -> None:
    data = b"sips:alice:pw@Example.com:5061;transport=TLS;lr;x=%41?Subject=a&b=c"
    found = _uri(data)
    assert found is not None
    parts = {key: cut(data, found[key]) for key in ("scheme_text", "user", "password", "host", "parameters", "headers")}
    assert parts == {
        "scheme_text": b"sips",
        "user": b"alice",
        "password": b"pw",
        "host": b"Example.com",
        "parameters": b"transport=TLS;lr;x=%41",
        "headers": b"Subject=a&b=c",
    }
    assert (found["port"], found["scheme"], found["transport"], found["lr"]) == (5061, 2, 3, 1)


MALFORMED = [
    b"",
    b"sip",
    b"sip:",
    b":a@b",
    b"1sip:a@b",
    b"sip:@b",
    b"sip:a@",
    b"sip:a@b@c",
    b"sip:a b@c",
    b"sip:a@b:",
    b"sip:a@b:0",
    b"sip:a@b:65536",
    b"sip:a@b:5x",
    b"sip:a@b;",
    b"sip:a@b;;lr",
    b"sip:a@b;=x",
    b"sip:a@b;lr;",
    b"sip:a@b?",
    b"sip:a%4@b",
    b"sip:a%zz@b",
    b"sip:a@b;x=%4",
    b"sip:a@b?x=%",
    b"sip:a@[::1",
    b"sip:a@::1",
    b"sip:a@b;x=y=z",
    b'sip:a@b;x="y"',
    b"sip:a<b@c",
    b"sip:a@b/c",
    b"tel:",
    b"tel:hello",
    b"tel:1;",
    b"sip:a:b:c@d",
    b"sip:\xc3\xa9@b",
    b"sip:a@b\r\n",
]


@pytest.mark.parametrize("uri", MALFORMED)
def test_malformed(uri: bytes) -> None:
    assert _uri(uri) is None and oracle.uri(uri) is None


PIECES = [
    b"%41",
    b"%",
    b":",
    b"@",
    b";",
    b"?",
    b"&",
    b"=",
    b"[::1]",
    b"lr",
    b"sip:",
    b"tel:",
    b"#",
    b'"',
    b" ",
    b"5060",
    b"/",
]


@pytest.mark.parametrize("seed", range(3))
def test_oracle_agrees(seed: int) -> None:
    generator, guard = random.Random(seed), Guard(4096)
    samples = [uri for pair in EQUAL + DIFFERENT for uri in pair]
    for _ in range(6000):
        data = generator.choice(samples)
        for _ in range(generator.choice((1, 1, 3))):
            at = generator.randrange(len(data) + 1)
            to = at + generator.choice((0, 0, 1, 4))
            data = data[:at] + generator.choice((*PIECES, bytes((generator.randrange(256),)))) + data[to:]
        found, opinion = _uri(guard.before_the_end(data)), oracle.uri(data)
        assert (found is None) == (opinion is None), data
        if found is not None and opinion is not None:
            assert {
                key: cut(data, found["scheme_text" if key == "scheme" else key]) for key in opinion if key != "port"
            } == {key: value for key, value in opinion.items() if key != "port"}, data
            assert found["port"] == int(opinion.get("port") or 0)
            assert uri_equal(data, data)
            canonical_aor(data)
