"""Values parsed when asked for: parameters, lists, Via, addresses, credentials, numbers, q, dates; and the writer."""

from __future__ import annotations

import calendar
import email.utils

import pytest
from messages import VALID, cut, text

from fastsip import _message
from fastsip._message import (
    _credentials,
    _date,
    _find_parameter,
    _name_addr,
    _number,
    _parameters,
    _qvalue,
    _values,
    _via,
)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"lr", [(b"lr", b"")]),
        (b"tag=abc;q=0.5", [(b"tag", b"abc"), (b"q", b"0.5")]),
        (b' a = b ; c\r\n ;d = "x;y\\"" ', [(b"a", b"b"), (b"c", b""), (b"d", b'"x;y\\""')]),
        (
            b'received=[2001:db8::1];+sip.instance="<urn:x>"',
            [(b"received", b"[2001:db8::1]"), (b"+sip.instance", b'"<urn:x>"')],
        ),
        (b"branch=abc==;i=a@b", [(b"branch", b"abc=="), (b"i", b"a@b")]),
        (b"x=", [(b"x", b"")]),
        (b"%6C%72;n%61me=v%61lue%25%34%31", [(b"%6C%72", b""), (b"n%61me", b"v%61lue%25%34%31")]),
        (b";", None),
        (b"a;", None),
        (b"a;;b", None),
        (b"=a", None),
        (b'a="open', None),
        (b"a b", None),
        (b"a=b c", None),
        (b"a=b,c", None),
    ],
)
def test_parameters(data: bytes, expected: list[tuple[bytes, bytes]] | None) -> None:
    found = _parameters(data)
    cuts = None if found is None else [(data[slice(*name)], data[slice(*value)]) for name, value in found]
    assert cuts == expected


def test_find_parameter() -> None:
    data = b"Expires=60;lr;q=0.5;expires=70"
    assert _find_parameter(data, b"expires") == (8, 10)
    start, end = _find_parameter(data, b"lr") or (0, 1)
    assert start == end != 0
    assert _find_parameter(data, b"expire") is None and _find_parameter(data, b"") is None


def values(name: str, header: bytes) -> list[bytes] | None:
    found = _values(VALID[name], header)
    return None if found is None else [VALID[name][slice(*value)] for value in found]


def test_values_over_lines_and_commas() -> None:
    assert values("ack_routes", b"route") == [
        b"<sip:p1.example.com;lr>",
        b'<sip:p2.example.com;lr;x="a,b">',
        b'"Comma, Inc." <sip:p3.example.com;lr>',
        b"<sip:p4.example.com;lr>",
    ]
    assert values("register", b"Contact") == [
        b"<sip:bob@192.0.2.4>;q=0.7;expires=3600",
        b'"Desk, upstairs" <sip:bob@192.0.2.5:5070>;q=1.0',
    ]
    assert [value.replace(b" ", b"")[:7] for value in values("folded", b"v") or []] == [
        b"SIP/2.0",
        b"SIP/2.0",
        b"SIP/2.0",
    ]
    assert values("compact", b"Supported") == [b"path", b"gruu"]
    assert values("register", b"Route") == [] and values("register", b"X-Unknown") == []
    assert values("folded", b"Subject") == []


@pytest.mark.parametrize("value", [b",", b"<sip:a>,", b"<sip:a>,,<sip:b>", b"<sip:a", b'"open <sip:a>', b", <sip:a>"])
def test_malformed_lists(value: bytes) -> None:
    data = VALID["cancel"].replace(b"Reason:", b"Route: " + value + b"\r\nReason:")
    found = _values(data, b"Route")
    assert found is None or any(not _name_addr(data[slice(*one)]) for one in found)
    assert _values(VALID["cancel"].replace(b"Reason:", b"Route:\r\nReason:"), b"Route") == []


def test_via() -> None:
    data = (
        b"SIP / 2.0 / UDP first.example.com: 4000;ttl=16 ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1 , SIP/2.0/TCP h"
    )
    via = _via(data)
    assert via is not None
    assert (cut(data, via["host"]), via["port"], via["transport"], via["ttl"]) == (b"first.example.com", 4000, 1, 16)
    assert (cut(data, via["maddr"]), cut(data, via["branch"])) == (b"224.2.0.1", b"z9hG4bKa7c6a8dlze.1")
    assert cut(data, via["next"]) == b"SIP/2.0/TCP h"
    assert cut(data, via["whole"]) == data[: data.index(b" , ")]
    hidden = VALID["via_2543"].split(b"\r\n")[1].partition(b": ")[2]
    via = _via(hidden)
    assert via is not None and cut(hidden, via["branch"]) == b"a7c6a8dlze"
    assert cut(hidden, via["whole"]) == hidden[: hidden.index(b" (")]


