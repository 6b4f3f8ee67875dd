"""What a registrar decides (RFC 3261 10.3)."""

from fastsip.registrar.decision import Origin, Register, RegisterContact, decide
from fastsip.registrar.removals import Removals

__all__ = ["Origin", "Register", "RegisterContact", "Removals", "decide"]
