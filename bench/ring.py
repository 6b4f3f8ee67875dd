"""What a datagram costs in the transport: handed from worker to worker, and received and sent on.

    python bench/ring.py [--quick]

Hand-off: two processes, both busy, one writes records of 600 bytes into the other's ring in batches, the other copies
them out; CPU time of each side per record (the clock's own 0.6 us is in it once per batch). Forwarding: lockstep, one
process, feeder and sink not timed, CPU time of recvmmsg + all the transport does + sendmmsg per datagram of 500 bytes,
next to the bare system calls in the same run; minimum and median of the rounds.
"""

import os
import socket
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from endpoints import Shared, client, listening, message
from rows import Bench, Row, alone

TITLE = "Transport"
ABOUT = "in lockstep on one CPU, least of the rounds; the floor here is the same system calls alone"


def hand_off(count: int, batch: int, budget: int) -> tuple[float, float]:
    """CPU nanoseconds per record of writer and reader."""
    shared = Shared(2, budget)
    result, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        reader = shared.endpoint(1)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        reader.listen(sock.fileno())
        os.write(write_end, b"%d" % reader.drain(count))
        os._exit(0)
    spent = shared.endpoint(0).pump(1, bytes(600), count, batch)
    taken = int(os.read(result, 64))
    os.waitpid(pid, 0)
    os.close(result)
    os.close(write_end)
    return spent / count, taken / count


def forward(batch: int, rounds: int, workers: int, host: str) -> dict[str, list[float]]:
    """Nanoseconds per datagram, by way of forwarding, one figure a round."""
    shared = Shared(workers)
    endpoint = shared.endpoint()
    found: dict[str, list[float]] = {"bare": [], "transport": []}
    with listening(endpoint, host) as sock, client() as feeder, client() as sink:
        address = ("127.0.0.1", sock.getsockname()[1])
        data = message(shared.call_id_of(0))
        data += bytes(500 - len(data))
        sink.setblocking(False)
        for _ in range(rounds):
            for way, times in found.items():
                done = spent = 0
                for _ in range(512 // batch):
                    for _ in range(batch):
                        feeder.sendto(data, address)
                    step = endpoint.forward if way == "transport" else endpoint.forward_bare
                    some, ns = step(sink.getsockname())
                    done, spent = done + some, spent + ns
                    try:
                        while True:
                            sink.recv(2048)
                    except BlockingIOError:
                        pass
                times.append(spent / done)
    return found


def rows(bench: Bench) -> Iterator[Row]:
    count, rounds = bench.pick((20_000, 1), (200_000, 5), (2_000_000, 30))
    for batch in (1, 16, 64):
        bench.say(f"hand-offs in batches of {batch}")
        writer, reader = hand_off(count, batch, 64 << 20)
        note = f"writer {writer:.0f}, reader {reader:.0f}"
        yield Row(f"hand-off of 600 bytes, batches of {batch}", writer + reader, "ns", note=note)
    for text, workers, host in [
        ("one worker", 1, "127.0.0.1"),
        ("two workers, owner looked up", 2, "127.0.0.1"),
        ("two workers, wildcard listener", 2, "0.0.0.0"),
    ]:
        for batch in bench.pick((16,), (1, 64), (1, 16, 64)):
            bench.say(f"forwarding in lockstep, {text}")
            found = forward(batch, rounds, workers, host)
            low = {way: min(times) for way, times in found.items()}
            note = f"bare {low['bare']:.0f} ns, median {statistics.median(found['transport']):.0f}"
            times = low["transport"] / low["bare"]
            yield Row(f"forward 500 bytes, {text}, by {batch}", low["transport"], "ns", floor=times, note=note)


if __name__ == "__main__":
    alone(__name__)
