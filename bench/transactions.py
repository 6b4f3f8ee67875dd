"""What a transaction costs inside compiled code, by how many are live: create, match, answer, expire.

    python bench/transactions.py [--live 1000 10000 100000] [--rounds 5]

Non-INVITE transactions over an unreliable transport, messages already parsed, nothing sent. The best of the rounds, in
CPU nanoseconds per transaction. "Matched" and "final response" visit the transactions in an order no cache likes.
"""

from __future__ import annotations

import argparse
import platform

from fastsip._testing import SIZEOF_TRANSACTION, measure_transactions

REQUEST = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-0000-aaaaaaaa;rport\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK" + b"0" * 33 + b"\r\n"
    b"From: <sip:alice@example.com>;tag=1928301774\r\nTo: <sip:bob@example.com>;tag=1\r\n"
    b"Call-ID: a84b4c76e66710@192.0.2.1\r\nCSeq: 314159 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--live", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--rounds", type=int, default=5)
    chosen = options.parse_args()
    print(f"{platform.machine()}, Linux {platform.release()}, Transaction {SIZEOF_TRANSACTION} bytes; ns each")
    columns = [[measure_transactions(REQUEST, ANSWER, live) for _ in range(chosen.rounds)] for live in chosen.live]
    print(f"{'live':<36}" + "".join(f"{live:>10,}" for live in chosen.live))
    for step in columns[0][0]:
        best = [min(figures[step] for figures in rounds) for rounds in columns]
        print(f"{step:<36}" + "".join(f"{figure:>10.0f}" for figure in best))


if __name__ == "__main__":
    main()
