"""What each child is handed when it starts."""

from __future__ import annotations

from fastsip.config import Configuration, gateways
from fastsip.config import setup as conversion
from fastsip.launch import PolicySetup, Settings, StateSetup, WorkerSetup

from .listeners import Listeners
from .shared import Shared

STORE_INTERVAL = 50
"""Milliseconds between group commits of the store."""


def worker_setup(
    configuration: Configuration, listeners: Listeners, shared: Shared, endpoint: str, index: int, incarnation: int
) -> WorkerSetup:
    tables = configuration.tables
    return WorkerSetup(
        index=index,
        workers=tables.server.workers,
        incarnation=incarnation,
        listeners=listeners.setups(index),
        control_fd=shared.control_fd,
        rings_fd=shared.rings_fd,
        slots_fd=shared.slots_fds[index],
        segment_fd=shared.segment_fd,
        nonces_fd=shared.nonces_fd,
        wake_fds=shared.wake_fds,
        state_endpoint=endpoint,
        settings=worker_settings(configuration, listeners, shared),
        policy=policy_setup(configuration, listeners, shared),
        targets_fd=shared.targets_fd,
        tls=conversion.tls(configuration, shared.ticket_secret),
        origins=list(tables.websocket.origins),
        paths=list(tables.websocket.paths),
        log_level=tables.log.level,
        log_format=tables.log.format,
    )


def policy_setup(configuration: Configuration, listeners: Listeners, shared: Shared) -> PolicySetup:
    """What policy threads decide by; the gateways have slots of the target table from now on."""
    return conversion.policy(configuration, listeners.bound, _slots(configuration, shared))


def worker_settings(configuration: Configuration, listeners: Listeners, shared: Shared) -> Settings:
    """What workers follow; the gateways have slots from now on."""
    return conversion.settings(configuration, listeners.bound, _slots(configuration, shared))


def _slots(configuration: Configuration, shared: Shared) -> list[int]:
    return shared.targets.assign(gateways.in_table(configuration.tables))


def worker_fds(setup: WorkerSetup) -> list[int]:
    """The descriptors a worker inherits, besides its setup and channel."""
    return [
        setup.control_fd, setup.rings_fd, setup.slots_fd, setup.segment_fd, setup.nonces_fd,
        setup.targets_fd, *setup.wake_fds, *(listener.fd for listener in setup.listeners),
    ]  # fmt: skip


def state_setup(configuration: Configuration, shared: Shared, endpoint: str, incarnation: int) -> StateSetup:
    tables = configuration.tables
    return StateSetup(
        incarnation=incarnation,
        control_fd=shared.control_fd,
        segment_fd=shared.segment_fd,
        endpoint=endpoint,
        store=configuration.store,
        require_store=tables.state.require_store,
        store_interval=STORE_INTERVAL,
        users=conversion.users(configuration),
        services=conversion.services(configuration),
        realm=tables.auth.realm,
        default_domain=configuration.default_domain,
        domains=conversion.homes(configuration),
        max_contacts=tables.registrar.max_contacts,
        workers=tables.server.workers,
        targets_fd=shared.targets_fd,
        longest_call=round(tables.limits.longest_call * 1000),
        log_level=tables.log.level,
        log_format=tables.log.format,
    )
