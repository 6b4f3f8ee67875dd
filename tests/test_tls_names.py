"""TLS to a domain: who is found where its DNS leads has to be it (RFC 5922 4), what is written in messages may be a
name that certificates have, and a connection whose ends are both known goes both ways (RFC 5923)."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from dns_kit import HOST, NameServer
from harness import requires_peer
from harness.stream import SecurePhone, StreamPhone, call
from stream_kit import StreamServer

pytestmark = requires_peer("nsd")

LOOPBACK = ["127.0.0.0/8"]
HERE, THERE, OTHER = "example.com", "example.net", "example.org"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(Path(tmp_path_factory.mktemp("certificates")))


class Named(StreamServer):
    """Server of a domain. Whoever asks `zones` finds it there, as "edge" of it."""

    def __init__(
        self, authority: Authority, domain: str, *names: str, tls: dict[str, object] | None = None, **more: Any
    ):
        super().__init__(authority, tls, names=names, domains=[domain], trusted=LOOPBACK, **more)
        self.domain = domain


def served(zones: dict[str, str], *servers: Named) -> contextlib.ExitStack:
    """Those servers and a name server for both."""
    with contextlib.ExitStack() as stack:
        nsd = stack.enter_context(NameServer(zones))
        for server in servers:
            server.extra = {**server.extra, "dns": {"servers": [f"{HOST}:{nsd.port}"], "timeout": 2, "naptr": False}}
            stack.enter_context(server)
        return stack.pop_all()


@contextlib.contextmanager
def pair(authority: Authority, here: dict[str, Any], there: dict[str, Any]) -> Iterator[tuple[Named, Named]]:
    """A server of example.com, and one that is example.net's and, as DNS says, also example.org's."""
    one = Named(authority, HERE, *here.pop("names", (HERE,)), **here)
    other = Named(authority, THERE, *there.pop("names", (THERE,)), **there)
    zones = {
        domain: f"_sips._tcp SRV 1 1 {server.secure_port} edge\nedge A {server.host}\n"
        for domain, server in ((HERE, one), (THERE, other), (OTHER, other))
    }
    with served(zones, one, other):
        yield one, other


def phone(server: Named, user: str, *certificate: str) -> StreamPhone:
    """Registered nowhere yet. `certificate` are the files it shows."""
    context = ssl.create_default_context(cafile=server.extra["tls"]["ca_file"])
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(*certificate)
    made = SecurePhone((server.host, server.secure_port), user, context=context)
    made.domain, made.scheme = server.domain, "sips"
    return made


def out(server: Named) -> int:
    return server.stats()["total"]["connections_out"]


def status(alice: StreamPhone, target: str) -> int:
    """What an OPTIONS gets."""
    alice.send(alice.request("OPTIONS", target))
    answer = alice.receive(5)
    assert answer is not None
    return int(answer.name)


def test_who_is_called_has_to_be_there(authority: Authority) -> None:
    """The domain, not the host its SRV names nor the address of that one."""
    with pair(authority, {}, {}) as (here, there), phone(here, "alice") as alice, phone(there, "bob") as bob:
        bob.register()
        for _ in range(2):
            assert status_of_bob(alice, bob, f"sips:bob@{THERE}") == 200
        assert out(here) == 1
        # The same address, by another name: that connection is not for it, and nobody there is example.org.
        assert status(alice, f"sips:bob@{OTHER}") in (500, 503)
        assert status(alice, f"sips:bob@127.0.0.1:{there.secure_port}") in (500, 503)
        until_logged(here, f"the certificate is not for {OTHER}")
        until_logged(here, "the certificate is not for 127.0.0.1")
        assert status_of_bob(alice, bob, f"sips:bob@{THERE}") == 200


def status_of_bob(alice: StreamPhone, bob: StreamPhone, target: str) -> int:
    alice.send(alice.request("OPTIONS", target))
    bob.respond(bob.expect("OPTIONS"), 200)
    return int(alice.expect("200").name)


def until_logged(server: Named, text: str) -> None:
    deadline = time.monotonic() + 5
    while text not in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)


def test_the_name_of_a_host_is_not_that_of_its_domain(authority: Authority) -> None:
    names = {"names": (f"edge.{THERE}",)}
    with pair(authority, {}, names) as (here, _there), phone(here, "alice") as alice:
        assert status(alice, f"sips:bob@{THERE}") in (500, 503)
        until_logged(here, f"the certificate is not for {THERE}")


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_between_servers_that_have_names(authority: Authority, workers: int) -> None:
    """Certificates for names alone: Via and Record-Route have them too, so that requests inside the dialog fit."""
    one, other = f"sip.{HERE}", f"sip.{THERE}"
    here = Named(authority, HERE, HERE, one, workers=workers)
    there = Named(authority, THERE, THERE, other, workers=workers)
    here.called, there.called = one, f"{other}:{there.secure_port}"
    zones = {
        domain: f"_sips._tcp SRV 1 1 {server.secure_port} sip\nsip A {server.host}\n"
        for domain, server in ((HERE, here), (THERE, there))
    }
    with served(zones, here, there), phone(here, "alice") as alice, phone(there, "bob") as bob:
        alice.register()
        bob.register()
        for _ in range(4):
            invite = call(alice, bob, target=f"sips:bob@{THERE}", hops=2)
        own, before = invite.all("Via")[:2]
        assert f" {other}:{there.secure_port};" in own and f" {one}:{here.secure_port};" in before
        routes = "".join(invite.all("Record-Route"))
        assert f"@{other}:{there.secure_port};" in routes and f"@{one}:{here.secure_port};" in routes
        assert "127.0.0.1" not in routes


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("shows", [True, False])
def test_a_connection_that_goes_both_ways(authority: Authority, asks: bool, shows: bool) -> None:
    """With `alias` in its Via and a certificate that was asked for, the server that opened it is reached by it; else by
    one of its own."""
    with (
        pair(authority, {"tls": {"alias": asks}}, {"tls": {"verify_client": "require" if shows else "no"}}) as (
            here,
            there,
        ),
        phone(here, "alice") as alice,
        phone(there, "bob", *authority.sign("phone.example.net")) as bob,
    ):
        alice.register()
        bob.register()
        assert status_of_bob(alice, bob, f"sips:bob@{THERE}") == 200
        before = out(here), out(there)
        for _ in range(3):
            assert status_of_bob(bob, alice, f"sips:alice@{HERE}") == 200
        assert (out(here), out(there)) == (before[0], before[1] + (0 if asks and shows else 1))
        # Who came by it is example.com, and nobody else.
        assert status(bob, f"sips:alice@127.0.0.1:{here.secure_port}") in (500, 503)
