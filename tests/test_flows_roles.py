"""Other roles, and reliable provisional responses, both ends played by SIPp.

Draft 5.2.5 (a stateless proxy between two that never answer), RFC 3665 3.6 and draft 3.1.5 (redirect, then proxy),
draft 4.1.2 (100rel). One server of each number of workers plays all of them: what differs is the domain that is called.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness import Outcome, Phone, Server, Sipp, check_order, once, requires_peer
from harness.endings import Endings
from harness.sipp import PATIENT, WAIT

pytestmark = [requires_peer("sipp")]

STATELESS, MOVED = "stateless.example.com", "redirect.example.com"
CALLS = 10


@pytest.fixture(params=[1, 4], ids=["1w", "4w"], scope="module")
def server(request: pytest.FixtureRequest, endings: Endings) -> Iterator[Server]:
    roles = {
        f'domains."{STATELESS}"': {"role": "stateless"},
        f'domains."{MOVED}"': {"role": "redirect"},
    }
    host = f"127.0.0.{40 + request.param}"
    made = Server(host=host, workers=request.param, domains=[host, STATELESS, MOVED], extra=roles).start()
    yield made
    endings.take(made)


def register(server: Server, aor: str, contact: str) -> None:
    with Phone(server.address) as phone:
        answer = phone.register(aor, contact, timeout=5)
        assert answer and answer.status == 200, answer


def play(server: Server, alice: str, bob: str, domain: str, calls: int = CALLS, **keys: str) -> tuple[Outcome, Outcome]:
    """Bob waits where `bob` is bound in this domain; Alice calls him there."""
    below = Sipp(bob, host="127.0.0.1", calls=calls)
    below.keys, below.options = {"contact": f"{below.host}:{below.port}"}, (*PATIENT, "-d", keys.pop("pause", "0"))
    below.start().listening()
    register(server, f"bob@{domain}", f"sip:bob@{below.host}:{below.port}")
    above = Sipp(alice, server.address, calls=calls)
    above.options = (*PATIENT, *WAIT)
    above.keys = {"contact": f"{above.host}:{above.port}", "proxy": server.hostport, **keys}
    above.rows = [(f"alice{number}", "", "bob") for number in range(calls)]
    outcome = above.start().wait()
    return outcome, below.wait() if outcome.status == 0 else below.stop()


def test_acm_timeout_through_a_stateless_proxy(server: Server) -> None:
    """Draft 5.2.5: no 100, so that the gateway goes on sending; every copy goes on as the first one did."""
    before = server.stats()["total"]["transactions"]
    above, below = play(server, "acm_timeout.xml", "silent.xml", STATELESS, 3, away=STATELESS, pause="9000")
    assert server.stats()["total"]["transactions"] == before
    above.check()
    assert not [message for message in above.messages if not message.sent], "the proxy spoke"
    arrived = below.by_call()
    for call_id, sent in above.by_call().items():
        names = [message.name for message in sent]
        assert names == ["INVITE"] * 6 + ["CANCEL"] * 6
        seen = arrived[call_id]
        assert [message.name for message in seen] == names, "each went on once"
        for name in ("INVITE", "CANCEL"):
            assert len({message.raw for message in seen if message.name == name}) == 1
        assert len({message.branch for message in seen}) == 1 and seen[0].branch.startswith("z9hG4bK")
        assert seen[0].all("Via")[1] == sent[0].one("Via") and seen[0].one("From") == sent[0].one("From")


def test_redirect_then_proxy(server: Server) -> None:
    """RFC 3665 3.6 (F1 to F16), draft 3.1.5 (F1 to F17)."""
    register(server, f"bob@{MOVED}", f"sip:bob@{server.hostport}")
    above, below = play(server, "redirected.xml", "answer_hangup.xml", server.host, moved=MOVED)
    above.check()
    below.check()
    arrived = below.by_call()
    for call_id, seen in above.by_call().items():
        alice, bob = once(seen), once(arrived[call_id])
        check_order(
            alice,
            *("> INVITE", "< 302", "> ACK"),
            *("> INVITE", "< 100", "< 180", "< 200", "> ACK", "< BYE", "> 200"),
        )
        check_order(bob, "< INVITE", "> 180", "> 200", "< ACK", "> BYE", "< 200")
        moved = next(message for message in alice if message.name == "302")
        assert moved.one("Contact").startswith(f"<sip:bob@{server.hostport}>;q=1;expires=")
        invite, ack = (next(message for message in bob if message.name == name) for name in ("INVITE", "ACK"))
        assert invite.cseq == 2 and len(invite.all("Via")) == 2, "the redirect server is not in its path"
        assert b"m=audio 49172" in ack.body and not invite.body


def test_reliable_provisional_responses(server: Server) -> None:
    """Draft 4.1.2: the PRACK goes by the Route set of the 183, and RSeq, RAck and option tags are what they were."""
    above, below = play(server, "prack_alice.xml", "prack_bob.xml", server.host, away=server.hostport)
    above.check()
    below.check()
    arrived = below.by_call()
    for call_id, seen in above.by_call().items():
        alice, bob = once(seen), once(arrived[call_id])
        check_order(alice, "> INVITE", "< 100", "< 183", "> PRACK", "< 200", "< 200", "> ACK", "> BYE", "< 200")
        check_order(bob, "< INVITE", "> 183", "< PRACK", "> 200", "> 200", "< ACK", "< BYE", "> 200")
        invite, prack = (next(message for message in bob if message.name == name) for name in ("INVITE", "PRACK"))
        progress = next(message for message in alice if message.name == "183")
        assert (invite.one("Supported"), invite.one("Require")) == ("100rel, replaces", "100rel")
        assert (progress.one("RSeq"), progress.one("Require")) == ("776656", "100rel")
        assert prack.one("RAck") == "776656 1 INVITE" and len(prack.all("Via")) == 2 and not prack.all("Route")
