"""Digest: every expected value comes from hashlib, whose use here is checked against RFC 7616 3.9.1."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import sys
import time

import pytest

from fastsip import _digest
from fastsip._digest import FORGOTTEN, MALFORMED, OK, REPLAY, STALE, UNKNOWN, WRONG, Authenticator

KEY = bytes(range(16))
NOW = 1_900_000_000_000          # later than any table these tests make
REALM, USER, PASSWORD, URI = "atlanta.com", "alice", "zanzibar", "sip:bob@biloxi.com"
HASH = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def h(algorithm: str, text: str) -> str:
    return HASH[algorithm](text.encode()).hexdigest()


def ha1(algorithm: str = "MD5", password: str = PASSWORD) -> str:
    return h(algorithm, f"{USER}:{REALM}:{password}")


def response(algorithm, ha1, nonce, method, uri, qop="auth", nc="00000001", cnonce="0a4f113b"):
    ha2 = h(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return h(algorithm, f"{ha1}:{middle}:{ha2}")


def request(nonce, *, algorithm="MD5", password=PASSWORD, nc=1, qop="auth", method="INVITE", uri=URI, digest_uri=None,
            cnonce="0a4f113b", header="Authorization", change=lambda fields: fields):
    """A request whose credentials are right unless `change` says otherwise."""
    digest_uri = digest_uri or uri
    nc_text = nc if isinstance(nc, str) else f"{nc:08x}"
    answer = response(algorithm, ha1(algorithm, password), nonce, method, digest_uri, qop, nc_text, cnonce)
    fields = {"username": f'"{USER}"', "realm": f'"{REALM}"', "nonce": f'"{nonce}"', "uri": f'"{digest_uri}"',
              "response": f'"{answer}"', "algorithm": algorithm}
    if qop:
        fields |= {"qop": qop, "nc": nc_text, "cnonce": f'"{cnonce}"'}
    fields = {name: value for name, value in change(fields).items() if value is not None}
    return (f"{method} {uri} SIP/2.0\r\n"
            "Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8\r\n"
            "Max-Forwards: 70\r\n"
            f"To: Bob <{URI}>\r\nFrom: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n"
            f"Call-ID: a84b4c76e66710\r\nCSeq: 314159 {method}\r\n"
            f"{header}: Digest {', '.join(f'{name}={value}' for name, value in fields.items())}\r\n"
            "Content-Length: 0\r\n\r\n").encode()


@pytest.fixture
def table():
    return mmap.mmap(-1, _digest.table_size())


@pytest.fixture
def server(table):
    return Authenticator(table, KEY, lifetime=300)


def nonce_of(challenge: bytes) -> str:
    return re.search(rb'nonce="([^"]+)"', challenge)[1].decode()


def fresh(server, now=NOW) -> str:
    return nonce_of(server.challenge(REALM.encode(), now))


def verdict(server, message, *, algorithm="MD5", now=NOW) -> int:
    return server.check(message, ha1(algorithm).encode(), now)


def test_the_oracle_agrees_with_rfc_7616():
    fields = {"nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "method": "GET", "uri": "/dir/index.html",
              "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"}
    secret = "Mufasa:http-auth@example.org:Circle of Life"
    assert response("MD5", h("MD5", secret), **fields) == "8ca523f5e9506fed4657c9700eebdbec"
    assert (response("SHA-256", h("SHA-256", secret), **fields) ==
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")


@pytest.mark.parametrize("header", ["Authorization", "Proxy-Authorization"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_right_response_is_accepted_once(server, algorithm, header):
    message = request(fresh(server), algorithm=algorithm, header=header)
    assert verdict(server, message, algorithm=algorithm) == OK
    assert verdict(server, message, algorithm=algorithm) == REPLAY


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("wrong", [
    {"password": "zanzibaR"},
    {"change": lambda f: f | {"response": f'"{"0" * 32}"'}},
    {"change": lambda f: f | {"response": '""'}},
    {"change": lambda f: f | {"response": f["response"][:-2] + '"'}},
    {"change": lambda f: f | {"response": f["response"][:-1] + '0"'}},
    {"change": lambda f: f | {"cnonce": '"0a4f113c"'}},
    {"change": lambda f: f | {"nc": "00000002"}},
])
def test_a_wrong_response_spends_nothing(server, algorithm, wrong):
    nonce = fresh(server)
    assert verdict(server, request(nonce, algorithm=algorithm, **wrong), algorithm=algorithm) == WRONG
    assert verdict(server, request(nonce, algorithm=algorithm), algorithm=algorithm) == OK


@pytest.mark.parametrize("digit", range(32))
def test_every_digit_of_the_response_counts(server, digit):
    def change(fields):
        text = fields["response"]
        at = digit + 1
        return fields | {"response": text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]}

    assert verdict(server, request(fresh(server), change=change)) == WRONG


def test_only_hex_digits_stand_for_digits(server):
    lookalikes = str.maketrans("9abcdef", "`:;<=>?")
    message = request(fresh(server), change=lambda f: f | {"response": f["response"].translate(lookalikes)})
    assert verdict(server, message) == WRONG


def test_hex_of_any_case(server):
    message = request(fresh(server), nc="0000000A", change=lambda f: f | {"response": f["response"].upper()})
    assert verdict(server, message) == OK


@pytest.mark.parametrize("spelling", ["md5", "Md5", '"MD5"', None])
def test_spellings_of_md5(server, spelling):
    assert verdict(server, request(fresh(server), change=lambda f: f | {"algorithm": spelling})) == OK


@pytest.mark.parametrize("algorithm", ["SHA-512-256", "MD5-sess", "SHA-256-sess", "nonsense"])
def test_algorithms_nobody_offered(server, algorithm):
    assert verdict(server, request(fresh(server), change=lambda f: f | {"algorithm": algorithm})) == UNKNOWN


def test_an_algorithm_the_operator_did_not_offer(table):
    server = Authenticator(table, KEY, algorithms=_digest.SHA256)
    challenge = server.challenge(b"atlanta.com", NOW)
    assert challenge.count(b"\r\n") == 1
    assert verdict(server, request(nonce_of(challenge))) == UNKNOWN
    assert verdict(server, request(nonce_of(challenge), algorithm="SHA-256"), algorithm="SHA-256") == OK


@pytest.mark.parametrize("change", [
    *({field: None} for field in ("username", "realm", "nonce", "uri", "response", "cnonce")),
    {"qop": "auth-int"}, {"qop": "nonsense"},
    {"nc": "xyz"}, {"nc": "0000000g"}, {"nc": "000000001"}, {"nc": "00000000"}, {"nc": None},
    {"uri": '"sip:carol@biloxi.com"'}, {"uri": '"sip:bob@biloxi.net"'}, {"uri": '"sip:bob@biloxi.com:5070"'},
    {"uri": '"sips:bob@biloxi.com"'}, {"uri": '"/dir/index.html"'}, {"uri": '"sip:Bob@biloxi.com"'},
])
def test_malformed(server, change):
    assert verdict(server, request(fresh(server), change=lambda f: f | change)) == MALFORMED


@pytest.mark.parametrize("digest_uri", [
    "sip:bob@BILOXI.com", "sip:bob@biloxi.com:5060", "sip:bob@biloxi.com;transport=udp", "sip:b%6fb@biloxi.com",
])
def test_equivalent_spellings_of_the_request_uri(server, digest_uri):
    assert verdict(server, request(fresh(server), digest_uri=digest_uri)) == OK


def test_a_long_uri_and_cnonce(server):
    uri = "sip:" + "b" * 3000 + "@biloxi.com"
    assert verdict(server, request(fresh(server), uri=uri, cnonce="c" * 5000)) == OK


def test_counts_in_any_order_within_the_window(server):
    nonce = fresh(server)
    order = [64, 1, 63, 2, 33, 32, 31, 3]
    assert [verdict(server, request(nonce, nc=nc)) for nc in order] == [OK] * len(order)
    assert [verdict(server, request(nonce, nc=nc)) for nc in order] == [REPLAY] * len(order)
    assert verdict(server, request(nonce, nc=500)) == OK
    assert verdict(server, request(nonce, nc=500 - 64)) == OK
    assert verdict(server, request(nonce, nc=4)) == REPLAY


def test_a_count_beyond_what_a_nonce_is_good_for(server):
    nonce = fresh(server)
    assert verdict(server, request(nonce, nc=(1 << 21) - 1)) == OK
    assert verdict(server, request(nonce, nc=1 << 21)) == FORGOTTEN
    assert verdict(server, request(nonce, nc="ffffffff")) == FORGOTTEN


def test_expiry(server):
    nonce = fresh(server)
    assert verdict(server, request(nonce), now=NOW + 300_000) == OK
    assert verdict(server, request(nonce, nc=2), now=NOW + 301_000) == STALE
    assert verdict(server, request(nonce, nc=2, password="wrong"), now=NOW + 301_000) == WRONG
    assert verdict(server, request(nonce, nc=2), now=NOW - 60_000) == STALE, "a nonce of the future"


def test_forged_nonces(server, table):
    nonce = fresh(server)
    forged = [nonce[:i] + ("0" if nonce[i] != "0" else "1") + nonce[i + 1:] for i in range(len(nonce))]
    forged += [nonce[:-1], nonce + "0", "", "g" * 40, "dcd98b7102dd2f0e8b11d0f600bfb0c093"]
    forged += [fresh(Authenticator(table, bytes(16)))]
    assert {verdict(server, request(text)) for text in forged} == {UNKNOWN}


def test_nonces_of_an_earlier_table_are_stale(server):
    nonce = fresh(server)
    time.sleep(0.002)
    later = Authenticator(mmap.mmap(-1, _digest.table_size()), KEY)
    assert verdict(later, request(nonce)) == FORGOTTEN
    assert verdict(later, request(fresh(later))) == OK


def test_eviction_is_for_good_and_only_by_success(server):
    old = fresh(server)
    assert verdict(server, request(old)) == OK
    for _ in range(_digest.SLOTS - 1):
        server.challenge(b"", NOW)
    new = fresh(server)                                    # the same slot
    assert verdict(server, request(new, password="wrong")) == WRONG
    assert verdict(server, request(old, nc=2)) == OK, "a challenge or a wrong password evicts nobody"
    assert verdict(server, request(new)) == OK
    assert verdict(server, request(old, nc=3)) == FORGOTTEN
    assert verdict(server, request(old)) == FORGOTTEN
    assert verdict(server, request(new)) == REPLAY
    assert verdict(server, request(new, nc=2)) == OK


def test_without_qop_a_nonce_serves_once(server):
    nonce = fresh(server)
    assert verdict(server, request(nonce, qop=None)) == OK
    assert verdict(server, request(nonce, qop=None)) == REPLAY
    assert verdict(server, request(nonce, qop=None, method="BYE")) == REPLAY
    assert verdict(server, request(fresh(server), qop=None, method="BYE")) == OK


def test_count_and_cnonce_without_qop_mean_auth(server):
    assert verdict(server, request(fresh(server), change=lambda f: f | {"qop": None})) == OK


def test_nobody_is_told_what_a_wrong_password_is_told(server):
    nonce = fresh(server)
    cases = [request(nonce), request(nonce, algorithm="SHA-256"), request("0" * 40),
             request(nonce, change=lambda f: f | {"qop": "auth-int"})]
    for message in cases:
        algorithm = "SHA-256" if b"SHA-256" in message else "MD5"
        stranger = h(algorithm, "alice:atlanta.com:another").encode()
        assert server.check(message, None, NOW) == server.check(message, stranger, NOW)
    assert server.check(request(nonce), None, NOW) == WRONG


def test_the_challenge(server):
    lines = server.challenge(b"atlanta.com", NOW).split(b"\r\n")
    nonce = nonce_of(lines[0])
    assert lines == [
        f'WWW-Authenticate: Digest realm="atlanta.com", nonce="{nonce}", algorithm=SHA-256, qop="auth"'.encode(),
        f'WWW-Authenticate: Digest realm="atlanta.com", nonce="{nonce}", algorithm=MD5, qop="auth"'.encode(), b""]
    proxy = server.challenge(b'a "quoted\\" realm\r\nX: y', NOW, proxy=True, stale=True)
    assert proxy.startswith(b'Proxy-Authenticate: Digest realm="a \\"quoted\\\\\\" realmX: y", nonce="')
    assert proxy.count(b", stale=true\r\n") == 2
    assert len({fresh(server) for _ in range(1000)}) == 1000


def test_many_processes_share_one_table(table):
    nonces = [fresh(Authenticator(table, KEY)) for _ in range(4)]
    messages = [request(nonce, nc=nc) for nc in range(1, 65) for nonce in nonces]
    pipes = []
    for _ in range(4):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            worker = Authenticator(table, KEY)
            os.write(writing, bytes(verdict(worker, message) for message in messages))
            os._exit(0)
        os.close(writing)
        pipes.append((reading, child))
    results = []
    for reading, child in pipes:
        results.append(os.read(reading, len(messages)))
        os.close(reading)
        assert os.waitpid(child, 0)[1] == 0
    for verdicts in zip(*results, strict=True):
        assert sorted(verdicts) == [OK, REPLAY, REPLAY, REPLAY]


def test_libcrypto_is_found_without_hashlib(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "_hashlib", None)
    try:
        server = Authenticator(table, KEY)
    except RuntimeError as error:                          # a machine without libcrypto of its own
        assert "no libcrypto (OpenSSL 1.1.1 or 3) found" in str(error)
    else:
        assert verdict(server, request(fresh(server))) == OK


def test_wrong_arguments(table):
    with pytest.raises(ValueError, match="16 bytes"):
        Authenticator(table, b"short")
    with pytest.raises(ValueError, match="table_size"):
        Authenticator(bytearray(100), KEY)


def test_a_check_is_fast(server):
    message = request(fresh(server))
    assert min(server.time_check(message, ha1().encode(), NOW, 2000) for _ in range(5)) < 20_000
