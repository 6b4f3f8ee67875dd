"""What a transaction costs inside compiled code, by how many are live: create, match, answer, expire.

    python bench/transactions.py [--quick]

Non-INVITE transactions over an unreliable transport, messages already parsed, nothing sent. The best of the rounds, in
CPU nanoseconds per transaction. "Matched" and "final response" visit the transactions in an order no cache likes.
"""

from __future__ import annotations

from collections.abc import Iterator

from rows import Bench, Row, alone

from fastsip._testing import SIZEOF_TRANSACTION, measure_transactions

TITLE = "Transaction table"
ABOUT = f"non-INVITE transactions of {SIZEOF_TRANSACTION} bytes in an order no cache likes; CPU, least of the rounds"

REQUEST = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-0000-aaaaaaaa;rport\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK" + b"0" * 27 + b"\r\n"
    b"From: <sip:alice@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>;tag=1\r\n"
    b"Call-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def rows(bench: Bench) -> Iterator[Row]:
    rounds = bench.pick(1, 2, 3)
    for live in bench.pick([1_000], [1_000, 100_000], [1_000, 10_000, 100_000, 1_000_000]):
        bench.say(f"{live:,} transactions")
        found = [measure_transactions(REQUEST, ANSWER, live) for _ in range(rounds)]
        steps = {step: min(figures[step] for figures in found) for step in found[0]}
        plot = ("A transaction from request to end, ns, by how many are live", "all nine steps", live)
        yield Row(f"{live:,} live: all nine steps", sum(steps.values()), "ns", raw=steps, plot=plot)
        for step, taken in steps.items():
            if live in (1_000, 1_000_000) or bench.size != "full":
                yield Row(f"{live:,} live: {step}", taken, "ns")


if __name__ == "__main__":
    alone(__name__)
