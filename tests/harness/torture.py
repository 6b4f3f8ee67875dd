"""Odd messages on the wire: one server, a caller, a callee, and what must become of each message of tests/torture.

A message is a file with places for what only a run knows: ${alice}, ${bob} and ${server} are host:port, ${port} is the
caller's; a response has ${vias} (all Via lines the callee was sent), ${top} (the first of them), ${from}, ${to},
${call_id} and ${cseq}. What must become of it is its table in expected.toml; `Case` says what may stand there.
"""

from __future__ import annotations

import random
import re
import secrets
import socket
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .server import Server
from .wire import Message, tag

FOLDER = Path(__file__).parents[1] / "torture"
DOMAIN = "brook.example"
DOMAINS = (DOMAIN, "[2001:db8:7::10]", "[2001:db8::192.0.2.81]")
PATIENCE = 3.0
_LOCAL = "|".join(re.escape(domain) for domain in (*DOMAINS, "[2001:db8:::192.0.2.81]"))
_CALLEE = re.compile(rb"[^ ]+ +<?(sips?:[^ <>]+?@(?:%b))(?=[ :;?>]|$)" % _LOCAL.encode())
_PLACE = re.compile(rb"\$\{(\w+)\}")


@dataclass(frozen=True)
class Case:
    """One message and what must become of it."""

    name: str
    template: bytes
    section: str
    """Of the document it is about."""
    valid: bool
    do: str
    """forwarded: to the callee, byte for byte but for what a proxy must change, and his 200 back. answered: with
    `status`, and nobody else sees it. registered: 200 with `contacts`. passed: a response, byte for byte but for its
    first Via. dropped: nobody sees it, and what is pending goes on."""
    why: str
    status: int = 200
    """Of an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers an answer has, with these values."""
    contacts: tuple[str, ...] = ()
    """Contact values of a 200 to REGISTER, `expires` taken out."""
    expires: int = 0
    """The seconds every one of them has."""
    sender: str = "trusted"
    """Or "stranger", who has to say who he is."""
    pending: str = "INVITE"
    """Method of the request a response is about."""

    @property
    def is_response(self) -> bool:
        return self.template.startswith(b"SIP/")

    @property
    def callee(self) -> str:
        """Address-of-record the message is for, "" if it is for no user of the server."""
        match = _CALLEE.match(self.template.lstrip().split(b"\r\n", 1)[0])
        return match[1].decode() if match else ""


def load(document: str) -> dict[str, Case]:
    """The cases of one folder by name. Raises AssertionError where messages and expectations do not match."""
    folder = FOLDER / document
    cases = {}
    for name, given in tomllib.loads((folder / "expected.toml").read_text()).items():
        template = (folder / f"{name}.sip").read_bytes()
        headers = tuple(given.pop("headers", {}).items())
        contacts = tuple(given.pop("contacts", ()))
        cases[name] = Case(name, template, headers=headers, contacts=contacts, **given)
        assert cases[name].do in ("forwarded", "answered", "registered", "passed", "dropped"), name
    files = {path.stem for path in folder.glob("*.sip")}
    assert files == set(cases), f"no expectation or no message: {sorted(files ^ set(cases))}"
    return cases


class Peer:
    """One UDP socket of a made-up user agent. On IPv4 it has an address of 127/8 that nobody else has, and port 5060:
    a Via without a port leads back to it."""

    def __init__(self, host: str = "") -> None:
        six = ":" in host
        self.socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        while True:
            try:
                self.socket.bind((host, 0) if host else (_some_loopback(), 5060))
                break
            except OSError:
                if host:
                    raise
        self.host, self.port = self.socket.getsockname()[:2]
        self.hostport = f"[{self.host}]:{self.port}" if six else f"{self.host}:{self.port}"

    def receive(self, timeout: float = PATIENCE) -> Message | None:
        """The next datagram, None if none comes in time."""
        self.socket.settimeout(max(timeout, 0.001))
        try:
            data = self.socket.recv(65535)
        except (TimeoutError, ConnectionError):
            return None
        return Message(data, time=time.monotonic())

    def final(self, timeout: float = PATIENCE) -> Message | None:
        """The next message that is no provisional response, None if none comes in time."""
        deadline = time.monotonic() + timeout
        while (message := self.receive(deadline - time.monotonic())) and 0 < message.status < 200:
            pass
        return message

    def drain(self) -> list[Message]:
        """All that is there already, but for provisional responses."""
        found = []
        while message := self.receive(0):
            if not 0 < message.status < 200:
                found.append(message)
        return found


