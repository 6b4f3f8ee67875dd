"""The kinds of value a configuration holds beyond numbers and flags. Each class reads its text, says what is `ALLOWED`,
and raises ValueError for the rest."""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar, Self

from fastsip._message import Uri as ParsedUri

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
DEFAULT_PORT = {"tls": 5061, "wss": 5061}

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?")
_URI = re.compile(r"(?:sips?:[^\s<>\"]+|tel:[0-9+*#][^\s<>\"]*)", re.IGNORECASE)
_USERNAME = re.compile(r"[^\s\x00-\x1f\x7f:@<>\"]+")


class PartError(ValueError):
    """One key of a table that stands for a value is wrong, and the rest is not what is to be said."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(key)
        self.key, self.value, self.allowed = key, value, allowed


class Value(str):
    """A string that has been checked; `of` makes one from what the file says."""

    __slots__ = ()
    ALLOWED: ClassVar[str] = "a string"

    @classmethod
    def of(cls, raw: object) -> Self:
        """Check and normalise; raises ValueError (its text is not shown, ALLOWED is) if it is not one."""
        if not isinstance(raw, str) or not raw:
            raise ValueError
        return cls(cls.read(raw))

    @staticmethod
    def read(raw: str) -> str:
        return raw


class Domain(Value):
    """A host name or numeric address as it stands in a URI, lower case, no port."""

    __slots__ = ()
    ALLOWED = 'a host name or address without a port, such as "example.com", "192.0.2.1" or "[2001:db8::1]"'

    @staticmethod
    def read(raw: str) -> str:
        name = raw.lower().rstrip(".")
        if raw.startswith("["):
            return f"[{ipaddress.IPv6Address(raw.strip('[]'))}]"
        if name.count(":") > 1:
            return f"[{ipaddress.IPv6Address(name)}]"
        labels = name.split(".")
        if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            raise ValueError
        if labels[-1].isdigit():
            return str(ipaddress.IPv4Address(name))
        return name


class Network(Value):
    __slots__ = ()
    ALLOWED = 'an address or a network, such as "192.0.2.7", "192.0.2.0/24" or "2001:db8::/32"'

    @staticmethod
    def read(raw: str) -> str:
        return str(ipaddress.ip_network(raw))


class NameServer(Value):
    """With its port, 53 unless another is given."""

    __slots__ = ()
    ALLOWED = 'the address of a name server, such as "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:53"'

    @staticmethod
    def read(raw: str) -> str:
        host, port = (raw, None) if raw.count(":") > 1 and not raw.startswith("[") else split_host(raw)
        address = ipaddress.ip_address(host)
        if address.is_multicast or address.is_unspecified or port == 0:
            raise ValueError
        return f"{bracketed(str(address))}:{53 if port is None else port}"


class Method(Value):
    __slots__ = ()
    ALLOWED = '"*" or methods in upper case such as "INVITE", "REGISTER"; ACK and CANCEL are never challenged'

    @staticmethod
    def read(raw: str) -> str:
        if not _TOKEN.fullmatch(raw) or raw != raw.upper() or raw in {"ACK", "CANCEL"}:
            raise ValueError
        return raw


class Uri(Value):
    __slots__ = ()
    ALLOWED = 'a SIP URI such as "sip:bob@example.com"'

    @staticmethod
    def read(raw: str) -> str:
        if not _URI.fullmatch(raw):
            raise ValueError
        return raw


class Destination(Value):
    """Where a call may be sent to instead: a URI, or a person by name, who gets the first domain unless he has one."""

    __slots__ = ()
    ALLOWED = (
        'a URI such as "sip:bob@voicemail.example.com" or "tel:+19725557777", or somebody here by name, "bob" or '
        '"bob@example.com"'
    )

    @staticmethod
    def read(raw: str) -> str:
        if not raw.lower().startswith(("sip:", "sips:", "tel:")):
            name, at, domain = raw.rpartition("@")
            Username.of(name if at else raw)
            return f"{name}@{Domain.of(domain)}" if at else raw
        if not _URI.fullmatch(raw) or not raw.isascii() or ParsedUri(raw).headers:
            raise ValueError
        return raw


class Glob(Value):
    __slots__ = ()
    ALLOWED = 'a SIP or tel URI in which "*" and "?" stand for anything, such as "sip:+1900*" or "*@spam.example"'

    @staticmethod
    def read(raw: str) -> str:
        if raw != "*" and (not re.fullmatch(r"\S+", raw) or not raw.lower().startswith(("sip:", "sips:", "tel:", "*"))):
            raise ValueError
        return raw


class Regex(Value):
    __slots__ = ()
    ALLOWED = "a regular expression"

    @staticmethod
    def read(raw: str) -> str:
        try:
            re.compile(raw)
        except re.error:
            raise ValueError from None
        return raw


class Username(Value):
    __slots__ = ()
    ALLOWED = 'a name without blanks, ":" or "@"'

    @staticmethod
    def read(raw: str) -> str:
        if not _USERNAME.fullmatch(raw):
            raise ValueError
        return raw


class Advertised(Value):
    __slots__ = ()
    ALLOWED = (
        'an address or a name others reach this server at, with or without a port, such as "203.0.113.9", '
        '"sip.example.com" or "[2001:db8::9]:5060", IPv6 in brackets'
    )

    @staticmethod
    def read(raw: str) -> str:
        host, port = split_host(raw)
        if port == 0:
            raise ValueError
        if is_address(host):
            if ipaddress.ip_address(host).is_unspecified:
                raise ValueError
        elif raw.startswith("[") or len(host) > 200:
            raise ValueError
        else:
            Domain.of(host)
        return raw


class Listen:
    """A listen address: transport, numeric host without brackets, port (0 lets the kernel choose)."""

    __slots__ = ("advertise", "host", "port", "role", "transport")
    ALLOWED = (
        'an address such as "udp:192.0.2.1:5060" or "tls:[2001:db8::1]:5061" (udp, tcp, tls, ws or wss; the host as '
        'numbers), or a table { bind = "udp:10.0.0.5:5060", advertise = "203.0.113.9" } (and in it '
        'role = "stateless" or "proxy")'
    )
    ROLES = ("proxy", "stateless")

    def __init__(
        self, transport: str, host: str, port: int, advertise: str | None = None, role: str = "proxy"
    ) -> None:
        self.transport = transport
        self.host = host
        self.port = port
        self.advertise = advertise
        self.role = role
        """What is done with what comes here; no part of which address it is, and may change while the server runs."""

    @classmethod
    def of(cls, raw: object) -> Listen:
        """From "udp:host:port" or a table with `bind`, `advertise` and `role`; raises ValueError if it is neither,
        PartError if one of the last two is wrong."""
        advertise: str | None = None
        role = "proxy"
        if isinstance(raw, dict):
            if not raw.keys() <= {"bind", "advertise", "role"} or "bind" not in raw:
                raise ValueError
            if "advertise" in raw:
                try:
                    advertise = str(Advertised.of(raw["advertise"]))
                except ValueError:
                    raise PartError("advertise", raw["advertise"], Advertised.ALLOWED) from None
            role = raw.get("role", role)
            if role not in cls.ROLES:
                raise PartError("role", role, " or ".join(f'"{one}"' for one in cls.ROLES))
            raw = raw["bind"]
        if not isinstance(raw, str):
            raise ValueError
        transport, colon, rest = raw.partition(":")
        if transport not in TRANSPORTS or not colon:
            raise ValueError
        host, port = split_host(rest)
        address = ipaddress.ip_address(host)
        if address.is_multicast or (isinstance(address, ipaddress.IPv4Address) and host == "255.255.255.255"):
            raise ValueError
        if port is None:
            port = DEFAULT_PORT.get(transport, 5060)
        return cls(transport, str(address), port, advertise, role)

    @property
    def wildcard(self) -> bool:
        return ipaddress.ip_address(self.host).is_unspecified

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def public(self) -> tuple[str, int]:
        """Host and port under which others know it: the advertised ones where given."""
        if self.advertise is None:
            return self.host, self.port
        host, port = split_host(self.advertise)
        return host, self.port if port is None else port

    @property
    def named(self) -> str:
        """The same as it is written into messages where it is a name; "" where it is an address."""
        host, port = self.public
        return "" if is_address(host) else f"{host}:{port}"

    def at(self, port: int) -> Listen:
        """The same with another port: the one the kernel chose."""
        return Listen(self.transport, self.host, port, self.advertise, self.role)

    def __str__(self) -> str:
        return f"{self.transport}:{bracketed(self.host)}:{self.port}"

    def __repr__(self) -> str:
        return f"Listen({str(self)!r}, advertise={self.advertise!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listen) and (str(self), self.advertise) == (str(other), other.advertise)

    def __hash__(self) -> int:
        return hash((str(self), self.advertise))


def is_address(host: str) -> bool:
    """Whether it is numeric, IPv6 without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def bracketed(host: str) -> str:
    """The host as it stands in a URI: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def split_host(text: str) -> tuple[str, int | None]:
    """("192.0.2.1", 5060) from "192.0.2.1:5060"; the port is None when there is none. Raises ValueError."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError
        port = rest[1:] if rest else None
    else:
        host, colon, after = text.partition(":")
        port = after if colon else None
    if port is None:
        return host, None
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError
    return host, int(port)
