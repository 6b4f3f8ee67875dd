"""Valid messages, broken in every way a seed can think of, against the whole engine.

Two phones keep calling, registering and answering through it; whatever they send may be mutated first, and what they
answer to is what came out of the engine, so that transactions of every kind are met in every state. In the end nothing
may be left of it all, and OPTIONS must still be answered. FASTSIP_FUZZ says how many messages to send (an hour's worth
if you like), FASTSIP_FUZZ_SEED which.
"""

import os
import random
import re

import pytest
from engine import Engine, Phone, ack, engine, header, headers, reply, request
from test_proxy_rights import digest

MESSAGES = int(os.environ.get("FASTSIP_FUZZ", "3000"))
SEED = int(os.environ.get("FASTSIP_FUZZ_SEED", "1"))
ALICE = "sip:alice@example.com"
HOST = "127.66.0.1"  # of its own, for answers go to whatever port a mutated Via names
WORDS = [
    b"\r\n", b"\r\n ", b"\r\n\r\n", b"\n", b"\0", b";", b",", b"<", b">", b'"', b"\\", b"%00", b"%", b"@", b"[::1]",
    b"*", b"=", b" ", b";tag=", b";tag=x", b";lr", b";rport", b";received=192.0.2.1", b";branch=z9hG4bK",
    b";maddr=127.66.0.9", b";maddr=example.com", b";maddr=[", b"?a=b",
    b"Via: SIP/2.0/UDP 127.66.0.2;branch=z9hG4bK-w\r\n",
    b"Route: <sip:127.66.0.3;lr>\r\n", b"Contact: *\r\n", b"Expires: 0\r\n", b"Max-Forwards: 0\r\n",
    b"Require: x\r\n", b"Proxy-Require: x\r\n", b"Content-Length: 70000\r\n", b"i: y\r\n", b"To: <sip:a>\r\n", b"0",
    b"4294967296", b"-1", b"65536", b"1" * 40, b"a" * 600, b"INVITE", b"ACK", b"CANCEL", b"REGISTER", b"SIP/2.0",
    b"SIP/3.0", b"sip:", b"sips:", b"tel:+1", b"sip:bob@example.com", b"sip:example.com", b"\xff\xfe", b"\xc3\xa4",
]
STATUSES = ["100 Trying", "180 Ringing", "183 Progress", "199 Early", "200 OK", "200 OK", "302 Moved", "401 No",
            "407 No", "408 Late", "486 Busy Here", "487 Gone", "503 Off", "603 No"]


def mutate(choose: random.Random, message: bytes) -> bytes:
    """`message` with a few things done to it."""
    text = bytearray(message)
    for _ in range(choose.choice((1, 1, 1, 2, 3, 8))):
        at = choose.randrange(len(text) + 1)
        end = min(len(text), at + choose.choice((1, 1, 2, 5, 20, 200)))
        match choose.randrange(9):
            case 0:
                text[at:end] = bytes(choose.randrange(256) for _ in range(end - at))
            case 1:
                del text[at:end]
            case 2 | 3:
                text[at:at] = choose.choice(WORDS)
            case 4:
                text[at:at] = text[at:end] * choose.choice((1, 1, 3, 60))
            case 5:
                del text[at:]
            case _:
                lines = bytes(text).split(b"\r\n")
                one, other = (choose.randrange(len(lines)) for _ in range(2))
                match choose.randrange(5):
                    case 0:
                        lines[one], lines[other] = lines[other], lines[one]
                    case 1:
                        lines.insert(other, lines[one])
                    case 2:
                        del lines[one]
                    case 3:
                        lines[one:one] = [lines[one]] * choose.choice((2, 40, 300))
                    case _:
                        lines[one] = re.sub(rb"\d+|[\w.-]+", lambda _: choose.choice(WORDS), lines[one], count=1)
                text[:] = b"\r\n".join(lines)
    return bytes(text[:65_507])


