"""fastsip.TransactionTable: two tables that talk through a network of ours, in a time of ours.

1. calls and requests end on both sides, whatever is lost on the way
2. timers fire when RFC 3261 table 4 and RFC 6026 say, to the millisecond
3. CANCEL, ACK, 2xx by several branches, RFC 2543 peers
4. misuse is an exception that says what; kept transactions know that they have ended
5. limits, errors of the transport, reliable transports
"""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable

import pytest

from fastsip import LimitReached, Message, ParseError, TransactionTable, UsageError, parse
from fastsip.events import (
    AckReceived,
    CancelReceived,
    Event,
    Malformed,
    RequestReceived,
    RequestRefused,
    ResponseReceived,
    StrayResponse,
    Terminated,
    Timeout,
    TransportError,
)

ALICE, BOB = ("192.0.2.1", 5060), ("192.0.2.2", 5070)
START = 1_790_000_000.125


def request(method: str = "INVITE", number: int = 1, via: str = "", to_tag: str = "", more: str = "") -> bytes:
    to = "<sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else "")
    return (
        f"{method} sip:bob@192.0.2.2:5070 SIP/2.0\r\n{via}From: <sip:alice@example.com>;tag=a1\r\nTo: {to}\r\n"
        f"Call-ID: call-{number}@192.0.2.1\r\nCSeq: {number} {method}\r\nMax-Forwards: 70\r\n{more}"
        "Content-Length: 0\r\n\r\n"
    ).encode()


class World:
    """Two tables and the time. `lose` is asked about every datagram; `answer` is Bob."""

    def __init__(self, transport: str = "UDP", **options: float) -> None:
        self.now = START
        self.alice = TransactionTable("192.0.2.1:5060", transport, **options)  # type: ignore[arg-type]
        self.bob = TransactionTable("192.0.2.2:5070", transport, **options)  # type: ignore[arg-type]
        self.lose: Callable[[bytes], bool] = lambda data: False
        self.answer: Callable[[Event], None] = lambda event: None
        self.heard: list[tuple[float, str, Event]] = []
        self.sent: list[tuple[float, str, str]] = []

    def deliver(self) -> None:
        """Carry what is to be sent until both are silent."""
        for _ in range(1000):
            moved = False
            for name, table, other, source in (
                ("alice", self.alice, self.bob, ALICE),
                ("bob", self.bob, self.alice, BOB),
            ):
                for data, address in table.to_send():
                    moved = True
                    message = parse(data)
                    self.sent.append((self.elapsed, name, str(message.status or message.method)))
                    assert address == (BOB if source == ALICE else ALICE)
                    if not self.lose(data):
                        self.hear("bob" if name == "alice" else "alice", other.receive(data, source, self.now))
            if not moved:
                return
        raise AssertionError("they never stop")

    def hear(self, name: str, events: list[Event]) -> None:
        for event in events:
            self.heard.append((self.elapsed, name, event))
            if name == "bob":
                self.answer(event)

    @property
    def elapsed(self) -> float:
        return round(self.now - START, 3)

    def run(self, seconds: float) -> None:
        """Live on, waking when a table says so."""
        end = self.now + seconds
        while True:
            self.hear("alice", self.alice.advance(self.now))
            self.hear("bob", self.bob.advance(self.now))
            self.deliver()
            waits = [table.next_timeout(self.now) for table in (self.alice, self.bob)]
            wait = min((each for each in waits if each is not None), default=None)
            if wait is None or self.now + wait > end:
                self.now = end
                return
            self.now += wait

    def of(self, name: str, kind: type[Event] = Event) -> list[str]:
        """What one side heard, in words."""
        return [_word(event) for _, who, event in self.heard if who == name and isinstance(event, kind)]


def _word(event: Event) -> str:
    if isinstance(event, ResponseReceived):
        return str(event.message.status)
    return type(event).__name__


def answering(world: World, *statuses: int) -> Callable[[Event], None]:
    def answer(event: Event) -> None:
        if isinstance(event, RequestReceived):
            for status in statuses:
                event.transaction.respond(status, world.now)

    return answer


