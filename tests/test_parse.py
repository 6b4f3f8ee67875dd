"""fastsip.parse and its Message, the Python face of the parser."""

from __future__ import annotations

import pickle

import pytest
from messages import INVALID, VALID

import fastsip
from fastsip import Message, ParseError, Uri, parse

INVITE = VALID["invite_1400"]


def test_request() -> None:
    message = parse(INVITE)
    assert isinstance(message, Message) and message.is_request
    assert (message.method, message.uri) == (
        "INVITE",
        "sip:+19725550123@gw1.carrier.example.net:5060;user=phone;transport=udp",
    )
    assert (message.status, message.reason) == (None, None)
    assert message.call_id == "3848276298220188511@pc33.atlanta.example.com-7f3a"
    assert (message.cseq, message.from_tag, message.to_tag, message.max_forwards) == (314159, "9fxced76sl", None, 68)
    assert message.via == "SIP/2.0/UDP 198.51.100.17:5060;branch=z9hG4bKnashds8a7c1e5520fd0b2;rport"
    assert message.branch == "z9hG4bKnashds8a7c1e5520fd0b2"
    assert bytes(message.body).startswith(b"v=0\r\n") and len(message.body) == message.content_length == 240
    assert bytes(message) == INVITE and len(message) == len(INVITE)
    assert repr(message) == f"<Message INVITE {message.uri}>"


def test_response() -> None:
    message = parse(VALID["ringing"])
    assert (message.is_request, message.method, message.uri) == (False, "INVITE", None)
    assert (message.status, message.reason, message.to_tag) == (180, "Ringing", "a6c85cf")
    assert message.max_forwards is None and message.body == b""
    assert repr(message) == "<Message 180 Ringing to INVITE>"


@pytest.mark.parametrize("name", ["Subject", "subject", "SUBJECT", "s", "S"])
def test_names_match_in_any_case_and_form(name: str) -> None:
    headers = parse(VALID["compact"]).headers
    assert headers[name] == headers.get(name) == "Ünïcode is fine"
    assert name in headers and headers.lines_of(name) == [headers[name]]


def test_lookup_of_unknown_and_missing_headers() -> None:
    headers = parse(VALID["folded"]).headers
    assert headers["NEWFANGLEDHEADER"] == "newfangled value continued newfangled value"
    assert headers["unknownheaderwithunusualvalue"] == ";;,,;;,;"
    assert headers.get("X-Missing") is None and headers.get("X-Missing", "none") == "none"
    assert "X-Missing" not in headers and 7 not in headers
    assert headers.lines_of("X-Missing") == headers.values("X-Missing") == []
    with pytest.raises(KeyError):
        headers["X-Missing"]


def test_iteration_keeps_order_and_spelling() -> None:
    headers = parse(VALID["cancel"]).headers
    assert [name for name, _ in headers] == [
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Reason",
        "Content-Length",
    ]
    assert dict(headers)["CSeq"] == "1 CANCEL" and len(headers) == 8
    assert "Reason" in repr(headers)


def test_comma_separated_values() -> None:
    assert parse(VALID["ack_routes"]).headers.values("Route") == [
        "<sip:p1.example.com;lr>",
        '<sip:p2.example.com;lr;x="a,b">',
        '"Comma, Inc." <sip:p3.example.com;lr>',
        "<sip:p4.example.com;lr>",
    ]
    folded = parse(VALID["folded"]).headers.values("Via")[2]
    assert folded == "SIP  /    2.0   / UDP  192.168.255.111   ; branch= z9hG4bK30239"
    with pytest.raises(ParseError, match="does not close"):
        parse(VALID["cancel"].replace(b"Reason:", b'Route: "open\r\nReason:')).headers.values("Route")


def test_text_that_is_no_utf8_comes_back_as_it_was() -> None:
    data = VALID["cancel"].replace(b"Reason:", b"Subject: \xff\xfe\r\nReason:")
    subject = parse(data).headers["Subject"]
    assert subject.encode("utf-8", "surrogateescape") == b"\xff\xfe"


def test_bytes_are_held_and_others_copied() -> None:
    assert parse(INVITE).buffer is INVITE
    changing = bytearray(INVITE)
    message = parse(changing)
    changing[:6] = b"XXXXXX"
    assert message.method == "INVITE"
    assert parse(memoryview(INVITE)).call_id == message.call_id


def test_what_stands_around_the_message() -> None:
    message = parse(VALID["leading_crlf"])
    assert message.method == "CANCEL" and bytes(message) == VALID["cancel"]
    assert bytes(parse(VALID["bytes_behind_body"])) == VALID["cancel"]