class Fuzz:
    """Two phones and what they know of each other."""

    def __init__(self, server: Engine, seed: int) -> None:
        self.server = server
        self.choose = random.Random(seed)
        self.alice, self.bob = (Phone(HOST) for _ in range(2))
        for phone in (self.alice, self.bob):
            phone.proxy = server.address
            phone.socket.setblocking(False)
            server.phones.append(phone)
        self.sent: list[str] = []
        self.seen: list[str] = []

    def send(self, phone: Phone, text: str) -> None:
        data = text.encode("utf-8", "surrogateescape")
        phone.send(mutate(self.choose, data) if self.choose.random() < 0.6 else data)
        if self.choose.random() < 0.1:
            phone.send(data)
        self.sent = [*self.sent[-30:], text]

    def fresh(self) -> str:
        choose, alice = self.choose, self.alice
        contact = f"Contact: <sip:alice@{alice.name}>;q=0.5;expires=100, \"A\" <sip:a@127.66.0.4;x=1>"
        match choose.randrange(8):
            case 0 | 1:
                method = choose.choice(("INVITE", "INVITE", "INVITE", "MESSAGE", "SUBSCRIBE", "ODD"))
                return request(method, "sip:bob@example.com", alice, contact, body="v=0\r\n")
            case 2:
                return request("REGISTER", "sip:example.com", alice, contact, "Expires: 200", callee=ALICE)
            case 3:
                challenges = [text for text in self.seen if "-Authenticate:" in text]
                if not challenges:
                    return request("REGISTER", "sip:example.com", alice, contact, callee=ALICE)
                text = choose.choice(challenges)
                proxy = "Proxy-Authenticate" in text
                method, uri = ("MESSAGE", "sip:bob@example.com") if proxy else ("REGISTER", "sip:example.com")
                line = digest(text, f"{'Proxy' if proxy else 'WWW'}-Authenticate", method, uri,
                              nc=choose.randrange(1, 9), algorithm=choose.choice(("MD5", "SHA-256")),
                              name=f"{'Proxy-' * proxy}Authorization")
                return request(method, uri, alice, line, contact, callee=uri if proxy else ALICE)
            case 4:
                return request("OPTIONS", choose.choice(("sip:example.com", f"sip:{self.server.name}")), alice)
            case 5 if invites := [text for text in self.sent if text.startswith("INVITE")]:
                invite = choose.choice(invites)
                method = choose.choice(("CANCEL", "CANCEL", "ACK", "PRACK"))
                return invite.replace("INVITE ", f"{method} ", 1).replace(" INVITE\r\n", f" {method}\r\n")
            case 6 if answers := [text for text in self.seen if text.startswith("SIP/") and "Record-Route:" in text]:
                ok = choose.choice(answers)
                return request(choose.choice(("ACK", "BYE", "INVITE")), f"sip:bob@{self.bob.name}", alice,
                               *(f"Route: {route}" for route in headers(ok, "Record-Route")),
                               call_id=header(ok, "Call-ID"), cseq=2, to_tag="b1")
            case _ if self.sent:
                return choose.choice(self.sent)
        return request("INVITE", "sip:bob@example.com", alice, contact)

    def hear(self) -> None:
        """Read what has come, and answer some of it."""
        for phone in (self.alice, self.bob):
            for _ in range(200):
                try:
                    text = phone.socket.recv(70_000).decode("utf-8", "surrogateescape")
                except BlockingIOError:
                    break
                self.seen = [*self.seen[-30:], text]
                try:
                    if not text.startswith("SIP/2.0"):
                        for status in self.choose.choices(STATUSES, k=self.choose.randrange(4)):
                            self.send(phone, reply(text, status))
                    elif text[8] > "2" and header(text, "CSeq").endswith("INVITE"):
                        for invite in self.sent:
                            if invite.startswith("INVITE") and header(invite, "Call-ID") == header(text, "Call-ID"):
                                self.send(phone, ack(invite, text))
                except AssertionError:
                    continue  # a header this phone needs was mutated away

    def state(self) -> None:
        for fact in self.server.facts(0.001):
            if fact[0] == 1:
                status = self.choose.choice((200, 200, 200, 500, 403, 503, 401))
                self.server.worker.give_results([(fact[1], status, 3)])


@pytest.mark.parametrize("options", [{}, {"required": ["*"]}, {"open_relay": True, "record_route": False},
                                     {"stateless": [0]}, {"roles": {"example.com": "stateless"}, "open_relay": True},
                                     {"roles": {"example.com": "redirect"}, "open_relay": True}],
                         ids=["domain", "passwords", "relay", "stateless", "stateless-domain", "redirect"])
def test_mutated_traffic(options):
    with engine(host=HOST, timer_c=200, transactions=400, **options) as server:
        server.user("alice", "secret")
        fuzz = Fuzz(server, SEED)
        server.register("bob@example.com", f"sip:bob@{fuzz.bob.name}")
        server.register("alice@example.com", f"sip:alice@{fuzz.alice.name}", f"sip:loop@{server.name}")
        for number in range(MESSAGES):
            fuzz.send(fuzz.alice, fuzz.fresh())
            if number % 8 == 0:
                fuzz.hear()
                fuzz.state()
        fuzz.hear()
        while facts := server.facts(0.2):
            server.worker.give_results([(fact[1], 200, 0) for fact in facts if fact[0] == 1])
        assert server.settled(10), server.counters()
        phone = server.phone(HOST)
        phone.send(request("OPTIONS", f"sip:{server.name}", phone, caller="sip:x@far.invalid"))
        phone.expect("SIP/2.0 200")
        counters = server.counters()
        assert counters["dropped_malformed"] and counters["requests_out"], "it has not tried much"