def _some_loopback() -> str:
    return f"127.{random.randrange(64, 250)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"


class Ground:
    """A server with a caller it trusts, a stranger, a callee, and what it takes to play a case.

    With `host` all of them are at that address of this machine, "::1" for one, and only the caller's port is known.
    """

    def __init__(self, host: str = "", workers: int = 1) -> None:
        self.alice, self.bob, self.stranger, self.clerk = (Peer(host) for _ in range(4))
        self.peers = (self.alice, self.bob, self.stranger, self.clerk)
        trusted = f"{self.alice.host}/{128 if ':' in host else 32}"
        self.server = Server(
            host="127.0.0.1" if ":" in host else host or _some_loopback(),
            workers=workers,
            domains=DOMAINS,
            users=[("heron.regaut01", "secret", DOMAIN)],
            required=("REGISTER",),
            trusted=(trusted,),
        )
        self._some_request = Message(self.request("INVITE", f"sip:otter@{DOMAIN}", self.alice))
        self.forwarded = (b"", b"", ("", 0), "")
        """What check_request was given last: as sent, as it arrived, by whom, and to which contact."""
        self._seen: set[bytes] = set()
        self.address = self.server.address
        self.hostport = self.server.hostport
        if ":" in host:
            self.address, self.hostport = (host, self.server.port), f"[{host}]:{self.server.port}"
            listen = [f"udp:{self.server.hostport}", f"udp:{self.hostport}"]
            self.server.extra = {"server": {"listen": listen}}

    def __enter__(self) -> Ground:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.server.__exit__(kind, error, trace)
        finally:
            for peer in self.peers:
                peer.socket.close()

    def play(self, case: Case) -> None:
        """Send the message and see what becomes of it. Raises AssertionError if it is something else than asked for."""
        for peer in self.peers:
            peer.drain()
        self._seen.clear()
        if case.is_response:
            self._play_response(case)
        else:
            self._play_request(case)
        self.answers()
        for peer in self.peers:
            left = [str(message) for message in peer.drain() if message.raw not in self._seen]
            assert not left, "more than was to come of it:\n" + "\n".join(left)

    def answers(self) -> None:
        """The server is there, and has done with all that was sent before."""
        request = self.request("OPTIONS", f"sip:{self.hostport}", self.clerk)
        self.send(self.clerk, request)
        answer = self.clerk.final()
        assert answer and answer.status == 200, f"no answer to OPTIONS: {answer}\n{self.server.log}"
        assert answer.call_id == Message(request).call_id

    def send(self, peer: Peer, data: bytes) -> None:
        """To the server."""
        peer.socket.sendto(data, self.address)

    def request(self, method: str, uri: str, peer: Peer, headers: str = "") -> bytes:
        """A request as a decent user agent writes it."""
        return (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {peer.hostport};branch=z9hG4bK{secrets.token_hex(8)};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:clerk@reed.example>;tag={secrets.token_hex(4)}\r\nTo: <{uri}>\r\n"
            f"Call-ID: {secrets.token_hex(12)}\r\nCSeq: 1 {method}\r\n{headers}Content-Length: 0\r\n\r\n"
        ).encode()

    def register(self, uri: str, contact: str) -> None:
        """Bind the callee, who must be nobody's callee yet: with two bindings he would be rung twice."""
        text = self.request("REGISTER", f"sip:{DOMAIN}", self.alice, f"Contact: <{contact}>\r\n").decode()
        self.send(self.alice, text.replace(f"To: <sip:{DOMAIN}>", f"To: <{uri}>").encode())
        answer = self.alice.final()
        assert answer and answer.status == 200, f"could not register {uri}: {answer}"
        assert len(answer.all("Contact")) == 1, f"{uri} is somebody's already:\n{answer}"

    def _fill(self, template: bytes, request: Message | None = None) -> bytes:
        places = {"server": self.hostport, "bob": self.bob.hostport, "alice": self.alice.hostport}
        places["port"] = str(self.alice.port)
        filled = {name: value.encode() for name, value in places.items()}
        if request:
            vias = [line for line in header_lines(request.raw) if header_name(line) == b"via"]
            filled["vias"], filled["top"] = b"".join(vias)[:-2], vias[0][:-2]
            for name in ("From", "To", "Call-ID", "CSeq"):
                filled[name.lower().replace("-", "_")] = request.one(name).encode("latin-1")
        return _PLACE.sub(lambda place: filled[place[1].decode()], template)

    def _play_request(self, case: Case) -> None:
        target = ""
        if case.callee and b"${bob}" not in case.template:
            target = f"sip:{case.name}@{self.bob.hostport}"
            self.register(case.callee, target)
        sender = self.stranger if case.sender == "stranger" else self.alice
        sent = self._fill(case.template)
        self.send(sender, sent)
        if case.do == "forwarded":
            self._check_forwarded(sent, sender, target)
            return
        answer = sender.final()
        assert answer, f"no answer, not {case.status}\n{Message(sent)}"
        check_answer(sent, answer, 200 if case.do == "registered" else case.status)
        for name, value in case.headers:
            assert ", ".join(answer.all(name)) == value, f"not {name}: {value}\n{answer}"
        if case.do == "registered":
            found = answer.all("Contact")
            bare = [re.sub(r";expires=\d+", "", value, count=1) for value in found]
            assert sorted(bare) == sorted(case.contacts), f"not {case.contacts}\n{answer}"
            if case.expires:
                seconds = [int(re.findall(r";expires=(\d+)", value)[0]) for value in found]
                assert all(case.expires - 2 <= each <= case.expires for each in seconds), f"{seconds}\n{answer}"

    def check_forwarding(self, data: bytes, sender: Peer, target: str) -> None:
        """Send a request; it goes to the callee as it is, and his 200 back. `target` is the contact in between."""
        self.send(sender, data)
        self._check_forwarded(data, sender, target)

    def throw(self, case: Case) -> None:
        """Send the message from whichever side it would come from, and wait for nothing."""
        self.send(self.bob if case.is_response else self.alice, self._fill(case.template, self._some_request))

    def _check_forwarded(self, sent: bytes, sender: Peer, target: str) -> None:
        got = self.bob.receive()
        assert got, f"nothing came to the callee; to the caller: {sender.final(0.1)}"
        self.forwarded = (sent, got.raw, (sender.host, sender.port), target)
        check_request(sent, got.raw, self.hostport, (sender.host, sender.port), target)
        response = _answer(got)
        self.send(self.bob, response)
        back = sender.final()
        assert back, f"the callee's 200 to this did not come back\n{got}"
        check_response(response, back.raw)

    def _play_response(self, case: Case) -> None:
        # The request it is about is a plain one and waits for its answer; where the response is dropped, a good one
        # that comes later still finds it waiting.
        uri = f"sip:otter.pending.{case.name}@{DOMAIN}"
        self.register(uri, f"sip:{case.name}@{self.bob.hostport}")
        request = self.request(case.pending, uri, self.alice, "Contact: <sip:clerk@reed.example>\r\n")
        self.send(self.alice, request)
        got = self.bob.receive()
        assert got and got.method == case.pending, str(got)
        self._seen.add(got.raw)  # it may come again while it waits
        self.answers()
        while self.alice.receive(0.05):
            pass  # 100 Trying
        sent = self._fill(case.template, got)
        self.send(self.bob, sent)
        if case.do == "passed":
            passed = self.alice.receive()
            assert passed, f"this did not go upstream:\n{Message(sent)}"
            check_response(sent, passed.raw)
            if passed.status >= 200:
                return
        else:
            assert case.do == "dropped", case.do
            self.answers()
            early = self.alice.receive(0.05)
            assert not early, f"this was not dropped:\n{Message(sent)}\nbut became\n{early}"
        good = _answer(got)
        self.send(self.bob, good)
        # An INVITE's or OPTIONS' copy may have come meanwhile; it changes nothing.
        answer = self.alice.final()
        assert answer and answer.status == 200, f"a good answer afterwards did not come: {answer}"
        check_response(good, answer.raw)


