"""Every table and key of the configuration: types, defaults, ranges.

`Meta.description` is what a message says is allowed. A list may be written as its only item, and a list of groups as
one group or one item: `reading.py` sees to that.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from .values import Destination, Domain, Glob, Listen, Method, NameServer, Network, Regex, Uri

WORKERS_AT_MOST = 64
"""MAX_WORKERS of ext/control.h."""


def usable_cpus() -> int:
    """The CPUs this process may run on, at most 16: the default number of workers."""
    return min(len(os.sched_getaffinity(0)), 16)


def _number(low: float, high: float, what: str = "") -> Any:
    return Meta(ge=low, le=high, description=f"a number from {low:g} to {high:g}{what}")


def _whole(low: int, high: int, what: str = "") -> Any:
    return Meta(ge=low, le=high, description=f"a whole number from {low} to {high}{what}")


_FLAG = Meta(description="true or false")
_PATH = Meta(min_length=1, description="a path")
_REALM = Meta(pattern=r'^[^"\\\x00-\x1f]+$', description="a text without quotes or backslashes")
_DIGITS = Meta(pattern=r"^\+?[0-9*#]*$", description='digits such as "+1972"; "" for any')
_ADDED = Meta(pattern=r"^[^\s\x00-\x1f\x7f;:@<>\"]*$", description='digits to put in front, such as "00" or "+44"')
_CONTEXT = Meta(
    pattern=r"^[^\s\x00-\x1f\x7f;:@<>\"]+$", description='a phone-context, such as "example.com" or "+1972" (RFC 3966)'
)
_MODULE = Meta(pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$", description="a Python module's name")
_FIND_ME = 'groups of URIs or names, such as [["bob", "sip:bob@home.example.net"], ["tel:+1972555"]], at most 16 of 32'
_TEXT = Meta(min_length=1, description="a text that is not empty")


class Server(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    listen: Annotated[tuple[Listen, ...], Meta(min_length=1, max_length=32)] = (Listen("udp", "127.0.0.1", 5060),)
    workers: Annotated[int, _whole(1, WORKERS_AT_MOST)] = field(default_factory=usable_cpus)
    domains: tuple[Domain, ...] = ()
    record_route: Annotated[bool, _FLAG] = True
    udp_max: Annotated[int, _whole(0, 65507, ", in bytes; 0 for any size")] = 1300
    control: Annotated[str, _PATH] | None = None
    drain_timeout: Annotated[float, _number(0, 3600, ", in seconds")] = 5
    steering: Annotated[
        Literal["auto", "off", "ebpf", "cbpf"], Meta(description='"auto", "off", "ebpf" or "cbpf"')
    ] = "auto"


class State(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    path: Annotated[str, Meta(min_length=1, description='a path, or ":memory:" to keep nothing')] = "fastsip.db"
    require_store: Annotated[bool, _FLAG] = False


_ORIGIN = Meta(pattern=r"^https?://[^/\s]+$", description='a web origin, such as "https://example.com"')
_WAY = Meta(pattern=r"^/[^\s?#]*$", description='a path, such as "/sip"')
_CERTIFICATE = Meta(
    description='tables of two files, such as [{ certificate = "server.pem", key = "server.key" }]', max_length=64
)


class CertificateFiles(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    certificate: Annotated[str, _PATH]
    key: Annotated[str, _PATH]


class Tls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """TLS of listen addresses that have it and of connections to others. Files lie where the configuration does."""

    certificate: Annotated[str, _PATH] | None = None
    """With its chain; then `key`. For several names there is `certificates`."""
    key: Annotated[str, _PATH] | None = None
    certificates: Annotated[tuple[CertificateFiles, ...], _CERTIFICATE] = ()
    ca_file: Annotated[str, _PATH] | None = None
    """Whom to believe; unset: the system's."""
    verify_client: Annotated[
        Literal["no", "ask", "require"], Meta(description='"no", "ask" (it may have no certificate) or "require"')
    ] = "no"
    verify_server: Annotated[bool, _FLAG] = True
    minimum: Annotated[Literal["1.2", "1.3"], Meta(description='"1.2" or "1.3"')] = "1.2"
    ciphers: str = ""
    suites: str = ""
    tickets: Annotated[bool, _FLAG] = True
    alias: Annotated[bool, _FLAG] = False
    """Peers to whom connections are opened may send requests back by them (RFC 5923): `alias` in Via."""


