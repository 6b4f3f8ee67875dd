"""The ladder diagram: text in, text out."""

from __future__ import annotations

import pytest

from fastsip.demo.ladder import Step, draw, title, transcript

A, P, B = "Alice", "fastsip", "Bob"


def request(method: str) -> bytes:
    return f"{method} sip:bob@example.com SIP/2.0\r\nCall-ID: 1\r\n\r\n".encode()


def response(status: str) -> bytes:
    return f"SIP/2.0 {status}\r\nCall-ID: 1\r\n\r\n".encode()


CALL = [
    Step(7.0, A, P, request("INVITE")),
    Step(7.0004, P, A, response("100 Trying")),
    Step(7.0005, P, B, request("INVITE")),
    Step(7.001, B, P, response("180 Ringing")),
    Step(7.5, B, P, response("200 OK")),
]


def test_a_call():
    assert draw(CALL, (A, P, B)).split("\n") == [
        "  Alice           fastsip            Bob",
        "    |                |                |",
        "    | F1 INVITE      |                |       0.0 ms",
        "    |--------------->|                |",
        "    | F2 100 Trying  |                |       0.4 ms",
        "    |<---------------|                |",
        "    |                | F3 INVITE      |       0.5 ms",
        "    |                |--------------->|",
        "    |                | F4 180 Ringing |       1.0 ms",
        "    |                |<---------------|",
        "    :                :                :       0.5 s",
        "    |                |                |",
        "    |                | F5 200 OK      |     500.0 ms",
        "    |                |<---------------|",
        "    |                |                |",
    ]


def test_long_titles_fit_the_width():
    steps = [Step(0, P, A, response("407 Proxy Authentication Required")), Step(0, P, B, request("INVITE"))]
    for width in (60, 80, 100, 200):
        lines = draw(steps, (A, P, B), width).split("\n")
        assert max(map(len, lines)) <= width
        assert len({line.rfind("|") for line in lines[1:]}) == 1, "the lifelines are straight"
    assert "407 Proxy Authentication Required" in draw(steps, (A, P, B), 100)
    assert "F1 407 Proxy Auth..|" in draw(steps, (A, P, B), 60)


def test_nothing_to_draw():
    assert draw([], (A, P, B)).split("\n")[0].split() == [A, P, B]


def test_only_neighbours_talk():
    with pytest.raises(ValueError, match="F1 goes from Alice to Bob"):
        draw([Step(0, A, B, request("INVITE"))], (A, P, B))


def test_titles():
    assert title(request("REGISTER")) == "REGISTER"
    assert title(response("200 ")) == "200 "
    assert title(b"\xff\xfe") == "\ufffd\ufffd"


def test_the_messages():
    long = request("INVITE").replace(b"Call-ID: 1", b"Authorization: Digest " + b", ".join([b"name=value0"] * 8))
    assert transcript([Step(0, A, P, long), Step(0, P, A, response("200 OK"))], 60).split("\n") == [
        "F1 INVITE   Alice -> fastsip",
        "",
        "    INVITE sip:bob@example.com SIP/2.0",
        "    Authorization: Digest name=value0, name=value0,",
        "        name=value0, name=value0, name=value0, name=value0,",
        "        name=value0, name=value0",
        "",
        "F2 200 OK   fastsip -> Alice",
        "",
        "    SIP/2.0 200 OK",
        "    Call-ID: 1",
    ]


def test_the_messages_never_end_a_terminal():
    shown = transcript([Step(0, A, P, b"INVITE x SIP/2.0\r\nSubject: \x1b[2J" + b"\xff" * 300 + b"\r\n\r\n")], 60)
    assert "\x1b" not in shown
    assert max(map(len, shown.split("\n"))) <= 60
