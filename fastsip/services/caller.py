"""Who calls, as far as a callee may care: identities for block lists, and whether they are hidden."""

from __future__ import annotations

from fastsip._message import Uri
from fastsip.errors import ParseError
from fastsip.policy.request import Request
from fastsip.services.globs import forms

HIDING = frozenset(("id", "user", "header"))
"""Privacy values by which a caller asks that nobody be told who he is (RFC 3323 4.2, RFC 3325 9.3)."""


def privacy(request: Request) -> list[str]:
    """The values of the Privacy header, lower case (RFC 3323 4.2)."""
    return [value.strip().lower() for line in request.headers.lines_of("Privacy") for value in line.split(";")]


class Caller:
    """The sender of one request; what it says is looked at when it is first asked for."""

    __slots__ = ("_anonymous", "_forms", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self._forms: list[str] | None = None
        self._anonymous: bool | None = None

    @property
    def forms(self) -> list[str]:
        """What From and P-Asserted-Identity say, and who it was by Digest, as block lists see it."""
        if self._forms is None:
            self._forms = [
                form for uri in (_from(self.request), *_asserted(self.request)) if uri for form in forms(uri)
            ]
            if self.request.caller:
                self._forms.append(f"sip:{self.request.caller.lower()}")
        return self._forms

    @property
    def anonymous(self) -> bool:
        """Whether the callee cannot know who calls (RFC 5079): Privacy asks for it, or From names nobody and no
        neighbour that is trusted says who it is."""
        if self._anonymous is None:
            request = self.request
            self._anonymous = not HIDING.isdisjoint(privacy(request)) or (
                _nobody(_from(request)) and not (request.trusted and _asserted(request))
            )
        return self._anonymous


def _from(request: Request) -> Uri | None:
    try:
        return request.from_.uri
    except ParseError:
        return None


def _asserted(request: Request) -> list[Uri]:
    if "P-Asserted-Identity" not in request.headers:
        return []
    try:
        return [each.uri for each in request.headers.addresses("P-Asserted-Identity") if each.uri is not None]
    except ParseError:
        return []


def _nobody(uri: Uri | None) -> bool:
    # RFC 3323 4.1.1.3; RFC 3261 8.1.1.3 has an example where the host is another.
    if uri is None or uri.scheme == "tel":
        return uri is None
    host = (uri.host or "").lower()
    return host == "anonymous.invalid" or host.endswith(".anonymous.invalid") or (uri.user or "").lower() == "anonymous"
