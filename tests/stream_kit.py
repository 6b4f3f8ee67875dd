"""A server for streams, and what a test says to it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from certificates import Authority
from harness import Server
from harness.ports import free_port
from harness.stream import SecurePhone, StreamPhone

DOMAIN = "example.com"
Maker = Callable[..., StreamPhone]
"""Makes phones of a transport."""


class StreamServer(Server):
    """A server on UDP and TCP of one port, and on TLS of another. `tls` goes into the table of that name; `names` are
    whom its certificate is for, `called` the name its TLS listener writes into messages."""

    def __init__(
        self,
        authority: Authority,
        tls: dict[str, object] | None = None,
        also: Sequence[str] = (),
        names: Sequence[str] = ("sip:example.com", "example.com"),
        called: str = "",
        **more: object,
    ) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self.called = called
        self.secure_port = free_port(self.host)
        self.also = ["tcp", f"tls:{self.host}:{self.secure_port}", *also]
        chain, key = authority.sign(*names)
        table = {"certificate": chain, "key": key, "ca_file": authority.file, **(tls or {})}
        self.extra = {**self.extra, "tls": table}

    def configuration(self) -> str:
        text = super().configuration()
        if self.called:
            plain = f'"tls:{self.host}:{self.secure_port}"'
            assert plain in text
            text = text.replace(plain, f'{{ bind = {plain}, advertise = "{self.called}" }}')
        return text


def plain(server: StreamServer, user: str = "alice") -> StreamPhone:
    return StreamPhone(server.address, user)


def trusting(server: StreamServer) -> ssl.SSLContext:
    """A client that believes the server's authority."""
    return ssl.create_default_context(cafile=server.extra["tls"]["ca_file"])


def secure(server: StreamServer, user: str = "alice") -> StreamPhone:
    return SecurePhone((server.host, server.secure_port), user, context=trusting(server))


def options(one: StreamPhone, **rest: object) -> bytes:
    return one.request("OPTIONS", f"sip:{DOMAIN}", **rest)  # type: ignore[arg-type]
