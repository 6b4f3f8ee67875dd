"""Both ends of TLS connections in one thread: ours, and Python's ssl module as a peer of independent make."""

from __future__ import annotations

import dataclasses
import socket
import ssl
from collections.abc import Sequence

from certificates import Authority, Pair

from fastsip._tls import DONE, FAILED, WANT_READ, Connection, TlsContexts

SECRET = bytes(range(48))


@dataclasses.dataclass
class Setup:
    """launch.TlsSetup, with a secret."""

    certificates: Sequence[Pair] = ()
    ca_file: str | None = None
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    verify_client: str = "no"
    verify_server: bool = True
    minimum: str = "1.2"
    ciphers: str = ""
    suites: str = ""
    tickets: bool = True
    ticket_secret: bytes = SECRET
    ticket_lifetime: int = 7200


def pair(buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        if buffer:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    return ends


def client_context(authority: Authority | None, version: str = "", own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = authority is not None
    context.verify_mode = ssl.CERT_REQUIRED if authority else ssl.CERT_NONE
    if authority:
        context.load_verify_locations(authority.file)
    return _with(context, version, own)


def server_context(own: Pair, version: str = "", clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.file)
    return _with(context, version, own)


def _with(context: ssl.SSLContext, version: str, own: Pair | None) -> ssl.SSLContext:
    if own:
        context.load_cert_chain(*own)
    if version:
        context.minimum_version = context.maximum_version = ssl.TLSVersion[f"TLSv{version.replace('.', '_')}"]
    return context


class Both:
    """`ours` on one end of a pair of sockets, Python's `theirs` on the other."""

    def __init__(
        self,
        contexts: TlsContexts,
        peer: ssl.SSLContext,
        *,
        name: str | None = "sip.example.com",
        accepts: bool = True,
        session: ssl.SSLSession | None = None,
        buffer: int = 0,
    ) -> None:
        self.sockets = pair(buffer)
        self.ours: Connection
        if accepts:
            self.ours = contexts.accept(self.sockets[0].fileno())
            self.theirs = peer.wrap_socket(
                self.sockets[1], server_hostname=name, do_handshake_on_connect=False, session=session
            )
        else:
            self.ours = contexts.connect(self.sockets[0].fileno(), name)
            self.theirs = peer.wrap_socket(self.sockets[1], server_side=True, do_handshake_on_connect=False)
        self.error: ssl.SSLError | OSError | None = None
        """Why the peer's handshake failed."""

    def shake(self) -> int:
        """What came of ours; `error` is what came of the peer's."""
        outcome, theirs = WANT_READ, False
        for _ in range(50):
            outcome = outcome if outcome in (DONE, FAILED) else self.ours.handshake()
            if not theirs and not self.error:
                try:
                    self.theirs.do_handshake()
                    theirs = True
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except (ssl.SSLError, OSError) as error:
                    self.error = error
                    self.theirs.close()
            if outcome in (DONE, FAILED) and (theirs or self.error):
                break
            if outcome == FAILED:
                self.sockets[0].shutdown(socket.SHUT_RDWR)
        return outcome

    def say(self, data: bytes = b"OPTIONS sip:a SIP/2.0\r\n\r\n") -> None:
        """There and back again. Tickets of TLS 1.3 come on the way."""
        assert self.ours.write(data) == len(data)
        assert self.receive() == data
        assert self.theirs.send(data) == len(data)
        assert self.read() == data

    def receive(self, size: int = 1 << 16) -> bytes | None:
        try:
            return self.theirs.recv(size)
        except ssl.SSLWantReadError:
            return None

    def read(self, size: int = 1 << 16) -> bytes | int:
        return self.ours.read(size)

    def close(self) -> None:
        self.ours.free()
        self.theirs.close()
        self.sockets[0].close()

