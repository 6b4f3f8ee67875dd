"""The whole engine under mutated traffic, in virtual time.

    python tests/fuzz/server.py --seconds 60 --seed 1     # sanitized, with coverage: what `make fuzz` runs
    python tests/fuzz/server.py --replay build/fuzz/failures/x.trace
    python tests/fuzz/server.py --shrink build/fuzz/failures/x.trace

Phones call, register and answer through an engine; whatever they send may be mutated first, and what they answer to is
what came out, so that transactions of every kind are met in every state. A run is episodes, each with an engine and
settings of its own. What is done to the engine is written down as it is done, so a crash can be repeated. It holds that

1. what the engine sends is well-formed, and goes to an address that somebody named;
2. nobody who sent only ACKs and responses is answered;
3. OPTIONS is answered, whatever happened;
4. some minutes after the last message no transaction, context, buffer or timer is left;
5. memory does not grow from episode to episode.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import hashlib
import json
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import msgpack
import msgspec

import fastsip
from fastsip.policy import ANY, BUSY, NO_ANSWER, Plan, Step, Target, fork, hunt, redirect, reject
from fastsip.policy.request import FAILURE, ROUTE, Question
from fastsip.sockets import bind_udp
from fastsip.testing.engine import SETTINGS as DEFAULTS
from fastsip.testing.engine import Device, Engine
from fuzz import build
from fuzz.mutate import LARGEST, Mutator

MESSAGES = 1500
"""Of one episode."""
QUIET = 400
"""Seconds after which nothing may be left: longer than any timer."""
HANG = 120
"""Seconds without a message after which an episode hangs."""
GROWTH = 24 << 20
"""Bytes that memory may have grown by from the third episode on."""
LEFT = ("transactions", "contexts", "buffers", "timers")
"""Counters that fall back to zero."""
NAMES = ("alice", "bob", "bob2", "carol", "gateway", "stray", "probe")


def _network() -> tuple[str, socket.socket]:
    """The first three numbers of addresses that no other run on this machine uses, and what holds them. Sockets bound
    to loopback send nowhere else, whatever a message says."""
    wanted = os.environ.get("FASTSIP_FUZZ_NETWORK")
    for number in [int(wanted)] if wanted else range(10, 100):  # always as long: so are the messages
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind((f"127.66.{number}.254", 5060))
        except OSError:
            held.close()
            continue
        return f"127.66.{number}.", held
    raise OSError("no loopback addresses are free")


NETWORK, _held = _network()
SERVER = f"{NETWORK}1"
HOSTS = {name: f"{NETWORK}{number}" for number, name in enumerate(NAMES, 2)}
STRAY = b"stray-"
STATUSES = ["100 Trying", "180 Ringing", "180 Ringing", "183 Progress", "199 Early", "200 OK", "200 OK", "200 OK",
            "202 Accepted", "302 Moved", "301 Gone", "401 No", "407 No", "408 Late", "480 Away", "486 Busy Here",
            "487 Gone", "491 Wait", "500 Oops", "503 Off", "600 Busy", "603 No", "699 Never"]  # fmt: skip
FRAMING = re.compile("CR |LF |control|^status|header line does|once|body|Content-Length")
"""In a ParseError: it is more than the value of a header."""
SETTINGS: list[dict[str, Any]] = [
    {},
    {"open_relay": False, "required": ["*"]},
    {"open_relay": False, "required": ["INVITE"], "trusted": [f"{HOSTS['gateway']}/32"], "asks": ["responses"]},
    {"asks": ["requests", "responses"], "recurse": True},
    {"asks": ["numbers", "domains"], "open_relay": False, "policy_waiting": 5, "policy_timeout": 300},
    {"record_route": False, "recurse": True, "ring_time": 3000, "trying": 200},
    {"transactions": 40, "timer_c": 200, "asks": ["requests"], "ask_methods": ["INVITE"]},
]
"""Of an episode, in turn."""


def header(text: bytes, name: str) -> bytes:
    found = re.search(rb"(?im)^%b[ \t]*:[ \t]*(.*?)\r?$" % name.encode(), text)
    return found[1] if found else b""


def headers(text: bytes, name: str) -> list[bytes]:
    return re.findall(rb"(?im)^%b[ \t]*:[ \t]*(.*?)\r?$" % name.encode(), text)


def decide(question: Question) -> Plan | object | None:
    """A plan that the question alone decides on, so that a repeated run gets the same one."""
    if question.kind not in (ROUTE, FAILURE):
        return None
    data = question.data.replace(NETWORK.encode(), b"127.66.0.")
    choose = random.Random(hashlib.blake2b(data + bytes((question.kind,))).digest())
    if choose.random() < 0.2:
        return Engine.later
    return plan(choose, failed=question.kind == FAILURE)


def plan(choose: random.Random, failed: bool = False) -> Plan | None:
    def uri() -> str:
        name = choose.choice(NAMES[:6])
        near = f"sip:{name}@{HOSTS[name]}:5060"
        far = ("sip:bob@example.com", "sip:x@nowhere.invalid", f"sip:{HOSTS[name]}:1", "tel:+1555")
        return choose.choice((near, near, f"{near};transport=udp", *far))

    def aim() -> Target:
        return Target(
            uri(),
            q=choose.choice((1.0, 0.5)),
            hop=choose.choice((None, None, uri())),
            routes=choose.choice(((), (), (f"<sip:{HOSTS['gateway']}:5060;lr>",))),
            headers=choose.choice(((), (("X-Fuzz", "1"), ("Diversion", "<sip:a@example.com>")))),
            remove=choose.choice(((), (), ("Subject", "User-Agent", "P-Asserted-Identity"))),
            try_time=choose.choice((None, None, 0.3)),
            expires=choose.choice((None, 60)),
        )

    some = [aim() for _ in range(choose.choice((1, 1, 2, 3, 9)))]
    ring = choose.choice((None, 0.5, 5.0, 30.0))
    match choose.randrange(8):
        case 0:
            return None
        case 1:
            return reject(choose.choice((404, 486, 500, 603)))
        case 2:
            return redirect(*some)
        case 3:
            return fork(*some, ring_time=ring, recurse=choose.random() < 0.5)
        case 4:
            return hunt(*some, ring_time=ring, onward=choose.choice((ANY, {BUSY, NO_ANSWER})))
    steps = [Step(tuple(some), ring_time=ring, onward=ANY, notify=choose.choice((None, 181, 182)))]
    steps += [Step((aim(),), ring_time=ring, onward={NO_ANSWER}) for _ in range(choose.randrange(3))]
    return Plan(tuple(steps), recurse=choose.random() < 0.3, on_failure=not failed and choose.random() < 0.4)


class Shim:
    """What was preloaded beside the sanitizers; without it there is no coverage, and no list of what was sent."""

    def __init__(self) -> None:
        path = os.environ.get("FASTSIP_FUZZ_SHIM")
        self._library = ctypes.CDLL(path) if path else None
        self._sent = ctypes.create_string_buffer(8 * 4096)

    def places(self) -> int:
        return int(self._library.fuzz_places()) if self._library else 0

    def sent(self) -> Iterator[tuple[str, bool]]:
        """IPv4 addresses, and whether it was a response."""
        if self._library:
            count = min(self._library.fuzz_sent(self._sent), 4096)
            for ip, _, is_response in struct.iter_unpack("4sHH", self._sent.raw[: 8 * count]):
                yield socket.inet_ntoa(ip), bool(is_response)

    def heap(self) -> int:
        """Bytes of live memory, of which a sanitizer knows the number and the system only something like it."""
        if self._library:
            count = ctypes.CDLL(None)["__sanitizer_get_current_allocated_bytes"]
            count.restype = ctypes.c_size_t
            return int(count())
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class World:
    """An engine with its phones, and what is done to them, one action after another."""

    def __init__(self, number: int, trace: TextIO | None = None) -> None:
        self.number = number
        self.trace = trace
        keys = random.Random(number)
        if trace is not None:
            trace.seek(0)
            trace.truncate()
            self._write([number, NETWORK])

        def bind(host: str, port: int) -> socket.socket:
            return bind_udp(SERVER, 5060)

        with mock.patch("os.urandom", keys.randbytes), mock.patch("fastsip.sockets.bind_udp", bind):
            self.engine = Engine(asked=self._asked, **SETTINGS[number % len(SETTINGS)])
        engine = self.engine
        self.shim = Shim()
        self.heard: list[tuple[Device, bytes]] = []
        self.later: list[int] = []
        self.facts: list[int] = []
        self.named: set[str] = {*HOSTS.values(), SERVER}
        self.phones = [engine.device(name, host, 5060) for name, host in HOSTS.items()]
        self.by_name = {phone.name: phone for phone in self.phones}
        for phone in self.phones:
            phone.on_message = self._listener(phone)
        at = {phone.name: f"sip:{phone.name}@{phone.address}" for phone in self.phones}
        engine.user("alice@example.com", "secret")
        engine.user("bob@example.com", "secret")
        engine.bind("alice@example.com", at["alice"], f"sip:loop@{engine.address}")
        engine.bind("bob@example.com", at["bob"], (at["bob2"], 0.5), (at["carol"], 0.5))
        engine.bind("carol@example.com", at["carol"] + ";transport=tcp", at["carol"], "sip:carol@nowhere.invalid")
        engine.bind("many@example.com", *(f"sip:{n}@{at[NAMES[n % 5]].partition('@')[2]}" for n in range(12)))
        engine.bind("round@example.com", "sip:bob@example.com", "sip:round@example.com")

    def _asked(self, question: Question) -> object:
        answer = decide(question)
        if answer is Engine.later:
            self.later.append(question.token)
        return answer

    def _listener(self, phone: Device) -> Callable[[str], None]:
        return lambda text: self._hear(phone, text.encode("utf-8", "surrogateescape"))

    def _hear(self, phone: Device, data: bytes) -> None:
        try:
            message = fastsip.parse(data)
        except fastsip.ParseError as error:
            if data[8:9] in (b"4", b"5") and not FRAMING.search(str(error)):
                return  # the refusal of a malformed request brings its values back as they came
            if data.startswith(b"SIP/") and error.header == "Via":
                return  # a callee made that of it; below our own, Vias pass as they come
            raise AssertionError(f"{phone.name} was sent what is no message: {error}: {data!r}") from error
        assert len(message) == len(data), f"{phone.name} was sent more than a message: {data!r}"
        if message.is_request:
            assert message.branch and message.branch.startswith("z9hG4bK"), f"a branch of another time: {data!r}"
            assert message.max_forwards is not None, f"no Max-Forwards: {data!r}"
        else:
            assert phone.name != "stray", f"an answer to an ACK or a response: {data!r}"
        self.heard = [*self.heard[-60:], (phone, data)]
        phone.received.clear()

    def _write(self, action: list[Any]) -> None:
        if self.trace is not None:
            self.trace.write(json.dumps(action) + "\n")
            self.trace.flush()

    def do(self, action: list[Any]) -> None:
        """["send", phone, text], ["wait", seconds], ["plan", which, seed], ["state", which, status],
        ["bind", aor, count], ["settings", which], ["drain"], ["finish"], or ["rest"], when nothing may be left."""
        self._write(action)
        match action:
            case ["send", int(who), str(text)]:
                data = text.encode("latin-1")
                self._name(data)
                self.phones[who].send(data)
                self.engine.settle()
            case ["wait", seconds]:
                self.engine.advance(seconds)
            case ["plan", which, seed] if self.later:
                self.engine.answer(self.later.pop(which % len(self.later)), plan(random.Random(seed)))
                self.engine.settle()
            case ["state", which, status] if self.facts:
                self.engine.worker.give_results([(self.facts.pop(which % len(self.facts)), status, 3)])
                self.engine.settle()
            case ["bind", str(aor), count]:
                names = random.Random(count).choices(NAMES[:5], k=count % 6)
                q = 1 / (1 + count % 2)
                self.engine.bind(aor, *((f"sip:{name}@{self.by_name[name].address}", q) for name in names))
            case ["settings", which]:
                changed = {"listen": [self.engine.listening], **SETTINGS[which]}
                self.engine.worker.reload(msgspec.structs.replace(DEFAULTS, **changed))
            case ["drain"]:
                self.engine.worker.drain()
            case ["finish"]:
                self.engine.worker.finish()
            case ["rest"]:
                counters = self.engine.counters()
                left = {name: counters[name] for name in LEFT if counters[name]}
                assert not left, f"this is left: {left}"
        self._facts()
        self._sent()

    def _facts(self) -> None:
        count, facts = self.engine.worker.take_facts()
        if count:
            unpacker = msgpack.Unpacker()
            unpacker.feed(facts)
            self.facts += [fact[1] for fact in unpacker if fact[0] == 1]

    def _name(self, data: bytes) -> None:
        self.named.update(found[1].decode() for found in re.finditer(rb"(?=\b(\d+\.\d+\.\d+\.\d+))", data))

    def _sent(self) -> None:
        for ip, is_response in self.shim.sent():
            if ip != "0.0.0.0":
                assert ip in self.named, f"something was sent to {ip}, which nobody named"
                assert not is_response or ip in (*HOSTS.values(), SERVER), f"a response went to {ip}"

    def options(self) -> None:
        """OPTIONS is answered."""
        probe = self.by_name["probe"]
        self.heard.clear()
        text = (f"OPTIONS sip:{self.engine.address} SIP/2.0\r\nVia: SIP/2.0/UDP {probe.address};branch=z9hG4bK-"
                f"o{self.engine.now}\r\nMax-Forwards: 70\r\nFrom: <sip:x@far.invalid>;tag=1\r\nTo: <sip:"
                f"{self.engine.address}>\r\nCall-ID: o{self.engine.now}\r\nCSeq: 1 OPTIONS\r\n\r\n")  # fmt: skip
        self.do(["send", self.phones.index(probe), text])
        for _ in range(100):
            if any(phone is probe and data.startswith(b"SIP/2.0 ") for phone, data in self.heard):
                return
            if self.later:
                self.do(["plan", 0, 1])
            self.do(["wait", 0.1])
        raise AssertionError("OPTIONS is not answered")

    def rest(self) -> None:
        """After a while nothing is left."""
        while self.facts:
            self.do(["state", 0, 200])
        self.do(["wait", QUIET])
        self.do(["rest"])

    def close(self) -> None:
        left = self.engine.close()
        assert not any(left.values()), f"this was left at the end: {left}"


class Fuzz:
    """Who decides what the phones do next."""

    def __init__(self, world: World, pool: list[bytes]) -> None:
        self.world = world
        self.choose = random.Random(world.number)
        self.mutator = Mutator(self.choose)
        self.pool = pool
        """Messages that reached code nobody had reached before; they go on from one episode to the next."""
        self.sent: list[tuple[int, bytes]] = []
        self.count = 0

    def turn(self) -> None:
        """Send something, or let time pass."""
        choose, world = self.choose, self.world
        what = choose.random()
        if what < 0.003:
            world.do(["settings", choose.randrange(len(SETTINGS))])
        elif what < 0.006:
            world.do(["bind", choose.choice(("bob", "carol", "many")) + "@example.com", choose.randrange(100)])
        elif what < 0.04:
            world.do(["wait", choose.choice((0, 0.01, 0.1, 0.5, 0.6, 4, 33))])
        elif what < 0.08 and world.later:
            world.do(["plan", choose.randrange(100), choose.randrange(1 << 30)])
        elif what < 0.16 and world.facts:
            world.do(["state", choose.randrange(100), choose.choice((200, 200, 200, 500, 403, 503, 401, 423))])
        elif what < 0.22:
            self._stray()
        elif what < 0.6 and world.heard:
            self._react(*choose.choice(world.heard))
        else:
            who, data = self._fresh()
            self._send(who, data)

    def _send(self, who: int, data: bytes, odds: float = 0.55) -> None:
        choose, world = self.choose, self.world
        if choose.random() < odds:
            self.mutator.splices = self.pool[-60:] + [text for _, text in self.sent]
            data = self.mutator.mutate(data)
        places = world.shim.places()
        for _ in range(choose.choice((1,) * 12 + (2, 3))):
            world.do(["send", who, data[:LARGEST].decode("latin-1")])
        if world.shim.places() > places:
            self.pool[:] = [*self.pool[-400:], data]
        self.sent = [*self.sent[-40:], (who, data)]

    def _fresh(self) -> tuple[int, bytes]:
        choose = self.choose
        who = choose.randrange(5)
        match choose.randrange(12):
            case 0 | 1 if self.sent:  # once more, perhaps by somebody else
                old, data = choose.choice(self.sent)
                return choose.choice((old, old, who)), data
            case 2 if self.pool:
                return who, choose.choice(self.pool)
            case 3 | 4 | 5 if invites := [one for one in self.sent if one[1].startswith(b"INVITE ")]:
                old, invite = choose.choice(invites)
                other = choose.choice((b"CANCEL", b"CANCEL", b"ACK", b"PRACK", b"BYE", b"INVITE", b"UPDATE"))
                text = invite.replace(b"INVITE ", other + b" ", 1).replace(b" INVITE\r\n", b" " + other + b"\r\n")
                if choose.random() < 0.2:  # with the branch of another
                    branch = re.search(rb"branch=[\w-]+", choose.choice(invites)[1])
                    text = re.sub(rb"branch=[\w-]+", lambda _: branch[0] if branch else b"", text, count=1)
                return old, text
        methods = ("INVITE", "INVITE", "INVITE", "MESSAGE", "SUBSCRIBE", "REGISTER", "OPTIONS", "ODD", "BYE")
        return who, self._request(who, choose.choice(methods))

    def _request(self, who: int, method: str) -> bytes:
        choose, phone = self.choose, self.world.phones[who]
        self.count += 1
        number = self.count if choose.random() < 0.85 else choose.randrange(1, self.count + 1)  # some collide
        users = [f"sip:{name}@example.com" for name in ("bob", "bob", "many", "carol", "round", "nobody")]
        others = [f"sip:carol@{self.world.by_name['carol'].address}", f"sip:{self.world.engine.address}"]
        uri = choose.choice([*users, *others, "tel:+15551234", "sip:example.com", "sip:x@nowhere.invalid"])
        caller = f"sip:{phone.name}@example.com"
        if method == "REGISTER":
            uri, callee = "sip:example.com", caller
        else:
            callee = uri
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {phone.address};branch=z9hG4bK-{number}{choose.choice(('', ';rport'))}",
            f"Max-Forwards: {choose.choice((70, 70, 70, 3, 1, 0))}",
            f"From: <{caller}>;tag=f{number}",
            f"To: <{callee}>{choose.choice(('', '', '', '', f';tag=t{number}'))}",
            f"Call-ID: call-{number}",
            f"CSeq: {choose.choice((1, 1, 1, 2, number))} {method}",
            f"Contact: <sip:{phone.name}@{phone.address}>;q=0.5;expires=100",
        ]
        for line, odds in (("Expires: 200", 0.3), ("Contact: *", 0.03), ("Supported: path, 100rel", 0.1),
                           ("Require: 100rel", 0.02), ("Proxy-Require: x", 0.02), ("Timestamp: 54", 0.1),
                           ("Max-Breadth: 4", 0.1), ("Privacy: id", 0.05), ("Subject: x", 0.2),
                           (f"Route: <sip:{self.world.engine.address};lr>", 0.1),
                           (f"Route: <sip:{HOSTS['gateway']}:5060;lr>", 0.05)):  # fmt: skip
            if choose.random() < odds:
                lines.append(line)
        if choose.random() < 0.3 and (answer := self._credentials(method, uri)):
            lines.append(answer)
        body = choose.choice(("", "v=0\r\no=- 1 1 IN IP4 127.66.0.2\r\n"))
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode("latin-1")

    def _credentials(self, method: str, uri: str) -> str | None:
        challenges = [data for _, data in self.world.heard if b"-Authenticate:" in data]
        if not challenges:
            return None
        text = self.choose.choice(challenges).decode("latin-1")
        found = dict(re.findall(r'(\w+)="([^"]*)"', text))
        algorithm = "sha256" if "SHA-256" in text else "md5"

        def digest(value: str) -> str:
            return hashlib.new(algorithm, value.encode("latin-1")).hexdigest()

        realm, nonce = found.get("realm", ""), found.get("nonce", "")
        count = self.choose.randrange(1, 5)
        first, second = digest(f"alice:{realm}:secret"), digest(f"{method}:{uri}")
        answer = digest(f"{first}:{nonce}:{count:08x}:c:auth:{second}")
        name = "Proxy-Authorization" if "Proxy-Auth" in text else "Authorization"
        said = f'{name}: Digest username="alice", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{answer}"'
        written = "SHA-256" if algorithm == "sha256" else "MD5"
        return f'{said}, algorithm={written}, qop=auth, nc={count:08x}, cnonce="c"'

    def _react(self, phone: Device, data: bytes) -> None:
        """What a phone says to what it heard."""
        choose = self.choose
        who = self.world.phones.index(phone)
        if STRAY in data or phone.name in ("stray", "probe"):
            return
        if not data.startswith(b"SIP/2.0 "):
            if not data.startswith(b"ACK "):
                for status in choose.choices(STATUSES, k=choose.randrange(1, 4)):
                    self._send(who, self._reply(phone, data, status), 0.35)
            return
        sequence = header(data, "CSeq").split()
        if len(sequence) == 2 and data[8:9] > b"1":
            method = b"ACK" if sequence[1] == b"INVITE" else choose.choice((b"BYE", b"INVITE", b"MESSAGE", b"UPDATE"))
            contact = re.search(rb"<(sip:[^>]*)>", header(data, "Contact"))
            lines = [
                method + b" " + (contact[1] if contact else b"sip:bob@example.com") + b" SIP/2.0",
                b"Via: " + (headers(data, "Via") or [b""])[-1],
                *(b"Route: " + route for route in reversed(headers(data, "Record-Route"))),
                b"Max-Forwards: 70",
                b"From: " + header(data, "From"),
                b"To: " + header(data, "To"),
                b"Call-ID: " + header(data, "Call-ID"),
                b"CSeq: " + sequence[0] + b" " + method,
            ]
            self._send(who, b"\r\n".join([*lines, b"Content-Length: 0", b"", b""]), 0.3)

    def _reply(self, phone: Device, request: bytes, status: str) -> bytes:
        to = header(request, "To")
        if b"tag=" not in to and self.choose.random() < 0.95:
            to += b";tag=%d" % self.choose.randrange(3)
        lines = [
            b"SIP/2.0 " + status.encode(),
            *(b"Via: " + via for via in headers(request, "Via")),
            *(b"Record-Route: " + route for route in headers(request, "Record-Route")),
            b"From: " + header(request, "From"),
            b"To: " + to,
            b"Call-ID: " + header(request, "Call-ID"),
            b"CSeq: " + header(request, "CSeq"),
            b"Contact: <sip:%b@%b>" % (phone.name.encode(), phone.address.encode()),
        ]
        if status.startswith("30"):
            other = self.choose.choice(NAMES[:5])
            lines.append(f"Contact: <sip:{other}@{HOSTS[other]}:5060>;q=0.7, <sip:bob@example.com>".encode())
        if status[:3] in ("401", "407"):
            lines.append(b'WWW-Authenticate: Digest realm="x", nonce="1"')
            lines.append(b'Proxy-Authenticate: Digest realm="y", nonce="2"')
        return b"\r\n".join([*lines, b"Content-Length: 0", b"", b""])

    def _stray(self) -> None:
        """An ACK or a response out of nowhere, or with a branch that lives here. Its sender is never answered."""
        choose = self.choose
        stray = self.world.by_name["stray"]
        who = self.world.phones.index(stray)
        self.count += 1
        start = choose.choice((b"ACK sip:bob@example.com SIP/2.0", b"SIP/2.0 200 OK", b"SIP/2.0 487 Gone"))
        via = f"SIP/2.0/UDP {stray.address};branch=z9hG4bK-s{self.count}".encode()
        branches = [header(data, "Via") for _, data in self.world.heard if not data.startswith(b"SIP/")]
        if branches and choose.random() < 0.5 and start.startswith(b"SIP/"):
            via = choose.choice(branches) + b", " + via
        method = b"ACK" if start.startswith(b"ACK") else choose.choice((b"INVITE", b"MESSAGE", b"ACK", b"CANCEL"))
        lines = [
            start, b"Via: " + via, b"Max-Forwards: 70", b"From: <sip:stray@example.com>;tag=s",
            b"To: <sip:bob@example.com>" + choose.choice((b"", b";tag=t1")), b"Call-ID: %b%d" % (STRAY, self.count),
            b"CSeq: 1 " + method, b"Content-Length: 0", b"", b"",
        ]  # fmt: skip
        data = b"\r\n".join(lines)
        self.mutator.splices = []
        if choose.random() < 0.6:
            data = self.mutator.mutate(data, keep=12)
        self.world.do(["send", who, data.decode("latin-1")])


def _go_on() -> None:
    """Called while an episode runs; if it is not for long, the process ends and says where it was."""
    faulthandler.dump_traceback_later(HANG, exit=True)


def episode(
    number: int,
    pool: list[bytes],
    messages: int,
    trace: TextIO | None = None,
    going_on: Callable[[], None] = lambda: None,
) -> None:
    """One engine from its beginning to its end."""
    world = World(number, trace)
    try:
        fuzz = Fuzz(world, pool)
        for count in range(1, messages + 1):
            if count % 50 == 0:
                going_on()
            fuzz.turn()
            if count % 250 == 0:
                world.options()
        world.rest()
        if number % 3 == 0:
            world.do(["drain"])
            for _ in range(40):
                fuzz.turn()
            world.do(["finish"])
        world.options()
        world.rest()
    except BaseException:
        world.engine.close()
        raise
    world.close()


def replay(actions: list[list[Any]]) -> None:
    world = World(actions[0][0])
    try:
        for action in actions[1:]:
            world.do(action)
        world.options()
        world.rest()
    except BaseException:
        world.engine.close()
        raise
    world.close()


def fuzz_for(seconds: float, seed: int, messages: int, trace: TextIO) -> str:
    """Episodes until the time is over; what came of it, in one line."""
    begun, done, pool = time.monotonic(), 0, list[bytes]()
    shim, heap = Shim(), 0
    while time.monotonic() - begun < seconds:
        episode(seed + done, pool, messages, trace, _go_on)
        done += 1
        gc.collect()
        if done <= 3:
            heap = max(heap, shim.heap())
        size, rate = shim.heap(), done * messages / (time.monotonic() - begun)
        assert size - heap < GROWTH, f"memory grew from {heap >> 10} to {size >> 10} KB in {done} episodes"
        print(
            f"seed {seed + done - 1}: {done * messages} messages, {rate:.0f}/s, {shim.places()} places reached, "
            f"{len(pool)} messages kept, heap {size >> 10} KB",
            flush=True,
        )
    return f"{done} episodes, {done * messages} messages in {time.monotonic() - begun:.0f} s, {shim.places()} places"


def _child(arguments: argparse.Namespace) -> None:
    if arguments.replay:
        text = arguments.replay.read_text()
        replay([json.loads(line) for line in text.replace(json.loads(text.split("\n")[0])[1], NETWORK).splitlines()])
        print("nothing is wrong with it")
        return
    with arguments.trace.open("w+") as trace:
        print(fuzz_for(arguments.seconds, arguments.seed, arguments.messages, trace))


def _spawn(environment: dict[str, str], *more: str, quiet: bool = False) -> int:
    _held.close()
    command = [sys.executable, str(Path(__file__)), "--inside", *more]
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, env={**os.environ, **environment}, stdout=sink, stderr=sink).returncode


def shrink(path: Path, environment: dict[str, str]) -> Path:
    """The same failure with fewer actions, as far as leaving some out does it."""
    lines = path.read_text().splitlines()
    small = path.with_suffix(".small")
    step = len(lines) // 2
    while step:
        at = 1
        while at < len(lines):
            fewer = lines[:at] + lines[at + step :]
            small.write_text("\n".join(fewer) + "\n")
            if len(fewer) > 1 and _spawn(environment, "--replay", str(small), quiet=True):
                lines = fewer
            else:
                at += step
        step //= 2
    small.write_text("\n".join(lines) + "\n")
    return small


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20))
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of one episode")
    parser.add_argument("--replay", type=Path, help="do once more what is written in this file")
    parser.add_argument("--shrink", type=Path, help="leave out of this file what its failure does not need")
    parser.add_argument("--plain", action="store_true", help="the usual build, without sanitizers and coverage")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        _child(arguments)
        return 0
    try:
        environment = {} if arguments.plain else build.server()[1]
    except build.Missing as error:
        print(error, file=sys.stderr)
        return 2
    if path := arguments.shrink or arguments.replay:  # plans and keys depend on the addresses
        environment["FASTSIP_FUZZ_NETWORK"] = json.loads(path.read_text().split("\n")[0])[1].split(".")[2]
    if arguments.shrink:
        print(shrink(arguments.shrink, environment))
        return 0
    if arguments.replay:
        return _spawn(environment, "--replay", str(arguments.replay))
    failures = build.FUZZ / "failures"
    failures.mkdir(parents=True, exist_ok=True)
    trace = failures / f"server-{arguments.seed}-{os.getpid()}.trace"
    print(f"server: {arguments.seconds:.0f} s from seed {arguments.seed}", flush=True)
    options = [f"--{name}={getattr(arguments, name)}" for name in ("seconds", "seed", "messages")]
    status = _spawn(environment, *options, f"--trace={trace}")
    if status:
        print(f"FAILED; once more with: python tests/fuzz/server.py --replay {trace}", file=sys.stderr)
        return 1
    trace.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
