"""Phones at an engine in virtual time, for tests that read a flow message by message.

    with turns(roles={"example.com": "stateless"}) as engine:
        alice, bob = phones(engine, 2)
        engine.bind("bob@example.com", f"sip:bob@{bob.name}")
        alice.send(request("INVITE", "sip:bob@example.com", alice))
        invite = got(bob, "INVITE")

Messages are written by `engine.request`, `engine.reply` and `engine.ack`; `got` lets the engine have its turns, and no
time passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastsip.testing.engine import Device, Engine


@contextmanager
def turns(**settings: object) -> Iterator[Engine]:
    """An engine that lets go of everything when all of its timers have run out."""
    engine = Engine(**settings)
    try:
        yield engine
        engine.advance(400)
        counters = engine.counters()
        assert not any(counters[name] for name in ("transactions", "contexts", "buffers", "timers")), counters
    finally:
        left = engine.close()
    assert not any(left.values()), left


def phones(engine: Engine, number: int, host: str = "127.0.0.1") -> list[Device]:
    """So many phones, whose names are their addresses."""
    made = [engine.device("", host) for _ in range(number)]
    for device in made:
        device.name = device.address
    return made


def got(device: Device, start: str) -> str:
    """The next message a phone received, which must begin so."""
    device.engine.settle()
    assert device.received, f"nothing, not {start}"
    _, message = device.received.pop(0)
    assert message.startswith(start), message
    return message


def silent(*devices: Device) -> bool:
    """Whether nothing came that was not read."""
    devices[0].engine.settle()
    return not any(device.received for device in devices)
