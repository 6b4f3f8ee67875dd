"""Calls that do not come about, both ends played by SIPp (RFC 3665 3.8 to 3.11), Alice challenged as in the flows."""

from __future__ import annotations

import pytest
from harness import (
    Call,
    Flow,
    Message,
    Played,
    check_challenge,
    check_forwarded,
    check_order,
    check_response,
    once,
    requires_peer,
)
from harness.stage import ATLANTA

pytestmark = [requires_peer("sipp")]

CHALLENGED = ("> INVITE", "< 407", "> ACK")
NO_ANSWER = Flow("cancel.xml", "ring.xml", pause=300, challenged=True)
BUSY = Flow("refused.xml", "busy.xml", challenged=True)
NO_RESPONSE = Flow("refused.xml", "silent.xml", bob_pause=9000, challenged=True)
UNAVAILABLE = Flow("refused.xml", "unavailable.xml", pause=200, challenged=True)


@pytest.mark.flow(NO_ANSWER)
def test_no_answer(played: Played) -> None:
    """RFC 3665 3.8: Alice gives up; CANCEL is answered hop by hop and Bob's 487 ends the INVITE (F1 to F20)."""
    for call in played.calls:
        check_order(
            call.alice, *CHALLENGED, "> INVITE", "< 100", "< 180", "> CANCEL", "< 200", "< 487", "> ACK"
        )  # fmt: skip
        check_order(call.bob, "< INVITE", "> 180", "< CANCEL", "> 200", "> 487", "< ACK")
        _check_refusal(call, played, "487")
        invite, cancel = call.received("bob", "INVITE"), call.received("bob", "CANCEL")
        assert cancel.all("Via") == invite.all("Via")[:1], "a CANCEL has the one Via of the request it ends (9.1)"
        assert cancel.uri == invite.uri and cancel.cseq == invite.cseq
        assert not cancel.all("Route")


@pytest.mark.flow(BUSY)
def test_busy(played: Played) -> None:
    """RFC 3665 3.9: 486, acknowledged at every hop (F1 to F11)."""
    for call in played.calls:
        check_order(call.alice, *CHALLENGED, "> INVITE", "< 100", "< 486", "> ACK")
        check_order(call.bob, "< INVITE", "> 486", "< ACK")
        _check_refusal(call, played, "486")


@pytest.mark.flow(NO_RESPONSE)
def test_no_response(played: Played) -> None:
    """RFC 3665 3.10: the last proxy sends the INVITE seven times in 64*T1, then gives up (F1 to F15).

    The RFC shows 480; a proxy whose client transaction timed out answers 408 (RFC 3261 16.7 step 6, 16.8).
    """
    played.alice.check()
    bob = played.bob.by_call()
    for call_id, seen in played.alice.by_call().items():
        check_order(once(seen), *CHALLENGED, "> INVITE", "< 100", "< 408", "> ACK")
        invites = bob[call_id]
        names = [message.name for message in invites]
        # The seventh leaves at 63*T1, 100 ms before Timer B here, which a busy machine can swallow.
        assert names in (["INVITE"] * 7, ["INVITE"] * 6), f"{names}, not 7 INVITEs"
        assert len({message.raw for message in invites}) == 1, "a retransmission differs from its original"


@pytest.mark.flow(UNAVAILABLE)
def test_temporarily_unavailable(played: Played) -> None:
    """RFC 3665 3.11: rings, then 480 (F1 to F14)."""
    for call in played.calls:
        check_order(call.alice, *CHALLENGED, "> INVITE", "< 100", "< 180", "< 480", "> ACK")
        check_order(call.bob, "< INVITE", "> 180", "> 480", "< ACK")
        _check_refusal(call, played, "480")


def _check_refusal(call: Call, played: Played, status: str) -> None:
    """Challenge, INVITE as it should arrive, and a final response acknowledged hop by hop."""
    challenge, request = call.received("alice", "407"), call.sent("alice", "INVITE", 1)
    check_challenge(challenge, 407, ATLANTA)
    check_forwarded(call.received("bob", "INVITE"), request, len(played.scene.servers))
    final, ack = call.received("alice", status), call.received("bob", "ACK")
    check_response(final, request)
    assert final.one("To") == _final(call.bob, status).one("To")
    assert ack.all("Via") == call.received("bob", "INVITE").all("Via")[:1], "an ACK of a hop has one Via (17.1.1.3)"
    assert ack.one("To") == _final(call.bob, status).one("To")
    assert ack.one("CSeq") == f"{request.cseq} ACK"


def _final(messages: list[Message], status: str) -> Message:
    return next(message for message in messages if message.sent and message.name == status)
