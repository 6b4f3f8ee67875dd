"""What one load engine (`fastsip._load.Engine`) is told: who it is, what it does, to whom, how often."""

from __future__ import annotations

from typing import Literal

import msgspec

from fastsip.launch import TlsSetup


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bound, non-blocking socket that the engine sends from and receives at: UDP (`fastsip.sockets.bind_udp`), or
    listening for TCP or TLS (`bind_stream`); connections are opened from its address."""

    fd: int
    host: str
    """The numeric address it is bound to; "0.0.0.0" or "::" for every one."""
    port: int
    addresses: list[str] = []
    """Of a wildcard socket: the local addresses work is spread over, in turn. One socket can be a thousand peers."""
    transport: Literal["udp", "tcp", "tls"] = "udp"
    """The same for all sources of an engine that generates."""
    advertise: tuple[str, int] | None = None
    """Numeric address and port for Via and Contact instead, where a forwarder that knows no SIP sends on what comes."""


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One address-of-record, with what answers a Digest challenge if there may be one."""

    aor: str
    """As a SIP URI: "sip:alice@example.com"."""
    name: str = ""
    """User name of the credentials; empty: the AoR's user part."""
    password: str | None = None


class Hold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a call lasts, from ACK to BYE: a distribution around a mean, in milliseconds."""

    kind: Literal["constant", "exponential", "uniform"] = "constant"
    mean: int = 0
    least: int = 0
    """No call is shorter. `exponential` is this and an exponential rest; `uniform` is even from here to as far above
    the mean."""


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of work, and what share of all work it is. Shares are 0..1 and drawn by the seed."""

    kind: Literal["call", "register", "options", "message"]
    weight: float = 1.0
    hold: Hold = Hold()
    """`call`: the time between ACK and BYE."""
    reinvite: float = 0.0
    """`call`: share with a re-INVITE in the middle of the hold time."""
    cancel: float = 0.0
    """`call`: share the caller cancels `cancel_after` ms after the first 180."""
    cancel_after: int = 0
    busy: bool = False
    """`call`: a 486 or 600 is how a call may end (counted in `busy` and `done`), not a failure."""
    expires: int = 3600
    """`register`: seconds asked for."""
    remove: float = 0.0
    """`register`: share that removes the user's binding (Expires 0) instead of refreshing it; 1.0 removes at once, also
    what was bound before."""
    contact: str = ""
    """`register`: host:port of the bindings, where the callees answer; empty: the source's own."""
    fresh: bool = False
    """Never use a nonce twice: each request is challenged anew. Otherwise a nonce is used with rising nc until the
    server says it is stale."""
    body: int = 0
    """`message`: bytes of text; `call`: bytes of an SDP body, 0 for none."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `at` seconds after the start, `rate` per second, growing by `slope` per second each second."""

    at: float
    rate: float
    slope: float = 0.0


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a callee does. It answers INVITE, re-INVITE, CANCEL, BYE, OPTIONS and MESSAGE."""

    ring: int = 0
    """Milliseconds between 180 and 200."""
    busy: float = 0.0
    """Share of calls answered 486."""
    silent: bool = False
    """No 180: 200 at once, or after `ring`."""
    body: int = 0
    """Bytes of an SDP body in the 200."""


class EngineSetup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything one engine needs. It generates if there are scenarios and answers if there is an `answer`."""

    sources: list[Source]
    target: tuple[str, int] | None = None
    """Numeric address and port everything new is sent to; needed to generate."""
    connections: int = 0
    """By TCP or TLS, to the target: so many, and at least one from each source address. They are opened when they are
    first needed, stay, and are opened anew when they are gone. Each caller keeps to one where there are callers
    enough."""
    tls: TlsSetup | None = None
    """For sources by TLS: whom to believe, and the certificate to show, without which nobody is let in."""
    peer: str = ""
    """Who everyone has to be, by his certificate, to whom a TLS connection is opened; empty: his address."""
    scenarios: list[Scenario] = []
    callers: list[User] = []
    """From of all work, and the users that register. Needed to generate."""
    callees: list[str] = []
    """Request-URI and To of calls and messages, SIP URIs. Without any, and for OPTIONS: the target itself."""
    plan: list[Step] = []
    """Steps in order of time; `Engine.set_rate` overrides them."""
    poisson: bool = True
    """Exponential gaps between arrivals; False: equal ones."""
    count: int = 0
    """Begin so many and no more; 0: no limit. What found no room (`not_begun`) is not one of them."""
    duration: float = 0.0
    """Seconds during which work begins; 0: no limit."""
    in_flight: int = 1_000_000
    """At most so many at once: memory is bounded. What is due above is counted in `not_begun`, never silently."""
    answer: Answer | None = None
    stay: bool = False
    """With an `answer`: go on answering when its own work is done, until `Engine.finish`."""
    gather: int = 0
    """Microseconds. 0: whatever comes is worked on at once. Else a busy engine turns only so often: what came meanwhile
    is received together and, equally long, sent together (UDP_SEGMENT), which takes a fraction of the CPU. Work begins
    up to so much late and answers come so much later; both are in the figures."""
    seed: int = 1
    t1: int = 500
    """RFC 3261 17.1.1.1, milliseconds; `t2` and `t4` too."""
    t2: int = 4000
    t4: int = 5000
    user_agent: str = "fastsip load"
