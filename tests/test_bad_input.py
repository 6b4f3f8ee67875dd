"""What a public address receives: garbage, damage, wrong headers, tricks with Via, scanners.

Each gets the right SIP error or is dropped and counted. After everything the server answers OPTIONS, nothing of it is
left alive, it has no fewer processes than before, and it ends with 0.
"""

from __future__ import annotations

import random
import socket
import subprocess
from collections.abc import Iterator

import pytest
from harness import Message, Phone, Server, free_port, requires_peer

HOST = "127.0.0.5"
UDP_MOST = 65_507
IP_PKTINFO = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all of it, checked at the end; not an open one, as REGISTER is challenged."""
    users = [("bob", "secret", HOST), ("loop", "secret", HOST)]
    quick = {"t1": 0.05, "t2": 0.4, "t4": 0.5}
    with Server(host=HOST, workers=2, users=users, required=["REGISTER"], timers=quick) as running:
        processes = running.children()
        yield running
        running.quiet()
        assert running.children() == processes, f"a process died of bad input\n{running.log}"
        assert "Traceback" not in running.log, running.log


@pytest.fixture
def phone(server: Server) -> Iterator[Phone]:
    """A phone; after its test the server must still answer another one."""
    with Phone(server.address) as phone:
        yield phone
    with Phone(server.address) as other:
        answer = other.options()
        assert answer and answer.status == 200, f"no OPTIONS any more: {answer}\n{server.log}"


def total(server: Server) -> dict[str, int]:
    """The counters of all workers."""
    found: dict[str, int] = server.stats()["total"]
    return found


def invite(phone: Phone, server: Server, user: str = "bob", headers: str = "", body: bytes = b"") -> bytes:
    contact = f"Contact: <sip:caller@{phone.host}:{phone.port}>\r\n"
    uri = f"sip:{user}@{server.hostport}"
    return phone.request("INVITE", uri, sender="sip:caller@elsewhere.invalid", headers=contact + headers, body=body)


def test_garbage_is_dropped_and_counted(server: Server, phone: Phone) -> None:
    """Random bytes of every length, and text that is no SIP: silence."""
    chance = random.Random(1)
    before = total(server)
    datagrams = [chance.randbytes(chance.randrange(1, 1400)) for _ in range(300)]
    datagrams += [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SIP/2.0", b"INVITE", b"\r\nx\r\n\r\n"]
    datagrams += [b"\0" * 100, b"\xff" * UDP_MOST]
    for data in datagrams:
        phone.send(data)
    assert phone.receive(0.3) is None, "garbage was answered"
    after = total(server)
    counted = sum(after[name] - before[name] for name in after if name.startswith("dropped"))
    assert counted >= len(datagrams) - 1, f"{counted} of {len(datagrams)} datagrams counted as dropped"


def test_keepalives_are_no_garbage(server: Server, phone: Phone) -> None:
    before = total(server)["keepalives"]
    for _ in range(5):
        phone.send(b"\r\n\r\n")
    phone.options()
    assert total(server)["keepalives"] - before == 5


def test_every_prefix_of_a_request(server: Server, phone: Phone) -> None:
    """A request cut off anywhere is dropped or answered 400; it is never taken for a whole one."""
    whole = invite(phone, server, body=b"v=0\r\n")
    for length in range(1, len(whole), 3):
        phone.send(whole[:length])
    while answer := phone.receive(0.3):
        assert answer.status == 400, str(answer)


def test_damaged_requests(server: Server, phone: Phone) -> None:
    """One to eight bytes of a good request changed: whatever comes of it, the server stays."""
    chance = random.Random(2)
    for _ in range(1000):
        data = bytearray(invite(phone, server, user="nobody"))
        for _ in range(chance.randrange(1, 9)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        phone.send(bytes(data))
        phone.socket.setblocking(False)
        while phone.receive(0):
            pass


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("Call-ID: ", "Call-ID: a\r\nCall-ID: ", 400),
        ("CSeq: ", "CSeq: 1 OPTIONS\r\nCSeq: ", 400),
        ("From: ", "From: <sip:a@b>;tag=1\r\nFrom: ", 400),
        ("To: ", "To: <sip:a@b>\r\nTo: ", 400),
        ("Max-Forwards: 70", "Max-Forwards: many", 400),
        ("Max-Forwards: 70\r\n", "", 404),
        ("Max-Forwards: 70", "Max-Forwards: 0", 483),
        ("SIP/2.0\r\n", "SIP/3.0\r\n", 505),
        ("INVITE sip:", "INVITE gopher:", 416),
        ("INVITE sip:", "INVITE sip: ", 400),
        (" INVITE\r\n", " OPTIONS\r\n", 400),
        ("CSeq: ", "CSeq: 99999999999", 400),
        ("CSeq: ", "CSeq: x", 400),
        ("Content-Length: 0", "Content-Length: 9", 400),
        ("Content-Length: 0", "Content-Length: -1", 400),
        ("Content-Length: 0", "Content-Length: 99999999999999999999", 400),
        ("Content-Length: 0", "Content-Length: 0\r\nProxy-Require: flying", 420),
        ("Content-Length: 0", "Content-Length: 0\r\nno colon in this line", 400),
    ],
    ids=lambda value: value.strip().replace("\r\n", "|") if isinstance(value, str) else str(value),
)
def test_wrong_headers(server: Server, phone: Phone, old: str, new: str, status: int) -> None:
    """RFC 3261 16.3, 8.2 and 18.3: an INVITE for somebody unknown, one thing wrong with it."""
    data = invite(phone, server, user="nobody").decode()
    assert old in data
    answer = phone.ask(data.replace(old, new, 1).encode(), timeout=1)
    assert answer, f"no answer, not {status}"
    assert answer.status == status, f"not {status}:\n{answer}"
    if status == 420:
        assert answer.one("Unsupported") == "flying"


@pytest.mark.parametrize("name", ["Call-ID", "CSeq", "From", "To"])
def test_missing_headers(server: Server, phone: Phone, name: str) -> None:
    """Without one of these no proper answer can be written: 400 with what there is, or dropped and counted."""
    before = total(server)
    phone.send(invite(phone, server).replace(f"\r\n{name}: ".encode(), f"\r\nX-{name}: ".encode()))
    answer = phone.receive(0.3)
    if answer:
        assert answer.status == 400, str(answer)
    else:
        assert total(server)["dropped_malformed"] == before["dropped_malformed"] + 1


def test_content_length_smaller_than_the_datagram(server: Server, phone: Phone) -> None:
    """18.3: what follows is cut off, the request is good."""
    data = phone.request("OPTIONS", f"sip:{server.hostport}") + b"and this is too much"
    answer = phone.ask(data)
    assert answer and answer.status == 200


def test_no_via_no_answer(server: Server, phone: Phone) -> None:
    """A request without Via cannot be answered; it is dropped and counted."""
    before = total(server)
    phone.send(invite(phone, server).replace(b"Via: ", b"X-Via: "))
    assert phone.receive(0.3) is None
    after = total(server)
    assert after["dropped_malformed"] == before["dropped_malformed"] + 1


def test_largest_datagram(server: Server, phone: Phone) -> None:
    """65,507 bytes are read whole; what the server's own headers would push over the limit is answered 513."""
    with Phone(server.address) as callee:
        registered = callee.register(f"bob@{HOST}", f"sip:bob@{callee.host}:{callee.port}", "secret")
        assert registered and registered.status == 200, registered
        empty = len(phone.request("OPTIONS", f"sip:{server.hostport}")) + 4
        options = phone.request("OPTIONS", f"sip:{server.hostport}", body=b"x" * (UDP_MOST - empty))
        assert UDP_MOST - 10 <= len(options) <= UDP_MOST
        answer = phone.ask(options)
        assert answer and answer.status == 200, answer

        empty = len(invite(phone, server)) + 4
        answer = phone.ask(invite(phone, server, body=b"x" * (UDP_MOST - empty)))
        assert answer and answer.status == 513, answer
        assert callee.receive(0.1) is None, "part of it was forwarded"

        with Phone(server.address) as other:
            other.send(invite(other, server, body=b"x" * 40_000))
            arrived = callee.receive(1)
            assert arrived and arrived.body == b"x" * 40_000
            callee.send(_answer(arrived, 486))
            assert _final(other) == 486


