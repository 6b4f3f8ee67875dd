"""What a proxy owes to one call, whatever happens in what order: a witness at the engine's edge.

The witness sees every datagram that enters the engine and every one that leaves it, one after another, and knows the
rules of RFC 3261 16 and RFC 5393 only. It does not know plans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

T1 = 0.5
LIFE = 64 * T1
VIA = re.compile(r"^Via: [^\r]*?branch=([^;,\r]+)", re.MULTILINE)
TAG = re.compile(r"^To: [^\r]*?;tag=([^;\r]+)", re.MULTILINE)
CSEQ = re.compile(r"^CSeq: \d+ (\w+)", re.MULTILINE)
BREADTH = re.compile(r"^Max-Breadth: (\d+)\r", re.MULTILINE)


class Broken(AssertionError):
    """A rule was broken."""


@dataclass
class Branch:
    uri: str
    invite: str
    began: float
    breadth: int
    silent_after: float
    """The ring time, or the try_time it has in one of the plans."""
    spoke: bool = False
    """It sent a provisional response, which may have come too late."""
    rang: bool = False
    """One that came in time, beyond doubt."""
    final: int = 0
    cancel: str = ""
    cancelled: float = 0.0
    acks: int = 0
    owes_ack: bool = False
    late: bool = False
    """It spoke when it had been given up for its silence."""

    def silent(self, now: float) -> bool:
        """Whether it may count as given up because nothing was heard in time."""
        return self.late or (not self.rang and not self.final and now >= self.began + self.silent_after - 0.01)

    def given_up(self, now: float) -> bool:
        """Whether its transaction may be over without a final response."""
        return (bool(self.cancel) and now >= self.cancelled + LIFE - 0.1) or (
            not self.rang and now >= self.began + LIFE - 0.1
        )


@dataclass
class Witness:
    """Of one call. `incoming` is the Max-Breadth it came with, `ring_time` how long somebody may be silent when others
    are tried after him, `patience` what shorter time targets have in one of the plans."""

    incoming: int
    ring_time: float
    patience: dict[str, float] = field(default_factory=dict)
    branches: dict[str, Branch] = field(default_factory=dict)
    ladder: list[str] = field(default_factory=list)
    first_in: float = -1.0
    decided: float = -1.0
    """When the first final response went up."""
    final: int = 0
    refusal: str = ""
    answers: set[str] = field(default_factory=set)
    """To tags of 2xx that went up."""
    owed: dict[str, str] = field(default_factory=dict)
    """Those that have to, and why."""
    sent: set[str] = field(default_factory=set)
    """All that phones sent."""
    cancelled: bool = False
    declined: bool = False

    # What enters

    def request_in(self, now: float, text: str) -> None:
        self._note(now, "->", text)
        if text.startswith("INVITE") and self.first_in < 0:
            self.first_in = now

    def response_in(self, now: float, text: str) -> None:
        self._note(now, "  <-", text)
        status = int(text[8:11])
        branch = self.branches.get(_first(VIA, text))
        if branch is None or _first(CSEQ, text) != "INVITE":
            return
        branch.late = branch.silent(now)
        if status < 200:
            branch.spoke = True
            branch.rang = branch.rang or (not branch.final and not branch.given_up(now))
            return
        if status < 300:
            self.sent.add(_first(TAG, text))
            self._answered(now, branch, _first(TAG, text))
        elif not branch.final and not branch.given_up(now):
            branch.owes_ack = True
            self.declined |= status >= 600 and not branch.silent(now)
        if not branch.final:
            branch.final = status

    def _answered(self, now: float, branch: Branch, tag: str) -> None:
        if (branch.final and branch.final >= 300) or branch.given_up(now) or self.final >= 300:
            return
        if self.final and now > self.decided + LIFE - 0.1:
            return
        self.owed[tag] = branch.uri

    # What leaves

    def request_out(self, now: float, text: str) -> None:
        self._note(now, "  ->", text)
        method = text.split(" ", 1)[0]
        via = _first(VIA, text)
        branch = self.branches.get(via)
        if method == "INVITE":
            self._invite_out(now, via, branch, text)
            return
        if branch is None:
            # What belongs to nothing here is somebody else's to judge and passed on: a CANCEL (16.10), and an ACK that
            # comes after Timer H.
            unknown = method == "CANCEL" and (self.first_in < 0 or self.final > 0)
            unknown |= method == "ACK" and self.final > 0 and now >= self.decided + LIFE - 0.1
            _rule(unknown, f"{method} on a branch without an INVITE")
            return
        if method == "CANCEL":
            if not branch.cancel:
                _rule(branch.spoke, "CANCEL before a provisional response (9.1)")
                _rule(not branch.final, "CANCEL after a final response (9.1)")
                branch.cancel, branch.cancelled = text, now
            _rule(text == branch.cancel, "a second CANCEL that differs")
        elif method == "ACK":
            _rule(branch.final >= 300, f"ACK of a branch with {branch.final}")
            branch.acks += 1
        else:
            raise Broken(f"{method} out of nowhere")

    def _invite_out(self, now: float, via: str, branch: Branch | None, text: str) -> None:
        if branch is not None:
            _rule(text == branch.invite, "an INVITE sent again that differs")
            _rule(not branch.rang and not branch.final, "an INVITE sent again after a response")
            _rule(now <= branch.began + LIFE, "an INVITE sent again after Timer B")
            return
        _rule(not self.final, "a new branch after a final response")
        _rule(not self.cancelled, "a new branch after CANCEL (16.10)")
        _rule(not self.declined, "a new branch after a 6xx (16.7 step 5)")
        _rule(not self.owed, "a new branch after a 2xx")
        uri = text.split(" ", 2)[1]
        breadths = BREADTH.findall(text)
        _rule(len(breadths) == 1, "not one Max-Breadth in an INVITE")
        patience = min(self.ring_time, self.patience.get(uri, LIFE))
        running = sum(b.breadth for b in self.branches.values() if not (b.final or b.silent(now) or b.given_up(now)))
        _rule(running + int(breadths[0]) <= self.incoming, f"more breadth than {self.incoming} (RFC 5393 5.3.3)")
        self.branches[via] = Branch(uri, text, now, int(breadths[0]), patience)

    def response_out(self, now: float, text: str) -> None:
        self._note(now, "<-", text)
        if _first(CSEQ, text) == "CANCEL":
            self.cancelled |= text[8:11] == "200" and not self.final
            return
        status = int(text[8:11])
        if status < 200:
            _rule(not self.final, "a provisional response after a final one")
            return
        if status < 300:
            _rule(self.final < 300, "a 2xx after a refusal")
            tag = _first(TAG, text)
            _rule(tag in self.sent, "a 2xx nobody sent")
            self.answers.add(tag)
        elif self.final:
            _rule(text == self.refusal, f"{status} after the final response {self.final}")
        else:
            self._refused(now, status)
            self.refusal = text
        if not self.final:
            self.final, self.decided = status, now

    def _refused(self, now: float, status: int) -> None:
        _rule(status != 503, "a 503 went up (16.7 step 6)")
        for b in self.branches.values():
            _rule(b.final > 0 or b.silent(now) or b.given_up(now), f"{status} went up while {b.uri} was running")
        _rule(status >= 600 or not self.declined, f"{status} in place of a 6xx (16.7 step 6)")

    # Between two events, and at the end

    def settled(self, now: float) -> None:
        """Nothing more happens at this moment."""
        if missing := self.owed.keys() - self.answers:
            raise Broken(f"the 2xx {missing} did not go up (16.7 step 5)")
        if self.final or self.cancelled or self.declined:
            for b in self.branches.values():
                if b.rang and not b.final and not b.cancel:
                    raise Broken(f"{b.uri} rings and was not cancelled (16.7 step 10)")

    def end(self, now: float, bound: float) -> None:
        for b in self.branches.values():
            _rule(not b.owes_ack or b.acks > 0, f"no ACK for the {b.final} of {b.uri} (17.1.1.3)")
            _rule(not b.rang or bool(b.final or b.cancel), f"{b.uri} rang, lost, and was not cancelled")
        if self.first_in >= 0:
            _rule(self.final > 0, "the caller got no final response")
            _rule(self.decided - self.first_in <= bound, f"the final response took {self.decided - self.first_in} s")

    def _note(self, now: float, arrow: str, text: str) -> None:
        first = text.split("\r\n", 1)[0].replace(" SIP/2.0", "").replace("SIP/2.0 ", "")
        self.ladder.append(f"{now:9.3f} {arrow} {first}  [{_first(CSEQ, text)} {_first(VIA, text)[-34:]}]")


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _rule(kept: bool, what: str) -> None:
    if not kept:
        raise Broken(what)
