"""One worker's engine in this process, on real loopback sockets, without master or state process.

A test is the phones: it sends datagrams and reads what comes back. Bindings and users go into the segment directly.
Timers are short, so that a whole INVITE transaction with its waiting states is over in a second.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgpack
import msgspec

from fastsip import sockets
from fastsip._control import ControlView, control_format, control_size
from fastsip._digest import table_size
from fastsip._location import (
    RECORD_BINDINGS,
    RECORD_USER,
    SegmentWriter,
    encode_bindings,
    encode_user,
    segment_format,
    segment_size,
)
from fastsip._transport import SLOTS_SIZE
from fastsip._worker import Worker
from fastsip.auth import ha1_md5, ha1_sha256
from fastsip.launch import ListenerSetup, Settings, WorkerSetup

T1 = 20
SETTINGS = Settings(
    domains=["example.com"],
    listen=[],
    realm=None,
    required=[],
    algorithms=["SHA-256", "MD5"],
    trusted=[],
    open_relay=False,
    record_route=True,
    udp_max=1300,
    min_expires=60,
    max_expires=3600,
    max_contacts=10,
    t1=T1,
    t2=4 * T1,
    t4=5 * T1,
    timer_c=60_000,
    transactions=10_000,
    drain_timeout=1000,
)


class Phone:
    """A UDP socket on loopback that speaks in whole datagrams."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(2)
        self.host, self.port = self.socket.getsockname()[:2]
        self.name = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.proxy: tuple[str, int] = ("", 0)
        self.expected: set[str] = set()

    def send(self, text: str | bytes) -> None:
        self.socket.sendto(text if isinstance(text, bytes) else text.encode(), self.proxy)

    def receive(self, timeout: float = 2) -> str:
        self.socket.settimeout(timeout)
        return self.socket.recv(70_000).decode("utf-8", "surrogateescape")

    def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for that long."""
        try:
            self.receive(seconds)
        except TimeoutError:
            return True
        return False

    def expect(self, start: str, timeout: float = 2) -> str:
        """The next message, which must begin so; 100 Trying is passed over unless asked for, and so is what came before
        and comes once more: timers here are shorter than a busy machine is slow."""
        while True:
            message = self.receive(timeout)
            if message.startswith("SIP/2.0 100") and not start.startswith("SIP/2.0 100"):
                continue
            if message in self.expected and not message.startswith(start):
                continue
            assert message.startswith(start), message
            self.expected.add(message)
            return message


class Engine:
    """A running worker engine. `facts` are what it told the state process that is not there."""

    def __init__(
        self, host: str = "127.0.0.1", advertise: str | None = None, and_listen: str | None = None, **settings: object
    ) -> None:
        control, rings, slots, segment, nonces = (
            os.memfd_create(n) for n in ("control", "rings", "slots", "seg", "non")
        )
        os.ftruncate(control, control_size())
        control_format(control, 1, os.urandom(80))
        os.ftruncate(slots, SLOTS_SIZE)
        os.ftruncate(segment, segment_size())
        segment_format(segment, control)
        os.ftruncate(nonces, table_size())
        self.control = ControlView(control)
        self.segment = SegmentWriter(segment, control)
        self.listener = sockets.bind_udp(host, 0)
        self.host, self.port = self.listener.getsockname()[:2]
        wake = os.eventfd(0, os.EFD_NONBLOCK)
        self.listeners = [self.listener] + ([sockets.bind_udp(and_listen, 0)] if and_listen else [])
        bound = [listener.getsockname()[:2] for listener in self.listeners]
        self.second = bound[-1]
        names = bound + ([(advertise, self.port)] if advertise else [])
        values = {"listen": names, **settings}
        setup = WorkerSetup(
            index=0,
            workers=1,
            incarnation=1,
            listeners=[
                ListenerSetup(
                    fd=listener.fileno(),
                    index=index,
                    transport="udp",
                    host=bound[index][0],
                    port=bound[index][1],
                    advertise=advertise,
                )
                for index, listener in enumerate(self.listeners)
            ],
            control_fd=control,
            rings_fd=rings,
            slots_fd=slots,
            segment_fd=segment,
            nonces_fd=nonces,
            wake_fds=[wake],
            state_endpoint="",
            settings=msgspec.structs.replace(SETTINGS, **values),
        )
        self.worker = Worker(setup)
        self.address = ("127.0.0.1" if self.host == "0.0.0.0" else self.host, self.port)
        self.name = f"{self.address[0]}:{self.port}"
        self.thread = threading.Thread(target=self.worker.run, daemon=True)
        self.thread.start()
        self.phones: list[Phone] = []
        self._fds = (control, rings, slots, segment, nonces, wake)

    def phone(self, host: str = "127.0.0.1") -> Phone:
        phone = Phone(host)
        phone.proxy = self.address
        self.phones.append(phone)
        return phone

    def register(self, aor: str, *uris: str, q: int = 1000) -> None:
        """Bindings, as if the state process had applied them."""
        now = int(time.time() * 1000)
        source = (4, bytes([127, 0, 0, 1]) + bytes(12), 5060)
        bindings = [(uri.encode(), b"reg", b"", b"", q, 1, source, 1, 0, now + 60_000, now, 0) for uri in uris]
        self.segment.put(RECORD_BINDINGS, aor.encode(), encode_bindings(1, bindings))

    def user(self, name: str, password: str, realm: str = "example.com") -> None:
        value = encode_user(ha1_md5(name, realm, password).encode(), ha1_sha256(name, realm, password).encode())
        self.segment.put(RECORD_USER, f"{name}@{realm}".encode(), value)

    def facts(self, timeout: float = 1) -> list[list[object]]:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            count, facts = self.worker.take_facts()
            if count:
                unpacker = msgpack.Unpacker()
                unpacker.feed(facts)
                return list(unpacker)
            time.sleep(0.005)
        return []

    def counters(self) -> dict[str, int]:
        return self.control.counters(0)

    def settled(self, timeout: float = 6) -> bool:
        """Whether transactions, contexts, buffers and timers all fall back to zero."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            time.sleep(0.02)  # the numbers of a turn are published at its end, after what it sent
            c = self.counters()
            if not (c["transactions"] or c["contexts"] or c["buffers"] or c["timers"]):
                return True
        return False

    def close(self) -> dict[str, int]:
        self.worker.stop()
        self.thread.join(2)
        assert not self.thread.is_alive()
        left = self.worker.close()
        for phone in self.phones:
            phone.socket.close()
        for listener in self.listeners:
            listener.close()
        for fd in self._fds:
            os.close(fd)
        return left