@pytest.mark.parametrize(
    ("name", "number"), [(b"udp", 1), (b"TCP", 2), (b"Tls", 3), (b"SCTP", 4), (b"WS", 5), (b"wss", 6), (b"x", 0)]
)
def test_transports(name: bytes, number: int) -> None:
    via = _via(b"SIP/2.0/" + name + b" h")
    assert via is not None and via["transport"] == number


@pytest.mark.parametrize(
    ("data", "display", "uri", "parameters", "star"),
    [
        (b"<sip:a@b>", None, b"sip:a@b", None, 0),
        (b"sip:a@b", None, b"sip:a@b", None, 0),
        (b"sip:a@b;tag=1", None, b"sip:a@b", b"tag=1", 0),
        (b" sip:a@b ; tag = 1 ", None, b"sip:a@b", b" tag = 1", 0),
        (b"Bob <sip:a@b;x=1>;y=2", b"Bob", b"sip:a@b;x=1", b"y=2", 0),
        (b"Bob<sip:a@b>", b"Bob", b"sip:a@b", None, 0),
        (b'"Bob \\" <x>, y" <sip:a@b?h=1,2>', b'"Bob \\" <x>, y"', b"sip:a@b?h=1,2", None, 0),
        (b'""<sip:a@b>', b'""', b"sip:a@b", None, 0),
        ("Bjørn Å <sip:a@b>".encode(), "Bjørn Å".encode(), b"sip:a@b", None, 0),
        (b"*", None, None, None, 1),
        (b"* ;x=y", None, None, b"x=y", 1),
        (b"* <sip:a@b>", b"*", b"sip:a@b", None, 0),
        (b"<tel:+1;ext=2>;a", None, b"tel:+1;ext=2", b"a", 0),
    ],
)
def test_name_addr(data: bytes, display: bytes | None, uri: bytes | None, parameters: bytes | None, star: int) -> None:
    found = _name_addr(data)
    assert found is not None
    assert [cut(data, found[key]) for key in ("display", "uri", "parameters", "next")] == [
        display,
        uri,
        parameters,
        None,
    ]
    assert found["star"] == star and cut(data, found["whole"]) == data.strip()
    assert found["bracketed"] == (b"<" in data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"<>",
        b"<sip:>",
        b"<a@b>",
        b"a@b",
        b"<sip:a@b",
        b"sip:a@b>",
        b"sip:a@b?x=y",
        b"Bob sip:a@b",
        b"<sip:a @b>",
        b'"Bob <sip:a@b>',
        b'"Bob" x <sip:a@b>',
        b"<sip:a@b>x",
        b"<sip:a@b>;",
        b"<sip:a@b>,",
        b"**",
        b"*x",
        b"B(b)<sip:a@b>",
    ],
)
def test_malformed_name_addr(data: bytes) -> None:
    assert _name_addr(data) is None


DIGEST = (
    b'Digest username="bob", realm="example.com",\r\n nonce="84a4", uri="sip:example.com", response="00ff",'
    b' algorithm=SHA-256, cnonce="0a4f", opaque="", qop=auth, nc=00000001, x="y, z"'
)


def test_credentials() -> None:
    found = _credentials(DIGEST)
    assert found is not None and found.pop("digest") == 1
    assert {key: text(DIGEST, value) for key, value in found.items()} == {
        "username": b"bob",
        "realm": b"example.com",
        "nonce": b"84a4",
        "uri": b"sip:example.com",
        "response": b"00ff",
        "algorithm": b"SHA-256",
        "cnonce": b"0a4f",
        "opaque": b"",
        "qop": b"auth",
        "nc": b"00000001",
    }
    assert found["opaque"]["end"] != 0


