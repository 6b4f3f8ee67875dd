"""Where work goes and where it leaves from: targets, and sources as one, several, or ranges of addresses and ports."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import NamedTuple

from fastsip.config.values import DEFAULT_PORT, TRANSPORTS, bracketed, split_host

TARGET = (
    'an address such as "192.0.2.1", "tcp:192.0.2.1:5060", "tls:sip.example.com", "[::1]:5060", "example.com:5060" or '
    '"sip:example.com;transport=tcp"'
)
SOURCE = 'an address such as "127.0.0.1", "127.0.0.1:5080", or ranges such as "127.0.0.1..100:5080..5089"'
SOURCES_AT_MOST = 65536

_PORTS = re.compile(r"(\d+)(?:\.\.(\d+))?")


class Target(NamedTuple):
    """Where everything is sent: the numeric address, and the host as it was typed."""

    host: str
    port: int
    name: str
    transport: str = ""
    """Empty where the text leaves it open: that means udp."""
    usual: bool = False
    """The text says no port."""

    @property
    def domain(self) -> str:
        """What stands in URIs: the name, and the port unless it is the usual one."""
        host = bracketed(self.name)
        return host if self.port == DEFAULT_PORT.get(self.transport, 5060) else f"{host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def __str__(self) -> str:
        return f"{self.transport or 'udp'}:{bracketed(self.host)}:{self.port}"


TRANSPORTS_OF_LOAD = ("udp", "tcp", "tls")
_PARAMETER = re.compile(r";\s*transport\s*=\s*([^;?\s]+)", re.IGNORECASE)


def read_transport(name: str) -> str:
    """A transport the generator has. Raises ValueError."""
    lower = name.lower()
    if lower not in TRANSPORTS_OF_LOAD:
        raise ValueError(f'"{name}": only udp, tcp and tls')
    return lower


def read_target(text: str) -> Target:
    """Read and resolve a target. Raises ValueError with a text for a person."""
    bare = text.strip()
    lower, transport = bare.lower(), ""
    if lower.startswith(("sip:", "sips:")):
        if asked := _PARAMETER.search(bare):
            transport = read_transport(asked[1])
        if lower.startswith("sips:"):
            if transport not in ("", "tcp", "tls"):
                raise ValueError(f"sips goes by TLS, not by {transport}")
            transport = "tls"
        bare = bare.partition(":")[2].partition(";")[0].rpartition("@")[2]
    else:
        scheme, colon, rest = bare.partition(":")
        if colon and scheme.lower() in TRANSPORTS:
            transport, bare = read_transport(scheme), rest
    try:
        host, port = split_host(bare) if bare.count(":") < 2 or bare.startswith("[") else (bare, None)
    except ValueError:
        raise ValueError(f"expected {TARGET}") from None
    if not host or port == 0:
        raise ValueError(f"expected {TARGET}")
    known = DEFAULT_PORT.get(transport, 5060) if port is None else port
    return Target(_numeric(host, known), known, host, transport, usual=port is None)


def _numeric(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise ValueError(f"cannot find the address of {host}: {why}") from None
    # An IPv4 address first where a name has both: most servers listen there.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def local_address(target: Target) -> str:
    """The address of this machine from which the target is reached. Raises OSError."""
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(target.address)
        except OSError as error:
            raise OSError(error.errno, f"no way to {target}: {error.strerror}") from None
        return str(probe.getsockname()[0])


class SourceRange(NamedTuple):
    """Addresses and ports (0: the kernel chooses) that stand for each other's combinations."""

    hosts: list[str]
    ports: list[int]


def read_source(text: str) -> SourceRange:
    """From "127.0.0.1..9:5080..5089". Raises ValueError."""
    host, ports = text.strip().removeprefix("udp:").removeprefix("tcp:").removeprefix("tls:"), [0]
    bare, colon, after = host.rpartition(":")
    if colon and (bare.endswith("]") or ":" not in bare) and not after.endswith("]"):
        host, ports = bare, _ports(after)
    hosts = _hosts(host.strip("[]"))
    if len(hosts) * len(ports) > SOURCES_AT_MOST:
        raise ValueError(f"expected at most {SOURCES_AT_MOST:,} sources")
    return SourceRange(hosts, ports)


def _ports(text: str) -> list[int]:
    found = _PORTS.fullmatch(text)
    if found is None:
        raise ValueError(f"expected {SOURCE}")
    first = int(found[1])
    last = int(found[2] or first)
    if not 0 <= first <= last <= 65535 or (found[2] and first == 0):
        raise ValueError("expected ports of 1 to 65535, the lower one first")
    return list(range(first, last + 1))


def _hosts(text: str) -> list[str]:
    first, dots, last = text.partition("..")
    try:
        begin = ipaddress.ip_address(first)
        if not dots:
            return [str(begin)]
        if last.isdecimal() and begin.version == 4:
            last = f"{first.rpartition('.')[0]}.{last}"
        end = ipaddress.ip_address(last)
    except ValueError:
        raise ValueError(f"expected {SOURCE}") from None
    if begin.version != end.version or int(end) < int(begin):
        raise ValueError("expected the lower address first")
    if int(end) - int(begin) >= SOURCES_AT_MOST:
        raise ValueError(f"expected at most {SOURCES_AT_MOST:,} sources")
    return [str(begin + step) for step in range(int(end) - int(begin) + 1)]
