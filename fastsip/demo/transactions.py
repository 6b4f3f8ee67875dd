"""A phone's socket with the transactions of RFC 3261 17 over UDP: enough to make and take calls, also under loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import fastsip
from fastsip.demo.wire import Headers, message

T1, T2, T4 = 0.5, 4.0, 5.0

Address = tuple[str, int]
Received = fastsip.Message


class TransactionTimeout(Exception):
    """No final response came in time (RFC 3261 17.1, timers B and F)."""


class ClientTransaction:
    """One request on its way. `final` is a future of the first final response; the transaction then stays for a while
    to answer repeated ones: with the same ACK (17.1.1.3), or by `on_again` for a 2xx, which the call acknowledges."""

    def __init__(self, endpoint: Endpoint, key: tuple[str, str], data: bytes, to: Address) -> None:
        self.final: asyncio.Future[Received] = endpoint.loop.create_future()
        self.on_provisional: Callable[[Received], None] | None = None
        self.on_again: Callable[[], None] | None = None
        self._endpoint, self._key, self._data, self._to = endpoint, key, data, to
        self._invite = key[1] == "INVITE"
        self._interval = T1
        self._acknowledgement: bytes | None = None
        self._resend = endpoint.loop.call_later(T1, self._retransmit)
        self._deadline = endpoint.loop.call_later(64 * T1, self._give_up)
        endpoint.send(data, to)

    def _retransmit(self) -> None:
        self._endpoint.repeated += 1
        self._endpoint.send(self._data, self._to)
        self._interval = self._interval * 2 if self._invite else min(self._interval * 2, T2)
        self._resend = self._endpoint.loop.call_later(self._interval, self._retransmit)

    def _give_up(self) -> None:
        self._resend.cancel()
        self._endpoint.clients.pop(self._key, None)
        if not self.final.done():
            self.final.set_exception(TransactionTimeout(f"no answer to {self._key[1]}"))

    def receive(self, response: Received) -> None:
        status = response.status or 0
        if status < 200:
            if self._invite:
                self._resend.cancel()
            else:
                self._interval = T2
            if self.on_provisional is not None and not self.final.done():
                self.on_provisional(response)
            return
        if not self.final.done():
            self._resend.cancel()
            self._deadline.cancel()
            self.final.set_result(response)
            self._endpoint.loop.call_later(64 * T1 if self._invite else T4, self._give_up)
        elif status < 300 and self.on_again is not None:
            self.on_again()
        if self._invite and status >= 300:
            self._endpoint.send(self._acknowledge(response), self._to)

    def _acknowledge(self, response: Received) -> bytes:
        if self._acknowledgement is None:
            request = fastsip.parse(self._data)
            kept = [("Via", str(request.via)), ("Max-Forwards", "70"), ("From", request.headers["From"])]
            kept += [("Route", route) for route in request.headers.lines_of("Route")]
            kept += [("To", response.headers["To"]), ("Call-ID", request.call_id), ("CSeq", f"{request.cseq} ACK")]
            self._acknowledgement = message(f"ACK {request.uri} SIP/2.0", kept)
        return self._acknowledgement


class ServerTransaction:
    """One request received. The last response answers its retransmissions."""

    def __init__(self, endpoint: Endpoint, request: Received, source: Address) -> None:
        self.endpoint, self.request, self.source = endpoint, request, source
        self.status = 0
        self._last = b""
        self._interval = T1
        self._resend: asyncio.TimerHandle | None = None

    def respond(self, status: int, reason: str, tag: str, headers: Headers = (), body: str = "") -> None:
        """Send a response. A final one to an INVITE is repeated until `acknowledged` (13.3.1.4, 17.2.1)."""
        request = self.request
        to = request.headers["To"]
        if status > 100 and not request.to_tag:
            to += f";tag={tag}"
        copied = [("Via", via) for via in request.headers.lines_of("Via")]
        copied += [("Record-Route", route) for route in request.headers.lines_of("Record-Route")]
        copied += [("From", request.headers["From"]), ("To", to), ("Call-ID", request.call_id),
                   ("CSeq", request.headers["CSeq"])]
        self.status = status
        self._last = message(f"SIP/2.0 {status} {reason}", [*copied, *headers], body)
        self.repeat()
        if status >= 200:
            if request.method == "INVITE":
                self._resend = self.endpoint.loop.call_later(T1, self._retransmit)
            self.endpoint.loop.call_later(64 * T1, self.acknowledged)
            self.endpoint.loop.call_later(64 * T1, self.endpoint.forget, self)

    def repeat(self) -> None:
        if self._last:
            self.endpoint.send(self._last, self.source)

    def _retransmit(self) -> None:
        self.endpoint.repeated += 1
        self.repeat()
        self._interval = min(self._interval * 2, T2)
        self._resend = self.endpoint.loop.call_later(self._interval, self._retransmit)

    def acknowledged(self) -> None:
        """The ACK is here, or will never be: stop repeating."""
        if self._resend is not None:
            self._resend.cancel()
            self._resend = None


class Endpoint(asyncio.DatagramProtocol):
    """A UDP socket. Requests that start a transaction go to `on_request`, every ACK to `on_acknowledgement`.

    `trace`, if set, is given every message: (seconds, True if it came in, bytes). `repeated` counts what was sent again
    because no answer came in time.
    """

    on_request: Callable[[ServerTransaction], None]
    on_acknowledgement: Callable[[Received], None]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clients: dict[tuple[str, str], ClientTransaction] = {}
        self.servers: dict[tuple[str, str], ServerTransaction] = {}
        self.trace: Callable[[float, bool, bytes], None] | None = None
        self.repeated = 0
        self.host, self.port = "", 0

    @classmethod
    async def open(cls, host: str = "127.0.0.1") -> Endpoint:
        _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(host, 0))
        return endpoint

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport
        self.host, self.port = transport.get_extra_info("sockname")[:2]

    def close(self) -> None:
        self._transport.close()

    def send(self, data: bytes, to: Address) -> None:
        if self._transport.is_closing():
            return
        if self.trace is not None:
            self.trace(self.loop.time(), False, data)
        self._transport.sendto(data, to)

    def request(self, method: str, branch: str, data: bytes, to: Address) -> ClientTransaction:
        """Send a request (not ACK) whose topmost Via has `branch`."""
        key = (branch, method)
        transaction = self.clients[key] = ClientTransaction(self, key, data, to)
        return transaction

    def datagram_received(self, data: bytes, source: Address) -> None:
        if self.trace is not None:
            self.trace(self.loop.time(), True, data)
        try:
            received = fastsip.parse(data)
        except fastsip.ParseError:
            return
        if received.status:
            client = self.clients.get((received.branch or "", received.method))
            if client is not None:
                client.receive(received)
            return
        key = (received.branch or "", "INVITE" if received.method == "ACK" else received.method)
        server = self.servers.get(key)
        if received.method == "ACK":
            if server is not None:
                server.acknowledged()
            self.on_acknowledgement(received)
        elif server is not None:
            server.repeat()
        else:
            server = self.servers[key] = ServerTransaction(self, received, source)
            self.on_request(server)

    def forget(self, server: ServerTransaction) -> None:
        self.servers.pop((server.request.branch or "", server.request.method), None)

    def error_received(self, error: Exception) -> None:
        """An ICMP message: the server is not there (yet). The transaction's timers decide."""