def test_credentials_in_other_shapes() -> None:
    loose = b'dIGEST  Username = "a\\"b" ,QOP="auth",response=x'
    found = _credentials(loose)
    assert found is not None and found["digest"]
    assert (cut(loose, found["username"]), cut(loose, found["qop"])) == (b'a\\"b', b"auth")
    assert cut(loose, found["realm"]) is None
    other = _credentials(b"Bearer abc.def")
    assert other is not None and not other["digest"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Digest",
        b"Digest ",
        b"Digest,",
        b"Digest username",
        b"Digest username=",
        b'Digest username="a',
        b"Digest a=b,",
        b'Digest username="a" realm="b"',
        b'Digest username="a",,realm="b"',
        b'Digest username="a", username="b"',
        b"Digest nc=1, NC=2",
        b'"Digest" a=b',
        b"Digest=a",
    ],
)
def test_malformed_credentials(data: bytes) -> None:
    assert _credentials(data) is None


@pytest.mark.parametrize(
    ("data", "number"),
    [(b"0", 0), (b"0070", 70), (b"4294967295", 4294967295), (b"4294967296", 4294967295), (b"9" * 400, 4294967295)]
    + [(bad, -1) for bad in (b"", b"-1", b"+1", b"1.0", b" 1", b"1 ", b"0x10", b"\xb2")],
)
def test_number(data: bytes, number: int) -> None:
    assert _number(data) == number


@pytest.mark.parametrize(
    ("data", "thousandths"),
    [
        (b"0", 0),
        (b"1", 1000),
        (b"0.", 0),
        (b"1.", 1000),
        (b"0.5", 500),
        (b"0.75", 750),
        (b"0.123", 123),
        (b"1.000", 1000),
    ]
    + [(bad, -1) for bad in (b"", b".5", b"2", b"1.001", b"0.1234", b"0.5x", b"-0.5", b"00.5", b"1.0000")],
)
def test_qvalue(data: bytes, thousandths: int) -> None:
    assert _qvalue(data) == thousandths


@pytest.mark.parametrize(
    "moment", [0, 86399, 951782400, 951868799, 1289690940, 4107542399, 1709164800, 4102444800, 253402300799]
)
def test_dates(moment: int) -> None:
    assert _date(email.utils.formatdate(moment, usegmt=True).encode()) == moment


def test_date_forms() -> None:
    moment = calendar.timegm((2010, 11, 3, 23, 29, 0))
    for data in (
        b"Wed, 03 Nov 2010 23:29:00 GMT",
        b"Wed, 3 Nov 2010 23:29:00 GMT",
        b"wed, 03 nov 2010 23:29:00 utc",
        b"Wednesday, 03-Nov-10 23:29:00 GMT",
        b"Wed Nov  3 23:29:00 2010",
        b" Wed, 03 Nov 2010 23:29:00 GMT ",
    ):
        assert _date(data) == moment, data
    assert _date(b"Sunday, 06-Nov-94 08:49:37 GMT") == 784111777


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"7200",
        b"Wed",
        b"Wed,",
        b"Wed, 03",
        b"Wed, 03 Nov",
        b"Wed, 03 Nov 2010",
        b"Wed, 03 Nov 2010 23:29:00",
        b"Fri, 01 Jan 2010 16:00:00 EST",
        b"Wed, 31 Nov 2010 23:29:00 GMT",
        b"Wed, 29 Feb 2011 00:00:00 GMT",
        b"Wed, 03 Nix 2010 23:29:00 GMT",
        b"Wed, 03 Nov 2010 24:00:00 GMT",
        b"Wed, 03 Nov 2010 23:60:00 GMT",
        b"Wed, 03 Nov 10 23:29:00 GMT",
        b"Wed, 00 Nov 2010 23:29:00 GMT",
        b"Wed, 03 Nov 1969 23:29:00 GMT",
        b"Wed, 03 Nov 2010 23:29:0x GMT",
        b"Wed Nov  3 23:29:00 2010x",
        b"Wed Nov  3 23:29:00 10",
    ],
)
def test_malformed_dates(data: bytes) -> None:
    assert _date(data) == -1


def test_writer() -> None:
    written, overflow = _message._write(
        100, [b"Via: ", 0, b" ", 18446744073709551615, b" ", (0xDEADBEEF, 8), (0xA, 3), b""]
    )
    assert (written, overflow) == (b"Via: 0 18446744073709551615 deadbeef00a", False)


def test_writer_stops_at_its_end() -> None:
    assert _message._write(4, [b"abcd"]) == (b"abcd", False)
    assert _message._write(4, [b"abcde"]) == (b"", True)
    # What would fit behind something that did not is left out as well.
    assert _message._write(4, [b"ab", b"cde", b"f", 1, (1, 1)]) == (b"ab", True)
    assert _message._write(0, [b""]) == (b"", False)