def test_call_is_answered_and_both_sides_forget_it() -> None:
    world = World()
    world.answer = answering(world, 180, 200)
    call = world.alice.request(request(), BOB, world.now)
    assert (call.method, call.is_server, call.state, call.status, call.address) == (
        "INVITE",
        False,
        "Calling",
        None,
        BOB,
    )
    world.run(31.9)
    assert world.of("alice") == ["180", "200"] and (call.state, call.status) == ("Accepted", 200)
    assert world.of("bob") == ["RequestReceived"]
    world.run(0.2)
    assert world.of("alice") == ["180", "200", "Terminated"] and call.state == "Terminated"
    assert world.of("bob")[-1] == "Terminated" and len(world.alice) == len(world.bob) == 0
    assert world.alice.next_timeout(world.now) is None


def test_refused_call_is_acknowledged_by_the_table() -> None:
    world = World()
    world.answer = answering(world, 486)
    call = world.alice.request(request(more="Route: <sip:192.0.2.2:5070;lr>\r\n"), BOB, world.now)
    world.run(1)
    assert [what for _, _, what in world.sent] == ["INVITE", "486", "ACK"]
    assert world.of("bob") == ["RequestReceived"] and call.state == "Completed"
    world.run(40)
    assert world.of("alice") == ["486", "Terminated"] and len(world.bob) == 0


def test_response_is_built_from_the_request() -> None:
    world = World()
    received: list[Message] = []

    def answer(event: Event) -> None:
        if isinstance(event, RequestReceived):
            event.transaction.respond(180, world.now)
            event.transaction.respond(
                200, world.now, reason="Fine", headers=[("Contact", "<sip:bob@192.0.2.2>"), ("X-U", "ü")], body=b"v=0"
            )

    world.answer = answer
    call = world.alice.request(request(more="Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n"), BOB, START)
    world.run(0)
    received = [event.message for _, _, event in world.heard if isinstance(event, ResponseReceived)]
    ringing, ok = received
    assert (ok.reason, bytes(ok.body), ok.headers["x-u"]) == ("Fine", b"v=0", "ü")
    assert [route.uri for route in ok.record_routes] == ["sip:p1;lr", "sip:p2;lr"]
    assert ok.to_tag == ringing.to_tag and len(ok.to_tag or "") == 16
    assert ok.branch == call.request.branch and (ok.via.received, ok.via.rport) == ("192.0.2.1", 5060)
    assert (ok.call_id, ok.cseq, ok.method, ok.from_tag) == ("call-1@192.0.2.1", 1, "INVITE", "a1")


def test_100_has_no_tag() -> None:
    world = World()
    world.answer = answering(world, 100)
    world.alice.request(request(), BOB, START)
    world.run(0)
    (event,) = [event for _, _, event in world.heard if isinstance(event, ResponseReceived)]
    assert event.message.status == 100 and event.message.to_tag is None


@pytest.mark.parametrize(
    ("method", "times"),
    [
        ("INVITE", [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]),
        ("OPTIONS", [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]),
    ],
)
def test_request_is_sent_again_until_it_times_out(method: str, times: list[float]) -> None:
    world = World()
    world.lose = lambda data: True
    world.alice.request(request(method), BOB, START)
    world.run(60)
    assert [when for when, _, _ in world.sent] == times
    assert [(when, _word(event)) for when, _, event in world.heard] == [(32.0, "Timeout"), (32.0, "Terminated")]


def test_final_response_is_sent_again_until_its_ack_and_told_if_none_comes() -> None:
    world = World()
    world.answer = answering(world, 500)
    world.lose = lambda data: data.startswith(b"ACK")
    world.alice.request(request(), BOB, START)
    world.run(60)
    resent = [when for when, who, what in world.sent if what == "500"]
    assert resent == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert world.of("alice") == ["500", "Terminated"]
    assert world.of("bob") == ["RequestReceived", "Timeout", "Terminated"]


def test_2xx_of_another_branch_is_told_while_accepted() -> None:
    world = World()
    call = world.alice.request(request(), BOB, START)
    world.run(0)
    first = _ok(call.request, "b1")
    assert [_word(e) for e in world.alice.receive(first, BOB, START + 1)] == ["200"]
    assert [_word(e) for e in world.alice.receive(_ok(call.request, "b2"), BOB, START + 2)] == ["200"]
    assert world.alice.receive(_ok(call.request, "b1", 180), BOB, START + 2) == []
    assert [_word(e) for e in world.alice.advance(START + 33.1)] == ["Terminated"]
    (stray,) = world.alice.receive(first, BOB, START + 34)
    assert isinstance(stray, StrayResponse) and world.alice.counters["strays"] == 1


