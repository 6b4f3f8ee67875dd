"""The keyed hash against its published vectors and against Python's own; numeric addresses against inet_pton."""

import os
import random
import socket
import subprocess
import sys

import pytest

from fastsip._testing import hashes, numeric_address

KEY = bytes(range(16))
# Aumasson and Bernstein, SipHash-2-4, appendix A and the reference vectors: input 00 01 02 ... of that length.
VECTORS = {
    0: 0x726FDB47DD0E0E31,
    1: 0x74F839C593DC67FD,
    7: 0xAB0200F58B01D137,
    8: 0x93F5F5799A932462,
    15: 0xA129CA6149BE45E5,
}


@pytest.mark.parametrize("length", VECTORS)
def test_siphash_2_4_has_its_published_values(length: int) -> None:
    assert hashes(KEY, bytes(range(length)))[0] == VECTORS[length]


def test_siphash_1_3_is_what_python_hashes_bytes_with() -> None:
    if sys.hash_info.algorithm != "siphash13":
        pytest.fail(f"this Python hashes with {sys.hash_info.algorithm}: nothing to compare with")
    texts = [os.urandom(length) for length in range(1, 70)]
    code = f"print([hash(t) for t in {texts!r}])"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}  # a key of zeros
    printed = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    expected = [int(word) & (1 << 64) - 1 for word in printed.stdout.strip("[]\n").split(",")]
    assert [hashes(bytes(16), text)[1] for text in texts] == expected


def test_a_host_has_one_hash_in_either_case_and_no_other_has_it() -> None:
    hosts = [
        b"",
        b"A",
        b"Example.COM",
        b"xn--bcher-kva.example",
        b"192.0.2.1",
        b"[2001:DB8::1]",
        b"a_b-c.d",
        b"a_b-c.e",
    ]
    for host in hosts:
        assert hashes(KEY, host.upper())[2] == hashes(KEY, host.lower())[2]
    every = {hashes(KEY, bytes([character]))[2] for character in b"abcdefghijklmnopqrstuvwxyz0123456789-._[]:"}
    assert len(every) == 42
    assert len({hashes(KEY, host)[2] for host in hosts}) == len(hosts)


def by_inet_pton(host: str) -> tuple[int, str] | None:
    """Family and canonical text; a mapped IPv4 address is that address (RFC 5118 4.10)."""
    for family, number in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        try:
            text = socket.inet_ntop(family, socket.inet_pton(family, host))
        except OSError:
            continue
        return (4, text.removeprefix("::ffff:")) if text.startswith("::ffff:") and "." in text else (number, text)
    return None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "255.255.255.255",
        "1.2.3.4",
        "256.1.1.1",
        "1.2.3",
        "1.2.3.",
        "1.2.3.4.",
        ".1.2.3",
        "01.2.3.4",
        "1.2.3.04",
        "00.0.0.0",
        "1..2.3",
        "1.2.3.4.5",
        "1.2.3.4a",
        "a.b.c.d",
        "1.2.3.-4",
        "127.0.0.1",
        "1234.1.1.1",
        "1.2.3.400",
        "1.2.3.1000",
        "10.20.30.40",
        "100.200.30.99",
        "::",
        "::1",
        "2001:db8::1",
        "::ffff:1.2.3.4",
        "1:2:3",
        "fe80::1%",
        "g::1",
        "12345::",
    ],
)
def test_a_numeric_host_is_what_inet_pton_takes(host: str) -> None:
    assert numeric_address(host.encode()) == by_inet_pton(host)


def test_any_text_of_digits_and_dots_is_an_address_or_not_as_inet_pton_says() -> None:
    draw = random.Random(7)
    for _ in range(5000):
        host = ".".join(str(draw.choice((0, 1, 9, 10, 99, 100, 199, 255, 256, 999, ""))) for _ in range(4))
        assert numeric_address(host.encode()) == by_inet_pton(host)


def test_brackets_are_for_ipv6() -> None:
    assert numeric_address(b"[2001:db8::1]") == (6, "2001:db8::1")
    assert numeric_address(b"[1.2.3.4]") is None
