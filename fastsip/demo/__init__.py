"""`fastsip demo`: a server, a hundred phones, calls between them, and one call drawn message by message."""

from fastsip.demo.run import main

__all__ = ["main"]