def _ok(sent: Message, tag: str, status: int = 200) -> bytes:
    head = bytes(sent).split(b"\r\n")[1:]
    lines = [line + b";tag=" + tag.encode() if line.startswith(b"To:") else line for line in head]
    return b"\r\n".join([b"SIP/2.0 %d OK" % status, *lines])


def test_cancel() -> None:
    world = World()
    invite: list[RequestReceived] = []

    def answer(event: Event) -> None:
        if isinstance(event, RequestReceived):
            invite.append(event)
            event.transaction.respond(180, world.now)
        elif isinstance(event, CancelReceived):
            assert event.cancels is invite[0].transaction
            event.transaction.respond(200, world.now)
            event.cancels.respond(487, world.now)

    call = world.alice.request(request(), BOB, START)
    assert not call.cancel(START), "9.1: not before a provisional response"
    world.answer = answer
    world.run(1)
    assert call.cancel(world.now) and not call.cancel(world.now)
    world.run(1)
    assert world.of("alice") == ["180", "487"] and call.state == "Completed"
    assert [what for _, _, what in world.sent] == ["INVITE", "180", "CANCEL", "200", "487", "ACK"]
    assert not call.cancel(world.now)
    world.run(60)
    assert len(world.alice) == len(world.bob) == 0


def test_cancel_of_nothing() -> None:
    world = World()
    via = "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx\r\n"
    (event,) = world.bob.receive(request("CANCEL", via=via), ALICE, START)
    assert isinstance(event, CancelReceived) and event.cancels is None
    event.transaction.respond(481, START)
    assert [parse(data).status for data, _ in world.bob.to_send()] == [481]


def test_ack_of_a_2xx() -> None:
    world = World()
    world.answer = answering(world, 200)
    world.alice.request(request(), BOB, START)
    world.run(0)
    world.alice.send(request("ACK", to_tag="b1"), BOB, world.now)
    world.run(0)
    (event,) = [event for _, _, event in world.heard if isinstance(event, AckReceived)]
    assert event.transaction is None and event.source == ALICE, "its branch is its own: the dialog knows whose it is"


def test_peer_of_rfc_2543_is_matched_without_a_branch() -> None:
    world = World()
    via = "Via: SIP/2.0/UDP 192.0.2.1:5060\r\n"
    (event,) = world.bob.receive(request(via=via), ALICE, START)
    assert isinstance(event, RequestReceived)
    event.transaction.respond(486, START)
    assert [parse(data).status for data, _ in world.bob.to_send()] == [486]
    assert world.bob.receive(request(via=via), ALICE, START + 0.1) == []
    assert [parse(data).status for data, _ in world.bob.to_send()] == [486]
    acknowledgement = request("ACK", via=via, to_tag=event.transaction.tag or "")
    assert world.bob.receive(acknowledgement, ALICE, START + 0.2) == []
    assert event.transaction.state == "Confirmed"
    (other,) = world.bob.receive(request("ACK", via=via, to_tag="another"), ALICE, START + 0.2)
    assert isinstance(other, AckReceived) and other.transaction is None


@pytest.mark.parametrize("seed", range(20))
def test_a_bad_network_changes_nothing(seed: int) -> None:
    """A third of everything is lost; every request gets its answer, once."""
    chance = random.Random(seed)
    world = World()
    world.lose = lambda data: chance.random() < 0.33
    statuses = {"INVITE": [(180, 486), (603,)], "OPTIONS": [(200,), (100, 200)]}
    asked = 0

    def answer(event: Event) -> None:
        nonlocal asked
        if isinstance(event, RequestReceived):
            for status in statuses[event.message.method][asked % 2]:
                event.transaction.respond(status, world.now)
            asked += 1

    world.answer = answer
    for number in range(1, 9):
        world.alice.request(request("INVITE" if number % 2 else "OPTIONS", number), BOB, world.now)
        world.run(chance.random())
    world.run(400)
    assert asked == 8 and world.of("alice", Terminated) == ["Terminated"] * 8
    finals = [what for what in world.of("alice", ResponseReceived) if int(what) >= 200]
    assert len(finals) + len(world.of("alice", Timeout)) == 8
    assert len(world.alice) == len(world.bob) == 0


