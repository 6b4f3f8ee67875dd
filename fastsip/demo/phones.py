"""Phones for the demonstration: they register with Digest, call, answer and hang up (RFC 3261 8, 10, 12, 13, 15).

Several phones share one `Endpoint`. They are simple, but they keep to the rules that a proxy depends on: they send
again what is not answered, acknowledge every final response, follow the Route set, and answer what is sent to them
twice the same way.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

from fastsip.demo.digest import Answerer
from fastsip.demo.transactions import Address, Endpoint, Received, ServerTransaction, TransactionTimeout
from fastsip.demo.wire import message, new_branch, new_tag, session_description

ATTEMPTS = 4
"""How often one request is sent for challenges: without credentials, with old ones, with new ones, and one to spare."""

CHALLENGES = ((407, "Proxy-Authenticate", "Proxy-Authorization"), (401, "WWW-Authenticate", "Authorization"))
"""Status, header and answering header: of a proxy for calls, of a registrar for registrations."""

_URI = re.compile(r"<([^>]*)>")
_HOST_PORT = re.compile(r"sips?:(?:[^@]*@)?([0-9.]+)(?::(\d+))?")


class CallFailed(Exception):
    """A call that did not go as it should; the text says at which step and why."""


class Outcome(NamedTuple):
    """One finished call. `ringing` and `answered` are seconds from the first INVITE to the 180 and to the 200."""

    call_id: str
    ringing: float
    answered: float


class Dialog:
    """One side's knowledge of a dialog (12): identifiers, CSeq, Route set and remote target."""

    def __init__(self, phone: Phone, call_id: str, local: str, remote: str, target: str, routes: list[str]) -> None:
        self.phone, self.call_id, self.local, self.remote = phone, call_id, local, remote
        self.target, self.routes = target, routes
        self.invite: ServerTransaction | None = None

    def next_hop(self) -> Address:
        """Where a request of this dialog goes: the first Route, else the remote target, else the phone's proxy."""
        uri = self.routes[0] if self.routes else self.target
        found = _HOST_PORT.search(uri)
        return (found[1], int(found[2] or 5060)) if found else self.phone.proxy


