"""A server for streams, and what a test says to it."""

from __future__ import annotations

import ssl

from certificates import Authority
from harness import Server
from harness.ports import free_port
from harness.stream import SecurePhone, StreamPhone

DOMAIN = "example.com"


class StreamServer(Server):
    """A server on UDP and TCP of one port, and on TLS of another. `tls` goes into the table of that name."""

    def __init__(self, authority: Authority, tls: dict[str, object] | None = None, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.secure_port = free_port(self.host)
        chain, key = authority.sign("sip:example.com", "example.com")
        table = {"certificate": chain, "key": key, "ca_file": authority.file, **(tls or {})}
        self.extra = {**self.extra, "tls": table}

    def configuration(self) -> str:
        text = super().configuration()
        also = f'"tcp:{self.hostport}", "tls:{self.host}:{self.secure_port}"'
        return text.replace(f'["udp:{self.hostport}"]', f'["udp:{self.hostport}", {also}]')


def plain(server: StreamServer, user: str = "alice") -> StreamPhone:
    return StreamPhone(server.address, user)


def secure(server: StreamServer, user: str = "alice") -> StreamPhone:
    context = ssl.create_default_context(cafile=server.extra["tls"]["ca_file"])
    return SecurePhone((server.host, server.secure_port), user, context=context)


def options(one: StreamPhone, **rest: object) -> bytes:
    return one.request("OPTIONS", f"sip:{DOMAIN}", **rest)  # type: ignore[arg-type]