@pytest.mark.parametrize("transport", ["TCP", "tls"])
def test_reliable_transport_sends_nothing_again(transport: str) -> None:
    world = World(transport)
    world.lose = lambda data: True
    call = world.alice.request(request(), BOB, START)
    assert call.request.via.transport == transport.upper() and call.request.via.rport is None
    world.run(60)
    assert len(world.sent) == 1 and world.of("alice") == ["Timeout", "Terminated"]
    world = World(transport)
    world.answer = answering(world, 200)
    world.alice.request(request("OPTIONS"), BOB, START)
    world.run(0)
    assert world.of("alice") == ["200", "Terminated"] and world.of("bob") == ["RequestReceived", "Terminated"]


def test_transport_errors() -> None:
    world = World()
    call = world.alice.request(request(), BOB, START)
    other = world.alice.request(request(number=2), ("192.0.2.9", 5060), START)
    assert [_word(event) for event in world.alice.failed(BOB, START)] == ["TransportError", "Terminated"]
    assert (call.state, other.state) == ("Terminated", "Calling")
    (event,) = world.bob.receive(request(via="Via: SIP/2.0/UDP a;branch=z9hG4bKy\r\n"), ALICE, START)
    assert isinstance(event, RequestReceived)
    (error,) = world.bob.failed(ALICE, START)
    assert isinstance(error, TransportError) and error.transaction is event.transaction
    assert event.transaction.state == "Proceeding", "17.2.4: the transaction user is told and may try again"


def test_source_nothing_can_be_sent_to() -> None:
    table = TransactionTable("a")
    (event,) = table.receive(request(via="Via: SIP/2.0/UDP a;rport;branch=z9hG4bKy\r\n"), ("192.0.2.1", 0), START)
    assert isinstance(event, RequestReceived)
    event.transaction.respond(200, START)
    assert table.next_timeout(START) == 0 and table.to_send() == []
    assert [_word(each) for each in table.advance(START)] == ["TransportError"]
    with pytest.raises(ValueError, match="nothing can be sent"):
        table.request(request(), ("0.0.0.0", 5060), START)
    with pytest.raises(ValueError, match="nothing can be sent"):
        table.send(request("ACK"), ("192.0.2.1", 0), START)


def test_garbage() -> None:
    table = TransactionTable("a")
    (event,) = table.receive(b"\0\1\2", ALICE, START)
    assert isinstance(event, Malformed) and event.error.status == 400
    (event,) = table.receive(request().replace(b"Max", b"Via: nonsense\r\nMax"), ALICE, START)
    assert isinstance(event, Malformed) and event.error.header == "Via"


def test_limits() -> None:
    table = TransactionTable("a", limit=2, queue=3)
    vias = [f"Via: SIP/2.0/UDP a;branch=z9hG4bK{number}\r\n" for number in range(3)]
    events = [table.receive(request("OPTIONS", number + 1, via), ALICE, START)[0] for number, via in enumerate(vias)]
    assert [type(event) for event in events] == [RequestReceived, RequestReceived, RequestRefused]
    with pytest.raises(LimitReached, match="limit is reached"):
        for number in range(9):
            table.request(request(number=number + 1), BOB, START)
    assert isinstance(events[0], RequestReceived)
    for _ in range(5):
        events[0].transaction.respond(100, START)
    assert len(table.to_send()) == 3 and table.counters["dropped"] >= 3


