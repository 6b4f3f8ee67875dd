"""Whole messages.

1. Every sample and every prefix of it, against a page that cannot be read: no byte outside is touched.
2. A valid message parses whole, and each shorter prefix of it asks for more, as a stream and as a datagram (7.5, 18.3).
3. Its spans put together again give the bytes received.
4. An invalid one is refused with the status, header and place that corpus/expected.toml says (RFC 4475, 8.2, 16.3).
5. The quick scan for the Call-ID finds what the parser finds.
6. Limits: 256 header lines, 65,507 bytes, Content-Length.
"""

from __future__ import annotations

import tomllib

import pytest
from guard import Guard
from messages import CORPUS, DATAGRAM, INVALID, MALFORMED, NEED_MORE, SAMPLES, STREAM, VALID, cut

from fastsip import _message
from fastsip._message import _examine, _exercise, _exercise_value, _find_call_id

EXPECTED = tomllib.loads((CORPUS / "expected.toml").read_text())


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard()


@pytest.mark.parametrize("name", SAMPLES)
def test_no_prefix_is_read_over(guard: Guard, name: str) -> None:
    sample = SAMPLES[name]
    # Hundreds of lines alike need not be cut at each byte.
    step = 11 if name.startswith("header_lines") else 1
    for length in (*range(0, len(sample), step), len(sample)):
        _exercise(guard.before_the_end(sample[:length]))
    _exercise(guard.from_the_start(sample))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_suffix_is_read_over(guard: Guard, name: str) -> None:
    sample = SAMPLES[name]
    for begin in range(0, len(sample), 31 if name.startswith("header_lines") else 3):
        _exercise(guard.before_the_end(sample[begin:]))


VALUES = [line.partition(b":")[2].strip() for sample in VALID.values() for line in sample.split(b"\r\n")] + [
    b"Sat, 13 Nov 2010 23:29:00 GMT",
    b"Saturday, 13-Nov-10 23:29:00 GMT",
    b"Sat Nov 13 23:29:00 2010",
    b"0.333",
    b"sips:a%4:p%41@[::1]:5061;lr;transport=tls;x=%4?h=%4&i=%",
]


def test_no_value_is_read_over(guard: Guard) -> None:
    for value in sorted(set(VALUES)):
        for length in range(len(value) + 1):
            _exercise_value(guard.before_the_end(value[:length]))
        _exercise_value(guard.from_the_start(value))


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    found = _examine(VALID[name])
    assert found.get("error") is None
    surplus = b"INVITE sip:joe@example.com SIP/2.0\r\nt: nobody\r\n\r\n" if name == "bytes_behind_body" else b""
    assert found["result"] == len(VALID[name]) - len(surplus)


@pytest.mark.parametrize("name", VALID)
def test_prefix_of_valid_asks_for_more(name: str) -> None:
    whole = _examine(VALID[name])
    start, gap, body = (whole["skipped"] + whole[key] for key in ("size", "body_gap", "body"))
    for length in range(whole["skipped"], body):
        assert _examine(VALID[name][:length], DATAGRAM)["result"] == NEED_MORE, length
        assert _examine(VALID[name][:length], STREAM)["result"] == NEED_MORE, length
    assert gap < body
    for length in range(body, start):
        cut_short = VALID[name][:length]
        if whole["content_length"] < 0:
            assert _examine(cut_short)["result"] == length
        else:
            assert _examine(cut_short, STREAM)["result"] == NEED_MORE, length
            found = _examine(cut_short)
            assert (found["result"], found["error_status"]) == (MALFORMED, 400), length


@pytest.mark.parametrize("name", VALID)
def test_round_trip(name: str) -> None:
    """Start line, then each line from its `name` to the next one's, then the gap and the body: nothing is lost."""
    data = VALID[name]
    found = _examine(data)
    data = data[found["skipped"] : found["result"]]
    headers = found["headers"]
    ends = [header["name"] for header in headers[1:]] + [found["sentinel"]]
    pieces = [data[: headers[0]["name"]]]
    for header, end in zip(headers, ends, strict=True):
        value = data[header["value"] : header["end"]]
        before, behind = data[header["name"] : header["value"]], data[header["end"] : end]
        assert before.rstrip(b" \t\r\n").endswith(b":")
        assert behind.strip(b" \t\r\n") == b"" and behind.endswith(b"\r\n")
        assert value == value.strip(b" \t\r\n")
        assert bool(header["folded"]) == (b"\n" in data[header["name"] : end - 1])
        pieces += [before, value, behind]
    assert found["sentinel"] == found["body_gap"]
    pieces += [data[found["body_gap"] : found["body"]], data[found["body"] : found["size"]]]
    assert pieces[-2] == b"\r\n"
    assert b"".join(pieces) == data


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    data, expected = INVALID[name], EXPECTED[name]
    for framing in (DATAGRAM, STREAM):
        if name == "content_length_short_body" and framing == STREAM:
            continue
        found = _examine(data, framing)
        assert found["result"] == MALFORMED
        said = {key: found["error_" + key] for key in ("status", "header")}
        assert said == {key: expected[key] for key in ("status", "header")}
        assert found["error"] == expected["error"]
        assert data[found["error_offset"] :].startswith(expected["at"].encode())
        assert bool(found["answerable"]) == expected["answerable"]


def test_every_invalid_sample_has_an_expectation() -> None:
    assert set(EXPECTED) == set(INVALID)


