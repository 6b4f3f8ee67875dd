"""What a flow diagram asks of the messages two ends have seen, F1 to Fn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .wire import Message, tag


@dataclass(frozen=True)
class Call:
    """The messages of one Call-ID as each end saw them, retransmissions taken out."""

    alice: list[Message]
    bob: list[Message]

    def received(self, end: str, name: str, nth: int = 0) -> Message:
        """The nth message called `name` (method or status) that "alice" or "bob" received."""
        found = [m for m in getattr(self, end) if not m.sent and m.name == name]
        assert len(found) > nth, f"{end} received no {name} number {nth + 1}: {arrows(getattr(self, end))}"
        return found[nth]

    def sent(self, end: str, name: str, nth: int = 0) -> Message:
        """The nth message called `name` that "alice" or "bob" sent."""
        found = [m for m in getattr(self, end) if m.sent and m.name == name]
        assert len(found) > nth, f"{end} sent no {name} number {nth + 1}: {arrows(getattr(self, end))}"
        return found[nth]


def once(messages: Iterable[Message]) -> list[Message]:
    """Without retransmissions: the same start line, branch and CSeq in the same direction."""
    seen = set()
    kept = []
    for message in messages:
        key = (message.sent, message.name, message.branch, message.get("CSeq"), tag(message.get("To")))
        if key not in seen:
            seen.add(key)
            kept.append(message)
    return kept


def arrows(messages: Iterable[Message]) -> list[str]:
    """`["> INVITE", "< 100", ...]`: sent and received."""
    return [f"{'>' if message.sent else '<'} {message.name}" for message in messages]


def kinds(calls: list[Call]) -> str:
    """The different ways calls went, the rarest last and with its messages."""
    ways: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        ways.setdefault((" ".join(arrows(call.alice)), " ".join(arrows(call.bob))), []).append(call)
    lines = []
    for (alice, bob), same in sorted(ways.items(), key=lambda way: -len(way[1])):
        lines.append(f"{len(same)} calls\n  alice {alice}\n  bob   {bob}")
    rarest = min(ways.values(), key=len, default=[])
    for call in rarest[:1]:
        for end in ("alice", "bob"):
            lines += [f"{end} {message.time:.3f}\n{message}" for message in getattr(call, end)]
    return "\n".join(lines)


def check_order(messages: list[Message], *expected: str) -> None:
    """Exactly these arrows in this order, as in check_order(call.alice, "> INVITE", "< 100", "< 200", "> ACK").

    A 100 may be missing where another response came within 200 ms (RFC 3261 17.2.1)."""
    found = arrows(messages)
    owed: list[str] = []
    for arrow in expected:
        at = len(owed)
        soon = 0 < at < len(found) and messages[at].time - messages[at - 1].time < 0.2
        if arrow != "< 100" or found[at : at + 1] == ["< 100"] or not (soon and found[at].startswith("<")):
            owed.append(arrow)
    assert found == owed, "\n".join(
        [f"expected {' '.join(expected)}", f"found    {' '.join(found)}", *[f"{m}\n" for m in messages]]
    )


def check_forwarded(request: Message, original: Message, hops: int, *, preloaded: int = 0) -> None:
    """A request at its end is what its sender wrote but for what RFC 3261 16.6 changes at each of `hops` proxies."""
    assert request.method == original.method
    vias = request.all("Via")
    assert len(vias) == hops + 1, f"{len(vias)} Via values after {hops} proxies\n{request}"
    assert _branch(vias[-1]) == original.branch, f"the last Via is not the sender's\n{request}"
    assert len({_branch(via) for via in vias}) == hops + 1, f"branches repeat\n{request}"
    assert all(_branch(via).startswith("z9hG4bK") for via in vias), f"a branch without the cookie\n{request}"
    assert int(request.one("Max-Forwards")) == int(original.one("Max-Forwards")) - hops, str(request)
    assert not request.all("Route"), f"Route values are left\n{request}"
    assert not request.all("Proxy-Authorization"), f"credentials went on to the callee\n{request}"
    for name in ("From", "To", "Call-ID", "CSeq", "Contact", "Subject", "X-Untouched", "Content-Type"):
        assert request.all(name) == original.all(name), f"{name} changed on the way\n{original}\n{request}"
    assert request.body == original.body, "the body changed on the way"
    assert int(request.one("Content-Length")) == len(request.body)


def check_record_route(request: Message, proxies: list[str]) -> None:
    """One Record-Route value a proxy, the last one on top, each a loose router (16.6 step 4)."""
    found = request.all("Record-Route")
    assert len(found) == len(proxies), f"{len(found)} Record-Route values after {len(proxies)} proxies\n{request}"
    for value, proxy in zip(found, reversed(proxies), strict=True):
        host, _, port = proxy.partition(":")
        assert f"{host}:{port}" in value, f"{value} does not name {proxy}"
        assert ";lr" in value, f"{value} is no loose router"


def check_response(response: Message, request: Message, sent_by_bob: Message | None = None) -> None:
    """A response at the caller has her Via alone and is otherwise what the callee wrote (16.7 step 9)."""
    vias = response.all("Via")
    assert len(vias) == 1, f"{len(vias)} Via values are left\n{response}"
    assert _branch(vias[0]) == request.branch, f"not the branch of the request\n{response}"
    for name in ("From", "Call-ID", "CSeq"):
        assert response.one(name) == request.one(name), f"{name} changed on the way\n{response}"
    if sent_by_bob is not None:
        for name in ("To", "Contact", "Record-Route", "Content-Type"):
            assert response.all(name) == sent_by_bob.all(name), f"{name} changed on the way\n{sent_by_bob}\n{response}"
        assert response.body == sent_by_bob.body, "the body changed on the way"


def check_challenge(response: Message, status: int, realm: str) -> None:
    """401 or 407 with a Digest challenge for `realm`, qop=auth, a nonce (RFC 3261 22, RFC 8760)."""
    assert response.status == status, str(response)
    values = response.all("WWW-Authenticate" if status == 401 else "Proxy-Authenticate")
    assert values, f"no challenge in\n{response}"
    for value in values:
        assert value.startswith("Digest "), value
        assert f'realm="{realm}"' in value, f"not for realm {realm}: {value}"
        assert "nonce=" in value and 'qop="auth"' in value, value
    assert tag(response.one("To")), f"no To tag\n{response}"


def _branch(via: str) -> str:
    return next((part.strip()[7:] for part in via.split(";") if part.strip().startswith("branch=")), "")
