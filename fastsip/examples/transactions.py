"""A user agent on one UDP socket, with fastsip's transactions and nothing else: python -m fastsip.examples.transactions

It asks itself for its OPTIONS, so that it needs nobody to talk to. The same loop serves a thousand peers.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from fastsip import TransactionTable
from fastsip.events import Event, RequestReceived, ResponseReceived, Terminated, Timeout


def main() -> int:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    me = sock.getsockname()
    table = TransactionTable(f"{me[0]}:{me[1]}", t4=0.05)
    table.request(
        f"OPTIONS sip:{me[0]}:{me[1]} SIP/2.0\r\nFrom: <sip:me@example.com>;tag=1\r\nTo: <sip:me@example.com>\r\n"
        f"Call-ID: {time.time_ns()}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode(),
        me,
        time.monotonic(),
    )
    asking = True
    while asking:
        for data, address in table.to_send():
            sock.sendto(data, address)
        ready, _, _ = select.select([sock], [], [], table.next_timeout(time.monotonic()))
        now = time.monotonic()
        events: list[Event] = table.receive(*sock.recvfrom(65_536), now) if ready else []
        for event in events + table.advance(now):
            print(type(event).__name__, getattr(event, "message", getattr(event, "transaction", "")))
            match event:
                case RequestReceived(_, transaction):
                    transaction.respond(200, now, headers=[("Allow", "OPTIONS")])
                case ResponseReceived(message, _, source):
                    print(f"{source[0]} allows {message.headers['Allow']}")
                case Timeout():
                    print("no answer", file=sys.stderr)
                    return 1
                case Terminated(transaction) if not transaction.is_server:
                    asking = False
    sock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