@pytest.mark.parametrize("name", SAMPLES)
def test_call_id_scan_equals_parser(name: str) -> None:
    data = SAMPLES[name]
    found = _examine(data)
    parsed = cut(data[found["skipped"] :], found["call_id"])
    scanned = _find_call_id(data)
    assert (data[slice(*scanned)] if scanned else None) == (parsed or None)
    assert parsed or name.startswith("call_id")


def test_call_id_scan_of_prefixes() -> None:
    """Found as soon as its line is complete; never another one."""
    for name, data in VALID.items():
        whole = _find_call_id(data)
        assert whole is not None
        for length in range(len(data)):
            assert _find_call_id(data[:length]) == (whole if length > data.index(b"\n", whole[1]) + 1 else None), name


def test_call_id_of_keep_alives() -> None:
    for data in (b"", b"\r\n", b"\r\n\r\n", b"\0" * 4, b"\n" * 100, b"i: x\r\n\r\n"):
        assert _find_call_id(data) is None
        assert _examine(data)["result"] in (NEED_MORE, MALFORMED)


HEAD = (
    b"OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n"
    b"To: <sip:a@example.com>\r\nCall-ID: limits\r\nCSeq: 1 OPTIONS\r\n"
)


def test_largest_message() -> None:
    filler = b"X: " + b"y" * (65507 - len(HEAD) - 7) + b"\r\n"
    whole = HEAD + filler + b"\r\n"
    assert len(whole) == 65507
    assert _examine(whole)["result"] == 65507
    # One more byte in the header section: the empty line would be behind the limit.
    found = _examine(HEAD + b"Z" + filler + b"\r\n")
    assert (found["result"], found["error_status"]) == (MALFORMED, 513)


def test_largest_body() -> None:
    body = b"b" * (65507 - len(HEAD) - 2)
    assert _examine(HEAD + b"\r\n" + body)["result"] == 65507
    found = _examine(HEAD + b"\r\n" + body + b"b")
    assert (found["result"], found["error_status"]) == (MALFORMED, 513)
    # With a Content-Length that leaves the surplus out, it is a message.
    assert _examine(HEAD + b"l: 3\r\n\r\n" + body + b"b" * 9)["result"] == len(HEAD) + 11


@pytest.mark.parametrize(
    ("length", "framing", "result", "status"),
    [
        (0, DATAGRAM, None, None),
        (4, DATAGRAM, None, None),
        (5, DATAGRAM, MALFORMED, 400),
        (5, STREAM, NEED_MORE, None),
        (60000, STREAM, NEED_MORE, None),
        (65507, STREAM, MALFORMED, 413),
        (2147483647, STREAM, MALFORMED, 413),
        (2147483648, STREAM, MALFORMED, 400),
        (2147483647, DATAGRAM, MALFORMED, 400),
    ],
)
def test_content_length(length: int, framing: int, result: int | None, status: int | None) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % length
    found = _examine(head + b"body", framing)
    assert found["result"] == (len(head) + length if result is None else result)
    assert found.get("error_status") == status


def test_a_stream_needs_a_content_length() -> None:
    found = _examine(HEAD + b"\r\n", STREAM)
    assert (found["result"], found["error_status"], found["error_header"]) == (MALFORMED, 400, "Content-Length")


def test_leading_line_ends_are_skipped() -> None:
    found = _examine(b"\r\n\r\n" + HEAD + b"\r\n")
    assert (found["skipped"], found["result"], found["size"]) == (4, len(HEAD) + 6, len(HEAD) + 2)
    assert found["uri"] == {"start": 8, "end": 25}


def test_a_bad_stream_is_known_before_its_header_section_ends() -> None:
    assert _examine(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, STREAM)["result"] == MALFORMED
    assert _examine(b"GET / HTTP/1.1\r\nHost: example.com\r\n", STREAM)["result"] == MALFORMED


def test_eager_values() -> None:
    data = VALID["invite_1400"]
    found = _examine(data)
    via = found["via"]
    assert cut(data, found["call_id"]) == b"3848276298220188511@pc33.atlanta.example.com-7f3a"
    assert cut(data, found["from_tag"]) == b"9fxced76sl" and cut(data, found["to_tag"]) is None
    assert (found["cseq"], found["max_forwards"], found["method"], found["cseq_method"]) == (314159, 68, 1, 1)
    assert cut(data, via["branch"]) == b"z9hG4bKnashds8a7c1e5520fd0b2"
    assert via["has_rport"] and via["rport"]["start"] == via["rport"]["end"] > 0
    assert cut(data, via["next"]) is None and len(found["headers"]) == 19


def test_response_takes_its_method_from_cseq() -> None:
    found = _examine(VALID["ringing"])
    assert (found["kind"], found["status"], found["method"]) == (2, 180, _message._method_id(b"INVITE"))
    assert found["uri"] == found["method_text"] == {"start": 0, "end": 0}


def test_what_was_found_can_be_answered() -> None:
    """`answerable` needs the five headers a response copies (8.2.6.2), and a request."""
    lines = HEAD.split(b"\r\n")[1:-1]
    assert _examine(b"OPTIONS sip:a SIP/7.0\r\n" + b"\r\n".join(lines) + b"\r\n\r\n")["answerable"]
    for index in range(len(lines)):
        fewer = lines[:index] + lines[index + 1 :]
        assert not _examine(b"OPTIONS sip:a SIP/7.0\r\n" + b"\r\n".join(fewer) + b"\r\n\r\n")["answerable"]
