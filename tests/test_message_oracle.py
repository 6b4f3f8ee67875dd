"""The parser and the oracle must agree: on all samples, on mutations of them by seed, and on messages that hypothesis
makes from the grammar with white space, folds and quoting where they may stand."""

from __future__ import annotations

import random
from typing import Any

import oracle
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import DATAGRAM, MALFORMED, NEED_MORE, SAMPLES, STREAM, VALID, cut, text

from fastsip._message import _examine, _find_call_id, _name_addr, _via

steady = settings(derandomize=True, deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


def names(data: bytes, headers: list[Any]) -> list[bytes]:
    return [data[header["name"] :].split(b":")[0].rstrip(b" \t\r\n") for header in headers]


def compare(data: bytes, framing: int) -> None:
    found, opinion = _examine(data, framing), oracle.message(data, framing)
    if opinion.faults:
        assert found["result"] == MALFORMED, opinion
        assert found["error_status"] in opinion.faults, (found["error"], opinion.faults)
        assert 0 <= found["error_offset"] <= len(data) - found["skipped"]
        return
    assert found["result"] == (opinion.length if opinion.complete else NEED_MORE), found.get("error")
    if not opinion.complete:
        return
    data = data[found["skipped"] :]
    assert found["skipped"] == opinion.skipped
    assert data[found["body"] : found["size"]] == opinion.body
    assert found["kind"] == (1 if opinion.request else 2)
    assert text(data, found["method_text"]) == opinion.method
    assert text(data, found["uri"]) == opinion.uri
    assert (found["status"], text(data, found["reason"])) == (opinion.status, opinion.reason)
    values = [data[header["value"] : header["end"]] for header in found["headers"]]
    assert list(zip(names(data, found["headers"]), values, strict=True)) == opinion.headers
    assert cut(data, found["call_id"]) == opinion.call_id
    assert (cut(data, found["from_tag"]), cut(data, found["to_tag"])) == (opinion.from_tag, opinion.to_tag)
    assert (found["cseq"], text(data, found["cseq_method_text"])) == (opinion.cseq, opinion.cseq_method)
    assert (found["max_forwards"], found["content_length"]) == (opinion.max_forwards, opinion.content_length)
    compare_via(data, found["via"], opinion.via)


def compare_via(data: bytes, found: Any, opinion: Any) -> None:
    assert (text(data, found["host"]), found["port"]) == (opinion["host"], opinion["port"])
    assert text(data, found["next"]) == opinion["next"]
    for key in ("branch", "received", "maddr", "rport"):
        assert cut(data, found[key]) == opinion[key], key


def compare_call_id(data: bytes) -> None:
    found, scanned = _examine(data), _find_call_id(data)
    if found["result"] != NEED_MORE and found["body"] > found["body_gap"]:
        parsed = cut(data[found["skipped"] :], found["call_id"])
        assert (data[slice(*scanned)] if scanned else None) == (parsed or None)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("framing", [DATAGRAM, STREAM])
def test_samples(name: str, framing: int) -> None:
    compare(SAMPLES[name], framing)
    for length in range(0, len(SAMPLES[name]), 7):
        compare(SAMPLES[name][:length], framing)


PIECES = [
    b"\r\n",
    b"\r\n ",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b'"',
    b"\\",
    b"<",
    b">",
    b"(",
    b")",
    b"@",
    b"%",
    b"\0",
    b"\x7f",
    b"\xc3\xa9",
    b"/",
    b"SIP/2.0",
    b"Call-ID: x\r\n",
    b"i: y\r\n",
    b"l: 0\r\n",
    b"To:",
    b";tag=",
    b"[",
    b"]",
    b"z9hG4bK",
    b"sip:",
    b"*",
    b"0",
    b"9999999999",
    b"Via: SIP/2.0/TCP [::1]:5061;branch=z9hG4bKq\r\n",
    b"CSeq: 1 ACK\r\n",
]


def mutate(generator: random.Random, data: bytes) -> bytes:
    for _ in range(generator.choice((1, 1, 2, 5))):
        at = generator.randrange(len(data) + 1)
        to = min(len(data), at + generator.choice((0, 0, 1, 1, 2, 8, 60)))
        what = generator.randrange(5)
        if what == 0:
            data = data[:at] + generator.choice(PIECES) + data[to:]
        elif what == 1:
            data = data[:at] + bytes((generator.randrange(256),)) + data[to:]
        elif what == 2:
            data = data[:at] + data[to:]
        elif what == 3:
            data = data[:at] + data[at:to] * 2 + data[to:]
        else:
            data = data[:to].swapcase() + data[to:]
    return data


@pytest.mark.parametrize("seed", range(8))
def test_mutations(seed: int) -> None:
    generator = random.Random(seed)
    samples = [sample for sample in SAMPLES.values() if len(sample) < 1000]
    for _ in range(1500):
        data = mutate(generator, generator.choice(samples))
        try:
            compare(data, generator.choice((DATAGRAM, STREAM)))
            compare_call_id(data)
        except AssertionError:
            print(data)
            raise


@pytest.mark.parametrize("seed", range(4))
def test_mutated_values(seed: int) -> None:
    """Via and name-addr alone, where mutations hit more often than in a whole message."""
    generator = random.Random(1000 + seed)
    samples = [
        line.partition(b":")[2].strip()
        for sample in VALID.values()
        for line in sample.split(b"\r\n\r\n")[0].replace(b"\r\n ", b"\r\n\t").replace(b"\r\n\t", b"\n ").split(b"\r\n")
        if line[:4].rstrip(b": ").lower() in (b"via", b"v", b"from", b"f", b"to", b"t", b"cont", b"m", b"rout", b"from")
    ]
    for _ in range(5000):
        data = mutate(generator, generator.choice(samples))
        try:
            found, opinion = _via(data), oracle.via(data)
            assert (found is None) == (opinion is None)
            if opinion is not None:
                compare_via(data, found, opinion)
            party, address = _name_addr(data), oracle.address(data)
            if party is None or not party["star"]:
                assert (party is None) == (address is None)
            if party is not None and address is not None:
                assert text(data, party["display"]) == address["display"]
                assert (cut(data, party["uri"]), text(data, party["next"])) == (address["uri"], address["next"])
        except AssertionError:
            print(data)
            raise


blank = st.sampled_from([b"", b"", b" ", b"\t", b"\r\n ", b" \r\n\t "])
space = st.sampled_from([b" ", b"  ", b"\t", b"\r\n ", b" \r\n\t"])
token = st.text("abcXYZ0189-.!%*_+`'~", min_size=1, max_size=12).map(str.encode)
quoted = st.lists(
    st.one_of(st.text("ab ,;<>()=:@é", max_size=6).map(str.encode), st.sampled_from([b'\\"', b"\\\\", b"\\\0"])),
    max_size=4,
).map(lambda parts: b'"' + b"".join(parts) + b'"')
host = st.sampled_from([b"example.com", b"192.0.2.1", b"[2001:db8::1]", b"a", b"host_1.x"])
hostport = st.tuples(host, st.sampled_from([b"", b":5060", b":1", b":65535"])).map(b"".join)
parameter = st.tuples(
    st.just(b";"),
    blank,
    token,
    st.one_of(st.just(b""), st.tuples(blank, st.just(b"="), blank, st.one_of(token, quoted, host)).map(b"".join)),
    blank,
).map(b"".join)
parameters = st.lists(parameter, max_size=3).map(b"".join)
uri = st.one_of(
    st.tuples(
        st.sampled_from([b"sip:", b"sips:", b"SIP:u@", b"sip:al%69ce:pw@"]), hostport, st.sampled_from([b"", b";lr"])
    ).map(b"".join),
    st.sampled_from([b"tel:+1972", b"http://example.com/x"]),
)
bracketed = st.tuples(
    st.one_of(blank, quoted, st.tuples(token, space, token).map(b"".join)), blank, st.just(b"<"), uri, st.just(b">")
)
party = st.tuples(bracketed.map(b"".join), blank, parameters, st.sampled_from([b"", b";tag=x1", b";TAG = y"])).map(
    b"".join
)
via = st.tuples(
    st.just(b"SIP"),
    blank,
    st.just(b"/"),
    blank,
    st.just(b"2.0"),
    blank,
    st.just(b"/"),
    blank,
    st.sampled_from([b"UDP", b"tcp", b"TLS", b"X-new"]),
    space,
    hostport,
    blank,
    st.sampled_from([b"", b";branch=z9hG4bK77", b";rport;branch=a", b";received=192.0.2.9;RPORT = 7"]),
    blank,
    parameters,
).map(b"".join)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    method = draw(st.one_of(st.sampled_from([b"INVITE", b"ACK", b"REGISTER"]), token))
    vias = draw(st.lists(via, min_size=1, max_size=3))
    lines = [
        (draw(st.sampled_from([b"Via", b"v", b"VIA"])), draw(st.sampled_from([b",", b" , ", b",\r\n "])).join(vias)),
        (draw(st.sampled_from([b"From", b"f"])), draw(party)),
        (draw(st.sampled_from([b"To", b"T"])), draw(party)),
        (draw(st.sampled_from([b"Call-ID", b"call-id", b"I"])), draw(token)),
        (b"CSeq", b"%d" % draw(st.integers(0, 2**31 - 1)) + draw(space) + method),
        *draw(st.lists(st.tuples(token, st.one_of(quoted, token, space)), max_size=4)),
    ]
    lines = draw(st.permutations(lines))
    body = draw(st.binary(max_size=40))
    if draw(st.booleans()):
        lines = [*lines, (draw(st.sampled_from([b"Content-Length", b"L"])), b"%d" % len(body))]
    version = draw(st.sampled_from([b"SIP/2.0", b"sip/2.0"]))
    first = method + b" " + draw(uri) + b" " + version if draw(st.booleans()) else version + b" 183 Progress"
    head = b"".join(name + draw(blank) + b":" + draw(blank) + value + b"\r\n" for name, value in lines)
    return first + b"\r\n" + head + b"\r\n" + body


@steady
@given(messages())
def test_generated(data: bytes) -> None:
    compare(data, DATAGRAM)
    compare(data, STREAM)
    compare_call_id(data)


@steady
@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    compare(data, DATAGRAM)
    compare(data, STREAM)