@pytest.mark.parametrize(
    ("data", "status", "header", "text"),
    [
        (INVALID["cseq_method_differs"], 400, "CSeq", "CSeq method is not the request's"),
        (INVALID["version_7"], 505, "", "does not end with SIP/2.0"),
        (INVALID["content_length_short_body"], 400, "Content-Length", "body shorter than Content-Length"),
        (b"", 400, "", "ends before its header section"),
        (INVITE[:200], 400, "", "ends before its header section"),
        (b"\x80" * 300 + b"\r\nX: y\r\n\r\n", 400, "", "method"),
        (INVITE + b"\0" * 65507, None, "", ""),
        (b"x" * 20_000_000, 513, "", "65507"),
        (b"OPTIONS sip:a SIP/2.0\r\nX: " + b"y" * 70000, 513, "", "65507"),
    ],
)
def test_errors(data: bytes, status: int | None, header: str, text: str) -> None:
    if status is None:
        assert parse(data).method == "INVITE"
        return
    with pytest.raises(ParseError, match=text) as raised:
        parse(data)
    error = raised.value
    assert (error.status, error.header) == (status, header)
    assert 0 <= error.offset <= len(data)
    assert f"offset {error.offset}" in str(error) and error.reason in str(error)
    assert isinstance(error, (fastsip.SipError, ValueError))


def test_error_offset_counts_from_the_buffer() -> None:
    data = INVALID["cseq_method_differs"]
    with pytest.raises(ParseError) as plain:
        parse(data)
    with pytest.raises(ParseError) as shifted:
        parse(b"\r\n\r\n" + data)
    assert data[plain.value.offset :].startswith(b"INVITE\r\n") and shifted.value.offset == plain.value.offset + 4


def test_misuse() -> None:
    with pytest.raises(TypeError):
        parse("text")  # type: ignore[arg-type]
    for kind in (Message, type(parse(INVITE).headers), type(parse(INVITE).via), type(parse(INVITE).to)):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            kind.__new__(kind)
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(parse(INVITE))
    with pytest.raises(AttributeError):
        _ = fastsip.nothing  # type: ignore[attr-defined]


def test_uri() -> None:
    uri = parse(INVITE).uri
    assert uri is not None and isinstance(uri, Uri)
    assert (uri.scheme, uri.user, uri.host, uri.port) == ("sip", "+19725550123", "gw1.carrier.example.net", 5060)
    assert (uri.password, uri.headers, uri.aor) == (None, "", "+19725550123@gw1.carrier.example.net")
    assert dict(uri.parameters) == {"user": "phone", "transport": "udp"} and len(uri.parameters) == 2
    assert uri.parameters["TRANSPORT"] == "udp" and "lr" not in uri.parameters and uri.parameters.get("lr") is None
    with pytest.raises(KeyError):
        uri.parameters["lr"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("sip:bob%40home:s%20t@[2001:db8::1]:5070?subject=x", ("sip", "bob@home", "s t", "2001:db8::1", 5070)),
        ("SIPS:example.com", ("sips", None, None, "example.com", None)),
        ("tel:+1-201-555-0123;phone-context=x", ("tel", "+1-201-555-0123", None, None, None)),
        ("urn:service:sos", ("urn", None, None, None, None)),
    ],
)
def test_uris_of_their_own(text: str, values: tuple[object, ...]) -> None:
    for given in (text, text.encode(), bytearray(text.encode())):
        uri = Uri(given)
        assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == values and str(uri) == text
        assert uri == text and uri == Uri(text) and hash(uri) == hash(text) and repr(uri) == f"Uri({text!r})"


def test_uris_compare_by_text_and_by_the_rfc() -> None:
    one, other = Uri("sip:alice@AtLanTa.CoM;Transport=udp"), Uri("sip:alice@atlanta.com;transport=UDP")
    assert one != other and one.equivalent(other) and not one.equivalent(Uri("sip:bob@atlanta.com"))
    assert one != 7
    for wrong in ("", "sip:", "bob", "sip:bob@", "sip:a b@c"):
        with pytest.raises(ParseError, match="not a URI"):
            Uri(wrong)
    with pytest.raises(TypeError):
        Uri(None)  # type: ignore[arg-type]