@contextmanager
def engine(**options: object) -> Iterator[Engine]:
    """An engine that must end with nothing left of what it held."""
    made = Engine(**options)  # type: ignore[arg-type]
    try:
        yield made
        assert made.settled(), made.counters()
    finally:
        left = made.close()
    assert not any(left.values()), left


_numbers = iter(range(1, 1 << 30))


def request(
    method: str,
    uri: str,
    phone: Phone,
    *extra: str,
    caller: str = "sip:alice@example.com",
    callee: str = "sip:bob@example.com",
    call_id: str | None = None,
    cseq: int = 1,
    branch: str | None = None,
    from_tag: str = "a1",
    to_tag: str = "",
    via: str | None = None,
    max_forwards: int | None = 70,
    body: str = "",
) -> str:
    """A request as a phone writes it."""
    number = next(_numbers)
    lines = [
        f"{method} {uri} SIP/2.0",
        via or f"Via: SIP/2.0/UDP {phone.name};branch={branch or f'z9hG4bK-{number}'}",
        f"From: <{caller}>;tag={from_tag}",
        f"To: <{callee}>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call_id or f'call-{number}@{phone.host}'}",
        f"CSeq: {cseq} {method}",
        *extra,
        f"Content-Length: {len(body)}",
    ]
    if max_forwards is not None:
        lines.insert(2, f"Max-Forwards: {max_forwards}")
    return "\r\n".join(lines) + "\r\n\r\n" + body


def header(message: str, name: str) -> str:
    """The first value of a header, by its long name."""
    found = re.search(rf"^{name}:[ \t]*(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)
    assert found, f"no {name} in\n{message}"
    return found.group(1)


def headers(message: str, name: str) -> list[str]:
    return re.findall(rf"^{name}:[ \t]*(.*?)\r$", message, re.MULTILINE | re.IGNORECASE)


def reply(message: str, status: str, *extra: str, to_tag: str = "b1") -> str:
    """The response a phone gives to a request it received."""
    lines = [f"SIP/2.0 {status}"]
    lines += [f"Via: {v}" for v in headers(message, "Via")]
    lines += [f"Record-Route: {v}" for v in headers(message, "Record-Route")]
    to = header(message, "To")
    if "tag=" not in to and not status.startswith("100"):
        to += f";tag={to_tag}"
    lines += [f"From: {header(message, 'From')}", f"To: {to}"]
    lines += [f"Call-ID: {header(message, 'Call-ID')}", f"CSeq: {header(message, 'CSeq')}", *extra]
    return "\r\n".join([*lines, "Content-Length: 0", "", ""])


def ack(invite: str, response: str) -> str:
    """The ACK of a non-2xx answer: same branch, To of the answer."""
    lines = [
        re.sub(r"^INVITE (\S+)", r"ACK \1", invite.split("\r\n")[0]),
        f"Via: {header(invite, 'Via')}",
        "Max-Forwards: 70",
        f"From: {header(invite, 'From')}",
        f"To: {header(response, 'To')}",
        f"Call-ID: {header(invite, 'Call-ID')}",
        f"CSeq: {header(invite, 'CSeq').split()[0]} ACK",
    ]
    return "\r\n".join([*lines, "Content-Length: 0", "", ""])
