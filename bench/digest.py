"""Nanoseconds to check one set of credentials, in compiled code: MD5 and SHA-256, a known user and nobody.

    python bench/digest.py [--quick]

Each figure is the least of some rounds of 20,000 checks of one INVITE's Proxy-Authorization, parsed once: both hashes,
the nonce's MAC, the comparison, and the count in the shared table.
"""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Iterator

from rows import Bench, Row, alone

from fastsip import _digest
from fastsip.auth import ha1_md5, ha1_sha256
from fastsip.demo.digest import Answerer

USER, REALM, PASSWORD, URI = "alice", "example.com", "secret", "sip:bob@example.com"
TITLE = "Digest"
ABOUT = "one check of credentials in compiled code, parsed once: hashes, nonce, comparison, nonce count"


def invite(credentials: str) -> bytes:
    return (
        f"INVITE {URI} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{USER}@{REALM}>;tag=1\r\nTo: <{URI}>\r\nCall-ID: 1@192.0.2.1\r\nCSeq: 1 INVITE\r\n"
        f"Proxy-Authorization: {credentials}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def rows(bench: Bench) -> Iterator[Row]:
    now = int(time.time() * 1000)
    rounds, checks = bench.pick((1, 500), (3, 20_000), (10, 20_000))
    server = _digest.Authenticator(mmap.mmap(-1, _digest.table_size()), bytes(16))
    for name, hashed in (("MD5", ha1_md5), ("SHA-256", ha1_sha256)):
        bench.say(f"checking {name}")
        challenges = re.findall(r"Digest .*", server.challenge(REALM.encode(), now).decode())
        answerer = Answerer(USER, PASSWORD)
        answerer.learn(line for line in challenges if f"algorithm={name}," in line)
        request = invite(answerer.credentials("INVITE", URI) or "")
        ha1 = hashed(USER, REALM, PASSWORD).encode()
        assert server.check(request, ha1, now) == _digest.OK
        for what, who in (("a known user", ha1), ("nobody", None)):
            taken = min(server.time_check(request, who, now, checks) for _ in range(rounds))
            yield Row(f"check credentials of {what}, {name}", taken, "ns")


if __name__ == "__main__":
    alone(__name__)