def test_addresses() -> None:
    message = parse(INVITE)
    assert (message.from_.tag, message.to.tag) == ("9fxced76sl", None)
    assert message.from_.display_name == "Alice Example (Sales)"
    (contact,) = message.contacts
    assert contact.uri == "sip:alice@192.0.2.101:5062;transport=udp;ob" and contact.display_name == "Alice"
    assert contact.parameters["+sip.instance"] == "<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"
    assert (contact.expires, contact.q) == (None, None) and contact == str(contact)
    lines = b'Route: <sip:p1.example.com;lr> , "Comma, Inc." <sip:p2.example.com;lr>\r\nRoute: <sip:p3;lr>\r\nReason:'
    routes = parse(VALID["cancel"].replace(b"Reason:", lines)).routes
    assert [route.uri for route in routes] == ["sip:p1.example.com;lr", "sip:p2.example.com;lr", "sip:p3;lr"]
    assert [route.display_name for route in routes] == [None, "Comma, Inc.", None]
    (star,) = parse(VALID["register_star"]).contacts
    assert star.uri is None and str(star) == "*" and parse(VALID["register_star"]).expires == 0


def test_contact_values() -> None:
    line = b'Contact: "A \\"B\\" C" <sip:a@b>;q=0.7;expires=60, <sip:c@d>;q=7;expires=soon\r\nReason:'
    one, other = parse(VALID["cancel"].replace(b"Reason:", line)).contacts
    assert (one.display_name, one.q, one.expires) == ('A "B" C', 0.7, 60)
    assert (other.display_name, other.q, other.expires) == (None, None, None)
    broken = parse(VALID["cancel"].replace(b"Reason:", b"Contact: nothing\r\nReason:"))
    with pytest.raises(ParseError, match="not an address") as raised:
        _ = broken.contacts
    error = raised.value
    assert (error.header, error.status) == ("Contact", 400)
    assert bytes(broken)[error.offset :].startswith(b"nothing")
    with pytest.raises(ParseError, match="not an address"):
        broken.headers.addresses("m")


def test_vias() -> None:
    top, below = parse(INVITE).vias
    assert top == parse(INVITE).via and (top.transport, top.host, top.port, top.rport) == (
        "UDP",
        "198.51.100.17",
        5060,
        0,
    )
    assert (below.received, below.rport, below.branch) == ("203.0.113.40", 31022, "z9hG4bK74bf9c2d1e")
    assert dict(below.parameters)["received"] == "203.0.113.40" and top.received is None
    folded = parse(VALID["folded"]).vias
    assert [via.transport for via in folded] == ["UDP", "TCP", "UDP"] and folded[2].branch == "z9hG4bK30239"
    with pytest.raises(ParseError, match="below the topmost"):
        _ = parse(INVITE.replace(b"Via: SIP/2.0/UDP 192.0.2.101:5062", b"Via: SIP/2.0/UDP 192.0.2.101:99999")).vias


def test_commas_and_brackets_in_comments_of_vias() -> None:
    """RFC 2543 6.47 had comments."""
    odd = b"Via: SIP/2.0/UDP a;branch=1 (o, <t, (3) \\) \"), SIP/2.0/UDP b;branch=2 (x)\r\nv: SIP/2.0/UDP c\r\n"
    head, _, rest = INVITE.partition(b"\r\n")
    lines = [line for line in rest.split(b"\r\n") if not line.startswith(b"Via:")]
    vias = parse(head + b"\r\n" + odd + b"\r\n".join(lines)).vias
    assert [(via.host, via.branch) for via in vias] == [("a", "1"), ("b", "2"), ("c", None)]


def test_views_outlive_their_message() -> None:
    for _ in range(100):  # the free lists hand out the same memory again
        message = parse(bytes(bytearray(INVITE)))
        views = [message.uri, message.via, message.from_, message.contacts[0].uri, message.headers, message.body]
        expected = [str(view) for view in views[:4]]
        del message
        parse(VALID["cancel"])
        assert [str(view) for view in views[:4]] == expected and bytes(views[5][:3]) == b"v=0"  # type: ignore[index]


def test_read_only_buffers_are_held() -> None:
    whole = b"xx" + INVITE
    message = parse(memoryview(whole)[2:])
    assert isinstance(message.buffer, memoryview) and message.buffer.obj is whole
    assert bytes(message) == INVITE and message.body.obj is whole
    scattered = bytes(byte for each in INVITE for byte in (each, 0))
    assert bytes(parse(memoryview(scattered)[::2])) == INVITE


def test_a_message_whose_uri_is_none_can_be_looked_at() -> None:
    lines = ["Via: SIP/2.0/UDP a;branch=z9hG4bK1", "From: <sip:a@b>;tag=1", "To: <sip:b@c>", "Call-ID: 1"]
    lines = ["OPTIONS sip:bob!example.com SIP/2.0", *lines, "CSeq: 1 OPTIONS", "", ""]
    message = parse("\r\n".join(lines).encode())
    assert repr(message) == "<Message OPTIONS sip:bob!example.com>"
    with pytest.raises(ParseError):
        _ = message.uri
