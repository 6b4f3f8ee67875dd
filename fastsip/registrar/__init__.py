"""What a registrar remembers besides the bindings (RFC 3261 10.3); what it decides is compiled, in `fastsip._facts`."""

from fastsip.registrar.removals import Removals

__all__ = ["Removals"]