class WebSocket(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may open a WebSocket connection (RFC 6455 4.2.2, 10.2)."""

    origins: tuple[Annotated[str, _ORIGIN], ...] = ()
    """Pages of these may connect; unset: of any."""
    paths: tuple[Annotated[str, _WAY], ...] = ()
    """Unset: any path."""


class Auth(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    realm: Annotated[str, _REALM] | None = None
    required: tuple[Method, ...] | UnsetType = UNSET
    """Unset: every method when the configuration names users, none when it does not."""
    algorithms: Annotated[
        tuple[Literal["SHA-256", "MD5"], ...], Meta(min_length=1, description='"SHA-256" and "MD5", or one of them')
    ] = ("SHA-256", "MD5")
    trusted: tuple[Network, ...] = ()
    users_file: Annotated[str, _PATH] | None = None


class Registrar(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    min_expires: Annotated[int, _whole(0, 3600, ", in seconds (more than an hour breaks RFC 3261 10.3)")] = 60
    max_expires: Annotated[int, _whole(1, 4294967, ", in seconds")] = 3600
    max_contacts: Annotated[int, _whole(1, 100)] = 10
    path: Annotated[Literal["supported", "any"], Meta(description='"supported" or "any" (RFC 3327 5.3)')] = "supported"
    service_route: tuple[Uri, ...] = ()


class Nat(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Clients that are not where they say; fastsip/registrar/README.md says what each key does."""

    contact: Annotated[Literal["auto", "always", "off"], Meta(description='"auto", "always" or "off"')] = "auto"
    flow_timer: Annotated[int, _whole(0, 3600, ", in seconds; 0 to tell nobody")] = 120
    ping: Annotated[float, _number(0, 3600, ", in seconds; 0 for none")] = 0
    keep: Annotated[int, _whole(0, 3600, ", in seconds; 0 to tell nobody")] = 25


class ServiceKeys(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The services of one person; fastsip/services/record.py says what each does."""

    forward_always: Destination | None = None
    forward_busy: Destination | None = None
    forward_no_answer: Destination | None = None
    forward_unavailable: Destination | None = None
    ring_time: Annotated[float, _number(1, 180, ", in seconds")] | None = None
    find_me: Annotated[
        tuple[Annotated[tuple[Destination, ...], Meta(min_length=1, max_length=32, description=_FIND_ME)], ...],
        Meta(max_length=16, description=_FIND_ME),
    ] = ()
    block_incoming: tuple[Glob, ...] = ()
    block_outgoing: tuple[Glob, ...] = ()
    refuse_anonymous: Annotated[bool, _FLAG] = False
    do_not_disturb: Annotated[bool, _FLAG] = False
    redirect: Annotated[bool, _FLAG] = False


class Person(ServiceKeys, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of `users`."""

    password: Annotated[str, _TEXT] | None = None


class ServicesTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: Annotated[str, _PATH] | None = None
    """Services of many people: CSV or JSON, relative to the configuration."""


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    uri: Uri
    weight: Annotated[int, _whole(0, 1000)] = 10
    trusted: Annotated[bool, _FLAG] = False
    probe: Annotated[float, _number(0, 86400, ", in seconds; 0 for none")] = 30
    try_time: Annotated[float, _number(0.1, 180, ", in seconds")] = 4
    calls: Annotated[int, _whole(0, 1_000_000, ", calls at the same time; 0 for any number")] = 0


class DomainTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of `domains`: what is different about a domain of `server.domains`."""

    role: Annotated[
        Literal["proxy", "redirect", "stateless"], Meta(description='"proxy", "redirect" or "stateless"')
    ] = "proxy"


class Route(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    gateways: Annotated[
        tuple[tuple[Annotated[str, _TEXT], ...], ...],
        Meta(min_length=1, description='names of gateways, or groups of them: [["gw1", "gw2"], ["gw3"]]'),
    ]
    prefix: Annotated[str, _DIGITS] | None = None
    regex: Regex | None = None
    domain: Domain | None = None
    context: Annotated[str, _CONTEXT] | None = None
    strip: Annotated[int, _whole(0, 64, ', characters to take from the front, the "+" too')] = 0
    add: Annotated[str, _ADDED] = ""
    shortest: Annotated[int, _whole(0, 64, ", digits a number must have")] = 0


class Policy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    module: Annotated[str, _MODULE] | None = None
    timeout: Annotated[float, _number(0.1, 60, ", in seconds")] = 5
    waiting: Annotated[int, _whole(1, 1_000_000)] = 10_000


class Dns(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How servers of other domains are found; fastsip/dns/README.md says what each key does."""

    servers: Annotated[tuple[NameServer, ...], Meta(max_length=8)] = ()
    timeout: Annotated[float, _number(0.1, 30, ", in seconds")] = 3
    try_time: Annotated[float, _number(0.1, 32, ", in seconds")] = 4
    prefer: Annotated[Literal["ipv4", "ipv6"], Meta(description='"ipv4" or "ipv6"')] = "ipv4"
    naptr: Annotated[bool, _FLAG] = True
    cache: Annotated[int, _whole(100, 10_000_000, ", answers")] = 10_000
    min_ttl: Annotated[float, _number(1, 3600, ", in seconds")] = 1
    max_ttl: Annotated[float, _number(1, 604_800, ", in seconds")] = 86_400
    negative_ttl: Annotated[float, _number(1, 86_400, ", in seconds")] = 60
    stale: Annotated[float, _number(0, 604_800, ", in seconds; 0 for never")] = 86_400


class Timers(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    t1: Annotated[float, _number(0.01, 10, ", in seconds")] = 0.5
    t2: Annotated[float, _number(0.01, 60, ", in seconds")] = 4
    t4: Annotated[float, _number(0.01, 60, ", in seconds")] = 5
    timer_c: Annotated[float, _number(1, 86400, ", in seconds; RFC 3261 16.6 wants more than 180")] = 181
    trying: Annotated[
        float, _number(0, 0.2, ", in seconds: how long an INVITE may wait for more than a 100 (RFC 3261 17.2.1)")
    ] = 0


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    transactions: Annotated[int, _whole(100, 16_000_000)] = 100_000
    longest_call: Annotated[float, _number(60, 86400, ", in seconds")] = 4 * 3600
    """After which an open call counts no more: its BYE may have been lost."""


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description='"debug", "info", "warning" or "error"')
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description='"text" or "json"')] = "text"


class Tables(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file as a whole."""

    server: Server = field(default_factory=Server)
    state: State = field(default_factory=State)
    tls: Tls = field(default_factory=Tls)
    websocket: WebSocket = field(default_factory=WebSocket)
    auth: Auth = field(default_factory=Auth)
    registrar: Registrar = field(default_factory=Registrar)
    nat: Nat = field(default_factory=Nat)
    users: dict[str, Person] = field(default_factory=dict)
    services: ServicesTable = field(default_factory=ServicesTable)
    domains: dict[str, DomainTable] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    policy: Policy = field(default_factory=Policy)
    dns: Dns = field(default_factory=Dns)
    timers: Timers = field(default_factory=Timers)
    limits: Limits = field(default_factory=Limits)
    log: Log = field(default_factory=Log)
