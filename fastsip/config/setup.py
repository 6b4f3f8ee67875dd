"""From a configuration to what workers and the state process are handed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastsip.launch import DnsSetup, PolicySetup, Settings, TlsSetup
from fastsip.services.record import plain

from . import Configuration, Domain, Listen, checks, folder, gateways
from .tls import tls_setup
from .values import bracketed


def settings(configuration: Configuration, bound: Sequence[Listen], slots: Sequence[int] = ()) -> Settings:
    """What workers follow. `bound` are the listen addresses with the ports they really have, `slots` what the target
    table has for the gateways."""
    tables = configuration.tables
    names = dict.fromkeys(name for listen in bound for name in ((listen.host, listen.port), listen.public))
    return Settings(
        domains=[str(domain) for domain in tables.server.domains],
        listen=list(names),
        listen_names=[listen.named for listen in bound],
        realm=tables.auth.realm,
        required=list(configuration.required),
        algorithms=list(tables.auth.algorithms),
        trusted=[*map(str, tables.auth.trusted)],
        open_relay=configuration.loopback_only and not configuration.required,
        record_route=tables.server.record_route,
        udp_max=tables.server.udp_max,
        tls_alias=tables.tls.alias,
        min_expires=tables.registrar.min_expires,
        max_expires=tables.registrar.max_expires,
        max_contacts=tables.registrar.max_contacts,
        t1=_milliseconds(tables.timers.t1),
        t2=_milliseconds(tables.timers.t2),
        t4=_milliseconds(tables.timers.t4),
        timer_c=_milliseconds(tables.timers.timer_c),
        transactions=tables.limits.transactions,
        drain_timeout=_milliseconds(tables.server.drain_timeout),
        trying=_milliseconds(tables.timers.trying),
        asks=_asks(configuration),
        ask_methods=list(configuration.probed.face.methods),
        policy_timeout=_milliseconds(tables.policy.timeout),
        policy_waiting=tables.policy.waiting,
        dns_timeout=_milliseconds(tables.dns.timeout),
        dns_try_time=_milliseconds(tables.dns.try_time),
        roles={Domain.of(name): table.role for name, table in tables.domains.items() if table.role != "proxy"},
        nat_contact=tables.nat.contact,
        flow_timer=tables.nat.flow_timer,
        keep=tables.nat.keep,
        ping=_milliseconds(tables.nat.ping),
        path_supported=tables.registrar.path == "supported",
        service_route=[f"<{uri}>" for uri in tables.registrar.service_route],
        stateless=[index for index, listen in enumerate(tables.server.listen) if listen.role == "stateless"],
        gateways=gateways.addresses(tables, slots),
    )


def _asks(configuration: Configuration) -> list[str]:
    """What the hot thread asks about, of those things nobody has to be looked up for."""
    routes = configuration.tables.routes
    asks = {
        "requests": configuration.probed.face.route,
        "numbers": any(route.domain is None for route in routes),
        "domains": any(route.domain is not None for route in routes),
        "responses": configuration.probed.face.responses,
    }
    return [name for name, wanted in asks.items() if wanted]


def policy(configuration: Configuration, bound: Sequence[Listen], slots: Sequence[int]) -> PolicySetup:
    """What the policy threads decide by. `slots` of the gateways are what the target table has for them."""
    tables = configuration.tables
    hosts = [host for listen in bound for host in (bracketed(listen.host), bracketed(listen.public[0]))]
    names = dict.fromkeys([configuration.default_domain, *map(str, tables.server.domains), *hosts])
    return PolicySetup(
        module=tables.policy.module,
        folder=folder(configuration.path),
        sources=list(configuration.probed.sources),
        domains=list(names),
        gateways=gateways.gateway_setups(tables, slots),
        routes=gateways.route_setups(tables),
        dns=dns(configuration),
    )


def homes(configuration: Configuration) -> list[str]:
    """Domains of people who live here."""
    return sorted(checks.homes(configuration.tables, configuration.default_domain))


def dns(configuration: Configuration) -> DnsSetup:
    """How servers of other domains are located."""
    table = configuration.tables.dns
    return DnsSetup(
        servers=[str(one) for one in table.servers],
        timeout=table.timeout,
        prefer=table.prefer,
        naptr=table.naptr,
        cache=table.cache,
        min_ttl=table.min_ttl,
        max_ttl=table.max_ttl,
        negative_ttl=table.negative_ttl,
        try_time=table.try_time,
        stale=table.stale,
    )


def tls(configuration: Configuration, secret: bytes) -> TlsSetup | None:
    """What TLS connections are made of, None without certificates. `secret` is what all workers share to resume each
    other's sessions."""
    return tls_setup(configuration.tables.tls, folder(configuration.path), secret, configuration.tls_files)


def users(configuration: Configuration) -> list[tuple[str, str, str, str]]:
    """The accounts as the state process takes them."""
    return [(*account,) for account in configuration.accounts]


def services(configuration: Configuration) -> list[tuple[str, dict[str, Any]]]:
    """Who has services, and which, as the state process takes them."""
    return [(aor, plain(record)) for aor, record in configuration.served]


def needs_restart(running: Configuration, wanted: Configuration) -> list[str]:
    """Keys of `wanted` that differ from `running` and cannot change while the server runs."""
    old, new = running.tables, wanted.tables
    keys = {
        "server.listen": old.server.listen != new.server.listen,
        "server.workers": old.server.workers != new.server.workers,
        "server.steering": old.server.steering != new.server.steering,
        "server.control": old.server.control != new.server.control,
        "state.path": running.store != wanted.store,
        "state.require_store": old.state.require_store != new.state.require_store,
        "limits.transactions": old.limits.transactions != new.limits.transactions,
        "limits.longest_call": old.limits.longest_call != new.limits.longest_call,
        "log.level": old.log.level != new.log.level,
        "log.format": old.log.format != new.log.format,
    }
    return [key for key, changed in keys.items() if changed]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