class Phone:
    """One user's phone. `proxy` is where its requests go; `ring` is how many seconds it rings before it answers."""

    def __init__(self, endpoint: Endpoint, proxy: Address, user: str, domain: str, password: str,
                 ring: float = 0.2) -> None:
        self.endpoint, self.proxy, self.user, self.ring = endpoint, proxy, user, ring
        self.domain = domain
        self.address = f"sip:{user}@{domain}"
        self.contact = f"<sip:{user}@{endpoint.host}:{endpoint.port}>"
        self.dialogs: dict[tuple[str, str | None], Dialog] = {}
        self._answerers = {status: Answerer(user, password) for status in (401, 407)}
        self._registration = (secrets.token_hex(10), new_tag())
        self._cseq = random.randrange(1, 1000)

    # --- what a person does ------------------------------------------------------------------------------------------

    async def register(self, expires: int = 600) -> None:
        """Bind the contact to the address (10.2). Raises CallFailed with what the registrar said."""
        call_id, tag = self._registration
        headers = [("From", f"<{self.address}>;tag={tag}"), ("To", f"<{self.address}>"), ("Call-ID", call_id),
                   ("Contact", self.contact), ("Expires", str(expires))]
        response = await self._authenticated("REGISTER", f"sip:{self.domain}", headers, self.proxy)
        if response.status != 200:
            raise CallFailed(f"REGISTER got {response.status} {response.reason}")

    async def call(self, target: str, hold: float) -> Outcome:
        """Call a SIP URI, talk for `hold` seconds, hang up. Raises CallFailed."""
        loop = self.endpoint.loop
        call_id, tag, started = secrets.token_hex(10), new_tag(), loop.time()
        local = f"<{self.address}>;tag={tag}"
        headers = [("From", local), ("To", f"<{target}>"), ("Call-ID", call_id), ("Contact", self.contact)]
        ringing = 0.0

        def on_provisional(response: Received) -> None:
            nonlocal ringing
            if response.status != 100:
                ringing = ringing or loop.time() - started

        dialog: Dialog | None = None
        acknowledgement = b""

        def acknowledge() -> None:
            if dialog is not None:
                self.endpoint.send(acknowledgement, dialog.next_hop())

        response = await self._authenticated("INVITE", target, headers, self.proxy, on_provisional, acknowledge)
        if response.status != 200:
            raise CallFailed(f"INVITE got {response.status} {response.reason}")
        answered = loop.time() - started
        routes = list(reversed(response.headers.values("Record-Route")))
        found = _URI.search(response.headers.get("Contact", ""))
        dialog = Dialog(self, call_id, local, response.headers["To"], found[1] if found else target, routes)
        acknowledgement = self._request("ACK", dialog.target, new_branch(), response.cseq, self._within(dialog))
        acknowledge()
        await asyncio.sleep(hold)
        response = await self._authenticated("BYE", dialog.target, self._within(dialog), dialog.next_hop())
        if response.status != 200:
            raise CallFailed(f"BYE got {response.status} {response.reason}")
        return Outcome(call_id, ringing or answered, answered)

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _authenticated(self, method: str, uri: str, headers: list[tuple[str, str]], to: Address,
                             on_provisional: Callable[[Received], None] | None = None,
                             on_again: Callable[[], None] | None = None) -> Received:
        """Send a request and answer its challenges (22.2, 22.3): each time a new branch and a higher CSeq."""
        refusal, challenge, answer = CHALLENGES[method == "REGISTER"]
        answerer = self._answerers[refusal]
        for _ in range(ATTEMPTS):
            self._cseq += 1
            credentials = answerer.credentials(method, uri)
            sent = [*headers, (answer, credentials)] if credentials else headers
            branch = new_branch()
            data = self._request(method, uri, branch, self._cseq, sent)
            transaction = self.endpoint.request(method, branch, data, to)
            transaction.on_provisional, transaction.on_again = on_provisional, on_again
            try:
                response = await transaction.final
            except TransactionTimeout as error:
                raise CallFailed(str(error)) from None
            if response.status != refusal or not answerer.learn(response.headers.lines_of(challenge)):
                break
        return response

    def _request(self, method: str, uri: str, branch: str, cseq: int, headers: list[tuple[str, str]]) -> bytes:
        endpoint = self.endpoint
        top = [("Via", f"SIP/2.0/UDP {endpoint.host}:{endpoint.port};branch={branch};rport"), ("Max-Forwards", "70")]
        body = ""
        if method == "INVITE":
            body = session_description(self.user, endpoint.host, 40000)
            headers = [*headers, ("Content-Type", "application/sdp")]
        place = 1 + [name for name, _ in headers].index("Call-ID")
        headers = [*headers[:place], ("CSeq", f"{cseq} {method}"), *headers[place:]]
        return message(f"{method} {uri} SIP/2.0", [*top, *headers], body)

    @staticmethod
    def _within(dialog: Dialog) -> list[tuple[str, str]]:
        return [*(("Route", route) for route in dialog.routes), ("From", dialog.local), ("To", dialog.remote),
                ("Call-ID", dialog.call_id)]

    # --- what others do ----------------------------------------------------------------------------------------------

    def on_request(self, transaction: ServerTransaction) -> None:
        """A request for this phone."""
        request = transaction.request
        tag = new_tag()
        if request.method == "INVITE" and not request.to_tag:
            transaction.respond(180, "Ringing", tag, [("Contact", self.contact)])
            self.endpoint.loop.call_later(self.ring, self._answer, transaction, tag)
        elif request.method == "BYE":
            known = self.dialogs.pop((request.call_id, request.to_tag), None)
            transaction.respond(*((200, "OK") if known else (481, "Call/Transaction Does Not Exist")), tag)
        elif request.method == "CANCEL":
            self._cancel(transaction, tag)
        elif request.method == "OPTIONS":
            transaction.respond(200, "OK", tag, [("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")])
        else:
            transaction.respond(501, "Not Implemented", tag)

    def _answer(self, transaction: ServerTransaction, tag: str) -> None:
        if transaction.status >= 200:
            return
        request, endpoint = transaction.request, self.endpoint
        found = _URI.search(request.headers.get("Contact", ""))
        dialog = Dialog(self, request.call_id, f"{request.headers['To']};tag={tag}", request.headers["From"],
                        found[1] if found else "", request.headers.values("Record-Route"))
        dialog.invite = transaction
        self.dialogs[request.call_id, tag] = dialog
        body = session_description(self.user, endpoint.host, 40002)
        transaction.respond(200, "OK", tag, [("Contact", self.contact), ("Content-Type", "application/sdp")], body)

    def _cancel(self, transaction: ServerTransaction, tag: str) -> None:
        invite = self.endpoint.servers.get((transaction.request.branch or "", "INVITE"))
        if invite is None:
            transaction.respond(481, "Call/Transaction Does Not Exist", tag)
            return
        transaction.respond(200, "OK", tag)
        if invite.status < 200:
            invite.respond(487, "Request Terminated", tag)

    def on_acknowledgement(self, request: Received) -> None:
        dialog = self.dialogs.get((request.call_id, request.to_tag))
        if dialog is not None and dialog.invite is not None:
            dialog.invite.acknowledged()


class Desk:
    """The phones of one endpoint: gives each request to the phone it is for."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.phones: dict[str, Phone] = {}
        endpoint.on_request = self._on_request
        endpoint.on_acknowledgement = self._on_acknowledgement

    def add(self, phone: Phone) -> Phone:
        self.phones[phone.user] = phone
        return phone

    def _find(self, request: Received) -> Phone | None:
        return self.phones.get((request.uri and request.uri.user) or "")

    def _on_request(self, transaction: ServerTransaction) -> None:
        phone = self._find(transaction.request)
        if phone is not None:
            phone.on_request(transaction)
        else:
            transaction.respond(404, "Not Found", new_tag())

    def _on_acknowledgement(self, request: Received) -> None:
        phone = self._find(request)
        if phone is not None:
            phone.on_acknowledgement(request)
