"""TransactionTable under whatever comes: garbage, messages with bytes changed, calls in any order at any time.

Nothing may crash, nothing but fastsip's own errors may be raised, and in the end every transaction ends.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastsip import SipError, Transaction, TransactionTable, parse
from fastsip.events import CancelReceived, Event, RequestReceived, Terminated

ADDRESSES = (("192.0.2.1", 5060), ("192.0.2.2", 5060))
METHODS = ("INVITE", "OPTIONS", "BYE", "REGISTER", "FOO", "ACK", "CANCEL")
SEEDS = st.integers(0, 1 << 30)

operation = st.one_of(
    st.tuples(st.just("deliver"), SEEDS, st.booleans()),
    st.tuples(st.just("deliver"), SEEDS, st.booleans()),
    st.tuples(st.just("request"), SEEDS, st.sampled_from(METHODS)),
    st.tuples(st.just("respond"), SEEDS, st.sampled_from((100, 180, 200, 202, 302, 486, 600, 0, 999))),
    st.tuples(st.just("advance"), SEEDS, st.floats(-1, 40)),
    st.tuples(st.just("again"), SEEDS, st.binary(max_size=3)),
    st.tuples(st.just("garbage"), SEEDS, st.binary(max_size=80)),
    st.tuples(st.just("cancel"), SEEDS, st.none()),
    st.tuples(st.just("end"), SEEDS, st.none()),
    st.tuples(st.just("failed"), SEEDS, st.none()),
    st.tuples(st.just("answer whole"), SEEDS, st.none()),
)


def request(method: str, number: int) -> bytes:
    return (
        f"{method} sip:bob@example.com SIP/2.0\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
        f"Call-ID: {number}\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


class Run:
    """Two tables, all that was ever sent, and every transaction anybody was told of."""

    def __init__(self, transport: str) -> None:
        self.tables = [TransactionTable(host, transport, limit=8, queue=50) for host, _ in ADDRESSES]
        self.now = 0.0
        self.sent: list[bytes] = []
        self.known: list[Transaction] = []
        self.ended = 0

    def hear(self, events: list[Event]) -> None:
        for event in events:
            assert repr(event)
            if isinstance(event, RequestReceived | CancelReceived):
                self.known.append(event.transaction)
            if isinstance(event, Terminated):
                self.ended += 1
                assert event.transaction.state == "Terminated"

    def receive(self, which: int, data: bytes) -> None:
        self.hear(self.tables[which].receive(data, ADDRESSES[1 - which], self.now))

    def do(self, what: str, seed: int, value: Any) -> None:
        which = seed % 2
        table, other = self.tables[which], 1 - which
        one = self.known[seed % len(self.known)] if self.known else None
        match what:
            case "deliver":
                for data, _ in table.to_send():
                    self.sent.append(data)
                    if value:
                        self.receive(other, data)
            case "request":
                self.known.append(table.request(request(value, seed % 1000 + 1), ADDRESSES[other], self.now))
            case "respond" if one:
                one.respond(value, self.now, body=b"x" * (seed % 9))
            case "answer whole" if one:
                one.respond(b"SIP/2.0 200 OK\r\n" + bytes(one.request).partition(b"\r\n")[2], self.now)
            case "cancel" if one:
                one.cancel(self.now)
            case "end" if one:
                one.end()
            case "advance":
                self.now += value
                for each in self.tables:
                    self.hear(each.advance(self.now))
                    wait = each.next_timeout(self.now)
                    assert wait is None or 0 <= wait <= 3600
            case "again" if self.sent:
                data = bytearray(self.sent[seed % len(self.sent)])
                at = seed // 7 % len(data)
                data[at : at + seed % 2 * len(value)] = value
                self.receive(which, bytes(data))
            case "garbage":
                self.receive(which, value)
            case "failed":
                self.hear(table.failed(ADDRESSES[other], self.now))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(("UDP", "TCP")), st.lists(operation, max_size=60))
def test_anything_in_any_order(transport: str, operations: list[tuple[str, int, Any]]) -> None:
    run = Run(transport)
    for each in operations:
        try:
            run.do(*each)
        except (SipError, ValueError):  # each says what was wrong with the call
            continue
    for transaction in run.known:
        if transaction.state in ("Proceeding", "Trying"):
            transaction.end()
    for _ in range(3):
        run.now += 100
        for table in run.tables:
            run.hear(table.advance(run.now))
            for data, _ in table.to_send():
                assert parse(data)
    assert [len(table) for table in run.tables] == [0, 0]
    assert all(transaction.state == "Terminated" for transaction in run.known)
