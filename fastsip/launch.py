"""What the master hands a child when it starts it, and the channel on which they talk after that.

A child is spawned (never forked) with two inherited descriptors: a pipe that holds its setup as JSON, and one end of a
Unix stream socket pair, the channel. The channel carries JSON objects, one a line, and descriptors beside them
(SCM_RIGHTS). When it reads end-of-file the master is gone and the child ends.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Literal

import msgspec


class ListenerSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bound socket of one worker. `index` is the listen address's place in the configuration."""

    fd: int
    index: int
    transport: str
    host: str
    port: int
    advertise: str | None = None
    wildcard: bool = False


class GatewayAddress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a gateway is, as workers know it."""

    slot: int
    """In the target table (ext/targets.h)."""
    host: str
    """A numeric address, IPv6 without brackets."""
    port: int
    trusted: bool = False
    transport: str = "udp"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What workers follow and SIGHUP may change. Times are milliseconds unless the name says otherwise."""

    domains: list[str]
    listen: list[tuple[str, int]]
    """Host and port of every listen address, advertised ones too: the names this server answers to."""
    realm: str | None
    required: list[str]
    """Methods challenged from local users; "*" for every one that can be."""
    algorithms: list[str]
    trusted: list[str]
    """Networks never challenged, as CIDR."""
    open_relay: bool
    """Loopback development mode: no passwords asked, requests to anywhere relayed."""
    record_route: bool
    udp_max: int
    min_expires: int
    max_expires: int
    max_contacts: int
    t1: int
    t2: int
    t4: int
    timer_c: int
    transactions: int
    drain_timeout: int
    nonce_lifetime: int = 300
    server: str = ""
    listen_names: list[str] = []
    """What is written in Via and Record-Route, by listen address: "sip.example.com:5061"; "" for its address."""
    tls_alias: bool = False
    """Whether peers may send requests by the TLS connections opened to them (RFC 5923)."""
    trying: int = 0
    """What an INVITE may wait for another answer before it is sent a 100; 0: to the end of the turn."""
    asks: list[str] = []
    """What the policy thread is asked about: "requests" (every one outside a dialog), "numbers" (those to an own
    address nobody has), "domains" (those to somebody else's), "responses" (is shown every one that goes upstream)."""
    ask_methods: list[str] = msgspec.field(default_factory=lambda: ["*"])
    """Methods of "requests"."""
    policy_timeout: int = 5000
    policy_waiting: int = 10_000
    """Requests that may wait for the policy thread at the same time; beyond it they get 503."""
    ring_time: int = 20_000
    """How long contacts of one q may ring before those of a lower one are tried."""
    recurse: bool = False
    """Follow 3xx of registered contacts."""
    dns_timeout: int = 3000
    """What a request may wait for the servers of its next hop."""
    dns_try_time: int = 4000
    """How long a server of a name may say nothing at all before the next one is tried."""
    roles: dict[str, str] = {}
    """Domains this server is no stateful proxy to: "redirect" (RFC 3261 8.3) or "stateless" (16.11)."""
    nat_contact: Literal["auto", "always", "off"] = "auto"
    """Whether who registers by UDP is reached where his REGISTER came from: if he says that he is elsewhere, always,
    never."""
    flow_timer: int = 120
    """Seconds between two keep-alives of a connection that clients are told (RFC 5626 9); 0 for nothing."""
    keep: int = 25
    """The same by UDP, for those who ask (RFC 6223)."""
    ping: int = 0
    """Between two OPTIONS to clients behind a NAT who registered by UDP; 0 for none."""
    path_supported: bool = True
    """A Path from a client that does not support it is refused (RFC 3327 5.3)."""
    service_route: list[str] = []
    """Route values for the 200 to a REGISTER (RFC 3608)."""
    stateless: list[int] = []
    """Listen addresses, by their place, where whatever comes is forwarded statelessly."""
    gateways: list[GatewayAddress] = []


class TlsSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What _tls.TlsContexts is made of; its stub says what each means."""

    certificates: list[tuple[str, str]] = []
    ca_file: str | None = None
    files: dict[str, bytes] = {}
    verify_client: str = "no"
    verify_server: bool = True
    minimum: str = "1.2"
    ciphers: str = ""
    suites: str = ""
    tickets: bool = True
    ticket_secret: bytes = b""
    ticket_lifetime: int = 7200


class GatewaySetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One gateway, by its slot in the target table (ext/targets.h), which it keeps while the server runs."""

    slot: int
    name: str
    uri: str
    weight: int
    trusted: bool
    probe: float
    """Seconds between two OPTIONS, 0 for none."""
    try_time: float
    calls: int = 0
    """Open calls at most, 0 for any number."""


class RouteSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the dial plan."""

    gateways: list[list[str]]
    prefix: str | None = None
    regex: str | None = None
    domain: str | None = None
    strip: int = 0
    add: str = ""
    shortest: int = 0
    """Digits a number must have: 484 below."""
    context: str | None = None
    """phone-context of the local numbers it is for, in the one form of `fastsip.routes.numbers`; None: numbers without
    one, or with one of this server's domains."""


class DnsSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How SIP servers are located (fastsip/dns): the `dns` table of the configuration. Times are seconds."""

    servers: list[str] = []
    """Name servers, "192.0.2.53" or "[2001:db8::53]:53", in the order they are asked; none: those of /etc/resolv.conf,
    which is read again when it changes."""
    timeout: float = 3.0
    """For all questions of one locate together."""
    prefer: Literal["ipv4", "ipv6"] = "ipv4"
    """Which addresses of a host are tried first."""
    naptr: bool = True
    """Whether NAPTR records are asked for (RFC 3263 4.1)."""
    cache: int = 10_000
    """Answers kept at most, and as many located hops."""
    min_ttl: float = 1.0
    max_ttl: float = 86_400.0
    negative_ttl: float = 60.0
    """How long "there is none" is believed at most, whatever the SOA says (RFC 2308)."""
    try_time: float = 4.0
    """For a server's first answer, before the next one of its name is tried."""
    stale: float = 86_400.0
    """How long after its time an answer may be used while no name server answers (RFC 8767); 0: not at all."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of one Python module."""

    name: str
    file: str
    package: bool
    text: bytes
    namespace: bool = False
    """A package without a file: `file` is its folder."""


class PolicySetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the policy thread decides by; SIGHUP replaces it whole."""

    module: str | None = None
    folder: str = ""
    """Where the module is looked for first: the configuration's folder."""
    sources: list[Source] = []
    """What the module was when it was looked over; none: what is on the disk."""
    domains: list[str] = []
    """This server's, the default one first; listen addresses too."""
    gateways: list[GatewaySetup] = []
    routes: list[RouteSetup] = []
    dns: DnsSetup | None = None
    """How next hops that are names are found; None: they are not."""


class WorkerSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything one worker process needs to serve."""

    index: int
    workers: int
    incarnation: int
    listeners: list[ListenerSetup]
    control_fd: int
    rings_fd: int
    slots_fd: int
    segment_fd: int
    nonces_fd: int
    wake_fds: list[int]
    """An eventfd per worker, by index; the own one is read, the others are written."""
    state_endpoint: str
    settings: Settings
    policy: PolicySetup = PolicySetup()
    tls: TlsSetup | None = None
    origins: list[str] = []
    """Of pages that may open a WebSocket; none: of any."""
    paths: list[str] = []
    targets_fd: int = -1
    """The target table (ext/targets.h)."""
    clock: int | None = None
    """Milliseconds that its clock begins with, in virtual time; None: the machine's."""
    log_level: str = "info"
    log_format: str = "text"


class StateSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the state process needs."""

    incarnation: int
    control_fd: int
    segment_fd: int
    endpoint: str
    store: str
    """Path of the SQLite file, or ":memory:"."""
    require_store: bool
    store_interval: int
    """Milliseconds between group commits."""
    users: list[tuple[str, str, str, str]]
    """username, domain, HA1 by MD5 in hex, HA1 by SHA-256 in hex ("" when unknown): configuration and CSV together."""
    realm: str | None
    default_domain: str
    max_contacts: int
    workers: int
    domains: list[str] = []
    """Whose services mean something; none: anybody's."""
    targets_fd: int = -1
    """The target table, where open calls are told; -1: nowhere."""
    longest_call: int = 14_400_000
    """Milliseconds after which a call counts as over."""
    services: list[tuple[str, dict[str, Any]]] = []
    """Address-of-record and its services by name (fastsip/services/record.py): configuration and file together."""
    log_level: str = "info"
    log_format: str = "text"


class Channel:
    """One end of the socket pair between master and child. Not thread-safe; `fileno` is for polling."""

    LINE_LIMIT = 64 * 1024 * 1024

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending = b""
        self._fds: list[int] = []
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: dict[str, object], fds: list[int] | None = None) -> None:
        """Send one message, with descriptors if given. Raises OSError when the other side is gone."""
        data = msgspec.json.encode(message) + b"\n"
        if fds:
            socket.send_fds(self._socket, [data[:1]], fds)
            data = data[1:]
        self._socket.sendall(data)

    def receive(self) -> Iterator[tuple[dict[str, object], list[int]]]:
        """Read once (blocking unless polled readable) and yield the whole messages there are, each with all
        descriptors that came since the last one. Sets `closed` at end-of-file."""
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, 1 << 16, 64)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            self.closed = True
            return
        self._fds += fds
        if not data:
            self.closed = True
            return
        self._pending += data
        while True:
            line, newline, rest = self._pending.partition(b"\n")
            if not newline:
                if len(line) > self.LINE_LIMIT:
                    self.closed = True
                return
            self._pending = rest
            taken, self._fds = self._fds, []
            yield msgspec.json.decode(line), taken

    def close(self) -> None:
        self.closed = True
        self._socket.close()


def child_channel(fd: int) -> Channel:
    """The child's end, from the inherited descriptor number."""
    return Channel(socket.socket(fileno=fd))
