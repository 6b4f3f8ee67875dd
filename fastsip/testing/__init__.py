"""For tests of what people decide: a server in virtual time."""

from fastsip.testing.engine import Device, Engine

__all__ = ["Device", "Engine"]