def header_lines(raw: bytes) -> list[bytes]:
    """The header lines of a message as they stand, folds and ends of line with them."""
    head = raw.lstrip(b"\r\n").split(b"\r\n\r\n", 1)[0].split(b"\r\n", 1)
    return re.findall(rb"(?s).+?\r\n(?![ \t])", head[1] + b"\r\n") if len(head) > 1 else []


def header_name(line: bytes) -> bytes:
    """Lower case, compact forms written out."""
    name = line.split(b":", 1)[0].strip().lower()
    return {b"v": b"via", b"l": b"content-length"}.get(name, name)


def body_of(raw: bytes) -> bytes:
    """As long as Content-Length says, or all there is (18.3)."""
    body = raw.lstrip(b"\r\n").split(b"\r\n\r\n", 1)[1]
    for line in header_lines(raw):
        if header_name(line) == b"content-length":
            return body[: int(line.split(b":", 1)[1])]
    return body


def check_request(sent: bytes, got: bytes, server: str, source: tuple[str, int], target: str) -> None:
    """A request at the callee is what the caller wrote, byte for byte, but for what RFC 3261 16.6 has a proxy change.

    That is the Request-URI (`target`, if that is not empty; without headers, 19.1.1), a Via and Record-Routes on top,
    Max-Forwards one less, `received` and `rport` of the caller's Via, and a Route that named the server. RFC 5393 5.3.3
    has it add Max-Breadth too.
    """
    message = f"\n{Message(sent, sent=True)}\n{Message(got)}"
    method, uri, version = sent.lstrip(b"\r\n").split(b"\r\n", 1)[0].split(b" ")
    wanted = target.encode() or uri.split(b"?")[0]
    assert got.split(b"\r\n", 1)[0] == b" ".join([method, wanted, version]), f"the start line{message}"
    assert body_of(sent) == got.split(b"\r\n\r\n", 1)[1], f"the body{message}"
    lines, before = header_lines(got), header_lines(sent)
    own = re.fullmatch(rb"Via: SIP/2\.0/UDP %b;branch=z9hG4bK[!-:<-~]+\r\n" % re.escape(server).encode(), lines.pop(0))
    assert own, f"the server's Via is not on top{message}"
    while lines and header_name(lines[0]) == b"record-route" and b"Record-Route" not in sent:
        assert server.encode() in lines[0] and b";lr" in lines.pop(0), f"a Record-Route of somebody else{message}"
    if not any(header_name(line) == b"max-forwards" for line in before):
        assert lines.pop(0) == b"Max-Forwards: 70\r\n", f"no Max-Forwards{message}"
    if lines and header_name(lines[0]) == b"max-breadth" and b"max-breadth" not in sent.lower():
        assert lines.pop(0) == b"Max-Breadth: 60\r\n", f"not all of Max-Breadth for the only branch{message}"
    routes = [line for line in before if header_name(line) == b"route" and server.encode() in line]
    before = [line for line in before if line not in routes]
    assert len(lines) == len(before), f"lines are missing or too many{message}"
    first = True
    for line, wanted in zip(lines, before, strict=True):
        if header_name(wanted) == b"via" and first:
            first = False
            line = plain_via(line, source)
            wanted = re.sub(rb";received=[^;,\s]+", b"", wanted, count=1) if b";received=" in wanted else wanted
        elif header_name(wanted) == b"max-forwards":
            hops = re.search(rb"\d+", wanted)
            assert hops, message
            wanted = wanted.replace(hops[0], b"%d" % (int(hops[0]) - 1))
        assert line == wanted, f"{wanted!r} became {line!r}{message}"