def test_misuse_of_a_table() -> None:
    for arguments, options, text in [
        (("a", "SMTP"), {}, "none of UDP"),
        (("a",), {"t1": 0}, "t1 is 0"),
        (("a",), {"limit": 0}, "limit is 0"),
        (("a b",), {}, "Via"),
        (("a\r\nX: y",), {}, "line end"),
        (("",), {}, "Via"),
    ]:
        with pytest.raises(ValueError, match=text):
            TransactionTable(*arguments, **options)  # type: ignore[arg-type]
    table = TransactionTable("a")
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            table.advance(wrong)
    table.advance(0)
    with pytest.raises(ValueError, match="too far ahead"):
        table.advance(1e300)
    assert table.advance(-1e300) == []
    for address in ("192.0.2.1:5060", ("192.0.2.1",), (b"192.0.2.1", 5060), ("192.0.2.1", "5060")):
        with pytest.raises(TypeError, match="tuple"):
            table.receive(b"", address, 0)  # type: ignore[arg-type]
    for address in (("example.com", 5060), ("192.0.2.1", 65536), ("192.0.2.1", -1), ("", 1)):
        with pytest.raises(ValueError, match="numeric address"):
            table.receive(b"", address, 0)
    with pytest.raises(TypeError):
        table.receive("text", ALICE, 0)  # type: ignore[arg-type]


def test_misuse_of_requests() -> None:
    table = TransactionTable("a")
    with pytest.raises(UsageError, match="ACK is no transaction"):
        table.request(request("ACK"), BOB, START)
    with pytest.raises(UsageError, match="belongs to its INVITE"):
        table.request(request("CANCEL"), BOB, START)
    for call in (table.request, table.send):
        with pytest.raises(ValueError, match="no request"):
            call(b"SIP/2.0 200 OK\r\n" + request("OPTIONS").partition(b"\r\n")[2], BOB, START)
        with pytest.raises(ParseError, match="CSeq") as raised:
            call(request().replace(b"CSeq: 1 INVITE", b"CSeq: one"), BOB, START)
        assert request()[raised.value.offset :].startswith(b"1 INVITE"), "counted in what was given"
        with pytest.raises(ParseError, match="ends before"):
            call(b"", BOB, START)
    assert len(table) == 0


def test_misuse_of_transactions() -> None:
    world = World()
    call = world.alice.request(request(), BOB, START)
    with pytest.raises(UsageError, match="client transaction"):
        call.respond(200, START)
    (event,) = world.bob.receive(call.request, ALICE, START)
    assert isinstance(event, RequestReceived)
    server = event.transaction
    with pytest.raises(UsageError, match="only an INVITE that was sent"):
        server.cancel(START)
    for status in (0, 99, 700, -1):
        with pytest.raises(ValueError, match="no status code"):
            server.respond(status, START)
    for options in ({"reason": "a\r\nX: y"}, {"headers": [("X", "a\nb")]}, {"headers": [("X\r\nY", "a")]}):
        with pytest.raises(ValueError, match="line end"):
            server.respond(200, START, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="65507"):
        server.respond(200, START, body=bytes(70_000))
    with pytest.raises(ValueError, match="another request"):
        server.respond(_ok(parse(request("BYE", 7, via="Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n")), "b"), START)
    with pytest.raises(ValueError, match="no response"):
        server.respond(call.request, START)
    with pytest.raises(TypeError, match="has its own"):
        server.respond(_ok(call.request, "b"), START, body=b"x")
    assert world.bob.to_send() == [] and server.state == "Proceeding"
    server.respond(_ok(call.request, "b", 486), START)
    with pytest.raises(UsageError, match="486 was sent and the transaction is Completed"):
        server.respond(180, START)
    server.end()
    server.end()
    assert (server.state, len(world.bob)) == ("Terminated", 0) and world.bob.advance(START + 99) == []
    with pytest.raises(UsageError, match="INVITE transaction has ended"):
        server.respond(200, START)
    with pytest.raises(TypeError):
        type(server)()


def test_kept_transactions_keep_their_table_and_nothing_else() -> None:
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    table = TransactionTable("a")
    call = table.request(request(), BOB, START)
    call.user = owner
    table.advance(START + 0.5)
    del table
    gc.collect()
    assert call.state == "Calling" and call.user is owner and not call.cancel(START)
    del call, owner
    gc.collect()
    assert gone() is None, "a table and its transactions are one ring, and nobody has it"


def test_slots_used_again_are_other_transactions() -> None:
    table = TransactionTable("a")
    ended = []
    for number in range(1, 400):
        call = table.request(request("OPTIONS", number), BOB, START)
        call.end()
        ended.append(call)
    live = table.request(request("OPTIONS", 999), BOB, START)
    assert live.state == "Trying" and {call.state for call in ended} == {"Terminated"}
    with pytest.raises(UsageError, match="only an INVITE"):
        ended[-1].cancel(START)
