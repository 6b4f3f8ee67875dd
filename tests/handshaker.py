"""New TLS connections at a rate, each closed after its handshake; no session is resumed, and nothing verified.

Clients are elsewhere in life: this one takes what nobody else wants of the CPUs.

    python tests/handshaker.py HOST PORT RATE

From 127.0.2.1 and up, until standard input ends; then how many there were, how many failed, and the seconds it took.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time

THREADS = 4


class Shaker(threading.Thread):
    def __init__(self, number: int, place: tuple[str, int], context: ssl.SSLContext, every: float) -> None:
        super().__init__(daemon=True)
        self.source, self.place, self.context, self.every = f"127.0.2.{number + 1}", place, context, every
        self.done = self.failed = 0
        self.over = False

    def run(self) -> None:
        due = time.monotonic()
        while not self.over:
            due += self.every
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                with socket.create_connection(self.place, 5, (self.source, 0)) as raw, self.context.wrap_socket(raw):
                    self.done += 1
            except OSError:
                self.failed += 1


def main(host: str, port: str, rate: str) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    begun = time.monotonic()
    shakers = [Shaker(n, (host, int(port)), context, THREADS / float(rate)) for n in range(THREADS)]
    for one in shakers:
        one.start()
    sys.stdin.read()
    for one in shakers:
        one.over = True
    for one in shakers:
        one.join()
    print(sum(one.done for one in shakers), sum(one.failed for one in shakers), time.monotonic() - begun)


if __name__ == "__main__":
    main(*sys.argv[1:])
