"""The flows once more over a network that drops, duplicates and reorders 5 % of the datagrams on every stretch.

Alice and Bob each have a relay between them and the server. Every call must come to its end, and whatever arrives in
whatever order, the server must not send a provisional response after a final one.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from harness import Flow, Played, Scene, Sipp, requires_peer
from harness.sipp import PATIENT
from lossy import Relay, Weather

pytestmark = [requires_peer("sipp")]


def play_lossy(flow: Flow, scene: Scene, seed: int) -> Played:
    """As play_call, with a relay at each end. The relays' books go to `Played.relays`."""
    weather = Weather(seed)
    alice_host, bob_host = scene.hosts
    bob = Sipp(flow.bob, host=bob_host, calls=flow.calls, linger=4000, timeout=60)
    with (
        Relay(weather, scene.first.address, alice_host) as before,
        Relay(weather, scene.last.address, bob_host, bob.address) as behind,
    ):
        bob.keys = {**scene.keys(bob), "contact": f"{bob_host}:{behind.back[1]}"}
        bob.options = (*PATIENT, "-d", str(flow.pause), "-cid_str", f"b%u-{seed}")
        bob.start().listening()
        scene.register(behind.back)
        alice = Sipp(flow.alice, before.front, host=alice_host, calls=flow.calls, linger=4000, timeout=60)
        alice.keys = {**scene.keys(alice), "contact": f"{alice_host}:{before.back[1]}"}
        alice.options = (
            *PATIENT,
            "-d",
            str(flow.pause),
            "-cid_str",
            f"%u-{seed}-{flow.alice}",
            *scene.credentials_uri(),
        )
        alice.rows = scene.rows(flow.calls)
        outcome = alice.start().wait()
        return Played(scene, outcome, bob.wait() if outcome.status == 0 else bob.stop(), relays=(before, behind))


KINDS = {
    "simple": Flow("call.xml", "answer.xml"),
    "digest": Flow("call_digest.xml", "answer_hangup.xml", challenged=True),
    "reinvite": Flow("reinvite_alice.xml", "reinvite_bob.xml"),
    "cancel": Flow("cancel.xml", "ring.xml", challenged=True),
    "busy": Flow("refused.xml", "busy.xml", challenged=True),
    "unavailable": Flow("refused.xml", "unavailable.xml", challenged=True),
}


def grid(kinds: tuple[str, ...], seeds: range) -> list[Flow]:
    """Every kind under every seed and in every house; by default one seed each, with four workers."""
    found = []
    for place, kind in enumerate(kinds):
        for seed in seeds:
            lossy = replace(KINDS[kind], name=f"{kind}-seed{seed}", pause=1500, play=partial(play_lossy, seed=seed))
            if seed == seeds[place]:
                found += [replace(lossy, workers=(4,)), replace(lossy, workers=(1,), long=True)]
            else:
                found.append(replace(lossy, long=True))
    return found


@pytest.mark.flow(*grid(("simple", "digest", "reinvite"), range(1, 7)))
def test_answered_calls_come_to_their_end(played: Played) -> None:
    _check_whole(played)
    for call in played.calls:
        names = [message.name for message in call.alice]
        assert "200" in names and "BYE" in names


@pytest.mark.flow(*grid(("cancel", "busy", "unavailable"), range(4, 10)))
def test_refused_calls_come_to_their_end(flow: Flow, played: Played) -> None:
    _check_whole(played)
    final = {"cancel": "487", "busy": "486", "unavailable": "480"}[flow.name.split("-")[0]]
    for call in played.calls:
        assert final in [message.name for message in call.alice]


def _check_whole(played: Played) -> None:
    """Both ends finished every call, the network was as bad as it says, and egress is in order."""
    played.alice.check()
    played.bob.check()
    before, behind = played.relays
    assert before.done["dropped"] and behind.done["dropped"], "a network that lost nothing tests nothing"
    for relay in played.relays:
        finals: set[tuple[str, str]] = set()
        for message in relay.left:
            if message.is_response and message.method == "INVITE":
                transaction = (message.call_id, message.branch)
                assert message.status >= 200 or transaction not in finals, f"after the final response:\n{message}"
                if message.status >= 200:
                    finals.add(transaction)