def plain_via(line: bytes, source: tuple[str, int]) -> bytes:
    """A caller's Via line without what the server wrote into it: the `received` and the value of `rport` it should."""
    host, port = source
    line, count = re.subn(rb";received=%b(?=[;,\s])" % re.escape(host).encode(), b"", line, count=1)
    return re.sub(rb";rport=%d(?=[;,\s])" % port, b";rport", line, count=1) if count else line


def check_response(sent: bytes, got: bytes) -> None:
    """A response at the caller is what the callee wrote, byte for byte, without the server's Via (16.7 step 3)."""
    lines = header_lines(sent)
    top = next(line for line in lines if header_name(line) == b"via")
    wanted = sent.replace(top, b"", 1)
    body = body_of(sent)
    wanted = wanted[: wanted.index(b"\r\n\r\n") + 4] + body
    assert got == wanted, f"not what was sent, less its first Via\n{Message(sent, sent=True)}\n{Message(got)}"


def check_answer(sent: bytes, answer: Message, status: int) -> None:
    """An answer of the server itself: the status asked for, and what stood in the request, where it is in the request
    (8.2.6.2): every Via, From, Call-ID and CSeq, and To with a tag."""
    request = Message(sent.lstrip(b"\r\n"))
    both = f"\n{request}\n{answer}"
    assert answer.status == status, f"not {status}{both}"
    vias = [line for line in header_lines(request.raw) if header_name(line) == b"via"]
    back = [line for line in header_lines(answer.raw) if header_name(line) == b"via"]
    assert len(back) == len(vias), f"{len(back)} Via lines of {len(vias)}{both}"
    for index, (line, wanted) in enumerate(zip(back, vias, strict=True)):
        value, wanted_value = line.split(b":", 1)[1].strip(), wanted.split(b":", 1)[1].strip()
        if not index:
            value = re.sub(rb";received=[0-9a-f.:]+", b"", value, count=1)
            value = re.sub(rb";rport=\d+", b";rport", value, count=1)
            wanted_value = re.sub(rb";received=[^;,\s]+", b"", wanted_value, count=1)
        assert value == wanted_value, f"not the Via of the request{both}"
    for name in ("From", "Call-ID", "CSeq"):
        assert answer.get(name) == request.get(name), f"not the {name} of the request{both}"
    if request.get("To"):
        assert answer.get("To").startswith(request.get("To")), f"not the To of the request{both}"
        assert tag(request.get("To")) or re.search(r";tag=\S+$", answer.get("To")), f"no To tag{both}"
    assert answer.raw.endswith(b"\r\n\r\n") and answer.one("Content-Length") == "0", both


def _answer(request: Message) -> bytes:
    """The callee's 200, with a tag of his own where there is none, and his own ways with white space."""
    lines = [line for line in header_lines(request.raw) if header_name(line) in (b"via", b"record-route")]
    for line in header_lines(request.raw):
        name = line.split(b":", 1)[0].strip().lower()
        if name in (b"from", b"f", b"call-id", b"i", b"cseq"):
            lines.append(line)
        elif name in (b"to", b"t"):
            lines.append(line if tag(request.get("To")) or b"tag" in line else line[:-2] + b";tag=bank\r\n")
    tail = b"Contact : <sip:otter@weir.example.org>\r\nX-Water:\r\n cold\r\nl: 2\r\n\r\nok"
    return b"SIP/2.0 200 All right\r\n" + b"".join(lines) + tail
