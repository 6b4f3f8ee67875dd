"""One number for where everything lies that extensions may cimport; see fastsip/_layout.pxd."""

from typing import Final

LAYOUT: Final[int]