def _answer(request: Message, status: int) -> bytes:
    vias = "".join(f"Via: {via}\r\n" for via in request.all("Via"))
    return (
        f"SIP/2.0 {status} Answer\r\n{vias}From: {request.one('From')}\r\nTo: {request.one('To')};tag=x\r\n"
        f"Call-ID: {request.call_id}\r\nCSeq: {request.one('CSeq')}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def _final(phone: Phone) -> int:
    while answer := phone.receive(2):
        if answer.status >= 200:
            return answer.status
    return 0


STRANGE = ["255.255.255.255:5060", "224.0.0.1", "0.0.0.0:5060", "[ff02::1]:5060", "127.255.255.255"]


@pytest.mark.parametrize("sent_by", STRANGE)
def test_via_of_somebody_else(server: Server, phone: Phone, sent_by: str) -> None:
    """The answer goes to where the request came from (18.2.1), whatever sent-by claims."""
    data = phone.request("OPTIONS", f"sip:{server.hostport}").decode()
    data = data.replace(f"UDP {phone.host}:{phone.port};", f"UDP {sent_by};")
    answer = phone.ask(data.encode(), timeout=1)
    assert answer and answer.status in (200, 400), str(answer)
    assert answer.source == server.address


@pytest.mark.parametrize("address", ["255.255.255.255", "224.0.0.1", "127.255.255.255"])
def test_maddr_of_broadcast_or_multicast(server: Server, phone: Phone, address: str) -> None:
    """A maddr does not make the server send to everybody (18.2.2 meets draft 8.14)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        listener.bind(("", free_port("0.0.0.0")))
        listener.settimeout(0.3)
        port = listener.getsockname()[1]
        data = phone.request("OPTIONS", f"sip:{server.hostport}").decode()
        own, tricky = f"UDP {phone.host}:{phone.port};rport;", f"UDP {phone.host}:{port};maddr={address};"
        phone.send(data.replace(own, tricky).encode())
        try:
            _, ancillary, _, _ = listener.recvmsg(2000, 100)
        except TimeoutError:
            return
        sent_to = socket.inet_ntoa(ancillary[0][2][8:12])
        assert sent_to == phone.host, f"an answer was sent to {sent_to}"


def test_via_back_at_the_server(server: Server) -> None:
    """A request whose Via names the server: its answer comes back to the server, which drops it. Nothing goes round."""
    with Phone(server.address, host=HOST) as phone:
        before = total(server)
        data = phone.request("OPTIONS", f"sip:{server.hostport}").decode()
        for _ in range(20):
            phone.send(data.replace(f"UDP {phone.host}:{phone.port};rport;", f"UDP {server.hostport};").encode())
        assert phone.receive(0.3) is None
        after = total(server)
        assert after["datagrams_in"] - before["datagrams_in"] <= 60, "it goes round"


def test_responses_out_of_nowhere(server: Server, phone: Phone) -> None:
    """A response nobody asked for is dropped, also where its next Via is a broadcast address (draft 8.14)."""
    before = total(server)
    for next_via in ("255.255.255.255:5060", "127.0.0.1:9", "nowhere.invalid", f"{phone.host}:{phone.port}"):
        for branch in ("z9hG4bKforged", "z9hG4bK020001qhhcph2abkii0.0000001pf5pqk", "1", ""):
            via = f"Via: SIP/2.0/UDP {server.hostport}" + (f";branch={branch}" if branch else "")
            phone.send(
                f"SIP/2.0 200 OK\r\n{via}\r\nVia: SIP/2.0/UDP {next_via};branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
                f"To: <sip:c@d>;tag=2\r\nCall-ID: {branch}x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n".encode()
            )
    assert phone.receive(0.3) is None, "a stray response was forwarded"
    after = total(server)
    assert after["responses_out"] == before["responses_out"]
    dropped = sum(after[name] - before[name] for name in after if name.startswith("dropped"))
    assert dropped >= 16, f"{dropped} of 16 counted"


def test_contact_that_leads_back(server: Server, phone: Phone) -> None:
    """A binding whose contact is its own address-of-record at this server: 482, not a storm."""
    registered = phone.register(f"loop@{HOST}", f"sip:loop@{server.hostport}", "secret")
    assert registered and registered.status in (200, 403), registered
    before = total(server)
    answer = phone.ask(invite(phone, server, user="loop"), timeout=3)
    assert answer and answer.status in (404, 480, 482, 483), str(answer)
    phone.register(f"loop@{HOST}", f"sip:loop@{server.hostport}", "secret", expires=0)
    after = total(server)
    assert after["datagrams_in"] - before["datagrams_in"] < 40, "it went round"


def test_scanner(server: Server, phone: Phone) -> None:
    """What svmap sends all day: extensions by number, calls to premium numbers. Nobody is told who exists."""
    agent = "User-Agent: friendly-scanner\r\nContact: <sip:100@1.1.1.1:5060>\r\nAccept: application/sdp\r\n"
    for number in range(100, 130):
        data = phone.request("OPTIONS", f"sip:{number}@{server.hostport}", sender="sip:100@1.1.1.1", headers=agent)
        answer = phone.ask(data, timeout=1)
        assert answer and answer.status in (403, 404, 405, 407, 480), str(answer)
    answers = set()
    for user in ("bob", "nobody"):
        aor = f"sip:{user}@{HOST}"
        answer = phone.ask(phone.request("REGISTER", f"sip:{HOST}", sender=aor, to=aor, headers=agent), timeout=1)
        assert answer
        answers.add(answer.status)
    assert answers == {401}, f"the answers tell who exists: {answers}"
    with Phone(server.address) as victim:
        for outside in (f"sip:00197255501{n:02}@{victim.host}:{victim.port}" for n in range(10)):
            data = phone.request("INVITE", outside, sender=f"sip:100@{HOST}", headers=agent)
            answer = phone.ask(data, timeout=1)
            assert answer and answer.status in (403, 404, 407), str(answer)
        assert victim.receive(0.2) is None, "an open relay"


@requires_peer("sipsak")
def test_sipsak_is_answered(server: Server, phone: Phone) -> None:
    done = subprocess.run(["sipsak", "-s", f"sip:{server.hostport}"], capture_output=True, timeout=20, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@requires_peer("sipsak")
def test_sipsak_trashes_requests(server: Server, phone: Phone) -> None:
    """sipsak's random mode changes more and more characters of an OPTIONS."""
    command = ["sipsak", "-R", "-T", "30", "-s", f"sip:{server.hostport}"]
    try:
        subprocess.run(command, capture_output=True, timeout=3)
    except subprocess.TimeoutExpired:
        return  # it waits for the answer to something that can have none
