"""Which transaction a message belongs to.

1. RFC 3261 17.2.3 with the cookie: branch, sent-by, method; ACK meets INVITE
2. RFC 3261 17.2.3 without it: the rules for RFC 2543 peers, ACK by To tag; RFC 6026 6
3. RFC 3261 9.2: what a CANCEL names
4. RFC 3261 17.1.3: responses by our branch and CSeq method; forged branches, reused slots, other workers
5. the branch itself: alphanumeric, fixed length, either case, loop hash
6. limits
7. the table while it grows
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from wire import T1, ack, cancel, request, response

from fastsip._testing import ManualLayer, ManualTransaction

NewLayer = Callable[..., ManualLayer]


def served(layer: ManualLayer, message: bytes, *statuses: int) -> ManualTransaction:
    server = layer.serve(message)
    assert server is not None
    for status in statuses:
        layer.respond(server, response(status, message))
    layer.take()
    return server


def done(layer: ManualLayer, *transactions: ManualTransaction) -> None:
    for transaction in transactions:
        layer.end(transaction)


# 1. With the cookie


@pytest.mark.parametrize(
    "other",
    [
        request(branch="z9hG4bKclient1", call_id="another", cseq=9, from_tag="x", uri="sip:elsewhere@example.com"),
        request(sent_by="CLIENT.Example.COM"),
        request(sent_by="client.example.com:5060"),
        request(via="SIP/2.0/UDP client.example.com ;ttl=1;received=192.0.2.9;branch=z9hG4bKclient1"),
    ],
)
def test_same_branch_sent_by_and_method_is_the_same(layer: ManualLayer, other: bytes) -> None:
    server = served(layer, request())
    assert layer.match(other) == ("absorbed", server)
    done(layer, server)


@pytest.mark.parametrize(
    "other",
    [
        request(branch="z9hG4bKclient2"),
        request(branch="z9hG4bKclient"),
        request(sent_by="client.example.net"),
        request(sent_by="client.example.com:5061"),
        request("OPTIONS"),
        request("CANCEL"),
        request("FROBNICATE"),
        request(branch="z9hG4bK"),
        request(branch=None),
    ],
)
def test_another_branch_sent_by_or_method_is_another(layer: ManualLayer, other: bytes) -> None:
    server = served(layer, request())
    assert layer.match(other) == ("none", None)
    done(layer, server)


def test_unknown_methods_are_told_apart_by_name(layer: ManualLayer) -> None:
    server = served(layer, request("FROBNICATE"))
    assert layer.match(request("FROBNICATE")) == ("absorbed", server)
    assert layer.match(request("DEFROBNICATE")) == ("none", None)
    done(layer, server)


def test_tls_sent_by_without_port_means_5061(layer: ManualLayer) -> None:
    server = served(layer, request(via="SIP/2.0/TLS a.example.com;branch=z9hG4bKx"))
    assert layer.match(request(via="SIP/2.0/TLS a.example.com:5061;branch=z9hG4bKx")) == ("absorbed", server)
    assert layer.match(request(via="SIP/2.0/TLS a.example.com:5060;branch=z9hG4bKx")) == ("none", None)
    done(layer, server)


def test_very_long_sent_by(layer: ManualLayer) -> None:
    host = "a" * 200 + ".example.com"
    server = served(layer, request(sent_by=host))
    assert layer.match(request(sent_by=host.upper())) == ("absorbed", server)
    assert layer.match(request(sent_by="b" + host[1:])) == ("none", None)
    done(layer, server)


def test_ack_meets_its_invite_and_no_other_transaction(layer: ManualLayer) -> None:
    invite, options = request(), request("OPTIONS", branch="z9hG4bKoptions")
    refused, other = served(layer, invite, 486), served(layer, options, 200)
    assert layer.match(ack(request(branch="z9hG4bKoptions"))) == ("none", None)
    assert layer.match(ack(request(branch="z9hG4bKclient9"))) == ("none", None)
    assert layer.match(ack(invite)) == ("absorbed", refused)
    assert (refused.state, other.state) == ("Confirmed", "Completed")


# 2. Without it

OLD = {"branch": None, "sent_by": "old.example.com"}


def old(method: str = "INVITE", **changes: object) -> bytes:
    return request(method, **{**OLD, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("branch", [None, "1", "z9hG4b", "z9hG4bK"])
@pytest.mark.parametrize("method", ["INVITE", "BYE"])
def test_2543__the_same_request_again(layer: ManualLayer, method: str, branch: str | None) -> None:
    server = served(layer, old(method, branch=branch))
    assert layer.match(old(method, branch=branch)) == ("absorbed", server)
    done(layer, server)


@pytest.mark.parametrize("method", ["INVITE", "BYE"])
@pytest.mark.parametrize(
    "change",
    [
        {"uri": "sip:carol@example.com"},
        {"to_tag": "other"},
        {"from_tag": "other"},
        {"call_id": "other"},
        {"cseq": 2},
        {"sent_by": "other.example.com"},
        {"branch": "2"},
    ],
)
def test_2543__anything_else_is_another_request(layer: ManualLayer, method: str, change: dict[str, object]) -> None:
    server = served(layer, old(method, branch="1"))
    assert layer.match(old(method, **{"branch": "1", **change})) == ("none", None)
    done(layer, server)


def test_2543__method_is_part_of_it(layer: ManualLayer) -> None:
    server = served(layer, old("BYE"))
    assert layer.match(old("OPTIONS")) == ("none", None)
    done(layer, server)


@pytest.mark.parametrize("to_tag", ["", "dialog"])
def test_2543__ack_by_the_to_tag_of_the_response(layer: ManualLayer, to_tag: str) -> None:
    invite = old(to_tag=to_tag)
    server = served(layer, invite, 180, 486)
    assert layer.match(ack(invite.replace(b";tag=dialog", b""), to_tag="another")) == ("none", None)
    assert server.state == "Completed"
    assert layer.match(ack(invite)) == ("absorbed", server)
    assert server.state == "Confirmed"
    assert layer.match(ack(invite)) == ("absorbed", server)
    assert layer.take() == []


def test_2543__ack_of_another_cseq_or_dialog(layer: ManualLayer) -> None:
    invite = old()
    server = served(layer, invite, 486)
    assert layer.match(ack(old(cseq=2))) == ("none", None)
    assert layer.match(ack(old(from_tag="other"))) == ("none", None)
    assert layer.match(ack(old(call_id="other"))) == ("none", None)
    assert server.state == "Completed"


def test_2543__ack_of_a_2xx_goes_to_the_tu(layer: ManualLayer) -> None:
    invite = old()
    server = served(layer, invite, 200)
    assert layer.match(ack(invite)) == ("ACK for the TU", server)
    assert server.state == "Accepted"


def test_2543__reinvite_is_told_from_the_invite_before_it(layer: ManualLayer) -> None:
    first, again = served(layer, old(), 200), served(layer, old(to_tag="to1", cseq=2), 488)
    assert layer.match(old(to_tag="to1", cseq=2)) == ("absorbed", again)
    assert layer.match(ack(old(to_tag="to1", cseq=2))) == ("absorbed", again)
    assert (first.state, again.state) == ("Accepted", "Confirmed")


def test_2543__and_3261_do_not_meet(layer: ManualLayer) -> None:
    server = served(layer, old())
    assert layer.match(request(sent_by="old.example.com")) == ("none", None)
    done(layer, server)


# 3. CANCEL


@pytest.mark.parametrize("invite", [request(), old(), old(to_tag="dialog"), old(branch="1")])
def test_cancel_names_its_invite_and_is_a_transaction_of_its_own(layer: ManualLayer, invite: bytes) -> None:
    server = served(layer, invite, 180)
    assert layer.match(cancel(invite)) == ("none", None)
    assert layer.find_cancelled(cancel(invite)) == server
    own = served(layer, cancel(invite), 200)
    assert own != server
    assert layer.match(cancel(invite)) == ("absorbed", own)
    assert layer.take() == ["send 200"]
    layer.respond(server, response(487, invite))
    assert layer.match(ack(invite)) == ("absorbed", server)
    layer.take()


def test_cancel_of_nothing(layer: ManualLayer) -> None:
    server = served(layer, request("OPTIONS"))
    assert layer.find_cancelled(cancel(request())) is None
    assert layer.find_cancelled(cancel(request(branch="z9hG4bKx"))) is None
    done(layer, server)


# 4. Responses


def started(layer: ManualLayer, method: str = "INVITE") -> tuple[ManualTransaction, bytes]:
    client = layer.client(method)
    assert client is not None
    message = request(method, branch=layer.branch(client, 5))
    layer.start(client, message)
    layer.take()
    return client, message


def test_response_by_branch_alone(layer: ManualLayer) -> None:
    one, two = started(layer), started(layer)
    layer.receive_response(response(180, two[1]))
    assert (one[0].state, two[0].state) == ("Calling", "Proceeding")
    done(layer, one[0], two[0])


def test_response_with_the_branch_in_another_case(layer: ManualLayer) -> None:
    client, invite = started(layer)
    branch = layer.branch(client, 5)
    assert layer.receive_response(response(180, invite).replace(branch.encode(), branch.upper().encode()))
    assert client.state == "Proceeding"
    done(layer, client)


@pytest.mark.parametrize("at", range(34))
def test_a_branch_with_one_character_changed_is_a_stray(layer: ManualLayer, at: int) -> None:
    client, invite = started(layer)
    branch = layer.branch(client, 5)
    for other in "0", "g", "z", ".":
        if other == branch[at].lower():
            continue
        forged = branch[:at] + other + branch[at + 1 :]
        assert layer.read_branch(forged) is None
        assert not layer.receive_response(response(180, invite).replace(branch.encode(), forged.encode()))
    assert client.state == "Calling"
    done(layer, client)


@pytest.mark.parametrize(
    "branch", ["z9hG4bK", "z9hG4bKclient", "z9hG4bK" + "0" * 34, "", "0" * 34, "z9hG4bK" + "/" * 27]
)
def test_not_our_branch(layer: ManualLayer, branch: str) -> None:
    assert layer.read_branch(branch) is None
    assert not layer.receive_response(response(200, request(branch=branch or None)))
    assert layer.counters["strays"] == 1


def test_another_method_in_cseq_is_a_stray(layer: ManualLayer) -> None:
    client, message = started(layer, "BYE")
    for method in ("INVITE", "OPTIONS", "CANCEL", "FROBNICATE"):
        assert not layer.receive_response(response(200, message, cseq_method=method))
    assert client.state == "Trying"
    done(layer, client)


def test_a_late_answer_never_meets_a_reused_slot(layer: ManualLayer) -> None:
    slots = set()
    late: list[bytes] = []
    for _ in range(50):
        client, invite = started(layer)
        slots.add(client.slot)
        assert not any(layer.receive_response(answer) for answer in late)
        assert client.state == "Calling"
        late.append(response(200, invite))
        layer.end(client)
        assert not layer.receive_response(late[-1])
    assert len(slots) == 1


def test_the_answers_of_a_worker_that_died_meet_nothing_of_its_successor(new_layer: NewLayer) -> None:
    before, after = new_layer(incarnation=7), new_layer(incarnation=8)
    old_client, invite = started(before)
    new_client, _ = started(after)
    assert old_client.slot == new_client.slot and old_client.generation != new_client.generation
    for _ in range(1000):
        assert not after.receive_response(response(200, invite))
        done(after, new_client)
        new_client, _ = started(after)
    done(before, old_client)
    done(after, new_client)


def test_another_workers_branch_is_a_stray_here(new_layer: NewLayer) -> None:
    here, there = new_layer(owner=1), new_layer(owner=2)
    client, _ = started(here)
    other, invite = started(there)
    branch = there.branch(other, 5)
    assert here.read_branch(branch) == (2, 5)
    assert not here.receive_response(response(200, invite))
    assert client.state == "Calling"
    done(here, client)
    done(there, other)


# 5. The branch


@pytest.mark.parametrize("owner", [0, 3, 1023])
@pytest.mark.parametrize("loop_hash", [0, 1, 2**31, 2**32 - 1, 0x01234567])
def test_branch_carries_owner_and_loop_hash(new_layer: NewLayer, owner: int, loop_hash: int) -> None:
    layer = new_layer(owner=owner)
    client = layer.client("INVITE")
    assert client is not None
    branch = layer.branch(client, loop_hash)
    assert len(branch) == 34 and branch.startswith("z9hG4bK") and branch.replace(".", "").isalnum()
    assert branch == "z9hG4bK" + branch[7:].lower()
    assert layer.read_branch(branch) == layer.read_branch(branch.upper()) == (owner, loop_hash)
    layer.discard(client)


# 6. Limits


def test_server_transactions_stop_at_the_limit_and_waiting_ones_do_not_count(new_layer: NewLayer) -> None:
    layer = new_layer(limit=10)
    servers = [served(layer, request("OPTIONS", branch=f"z9hG4bK{n}")) for n in range(10)]
    assert layer.serve(request(branch="z9hG4bKfull")) is None
    assert layer.live == 10
    layer.respond(servers[0], response(200, request("OPTIONS", branch="z9hG4bK0")))
    assert layer.serve(request(branch="z9hG4bKroom")) is not None
    assert layer.serve(request(branch="z9hG4bKfull")) is None
    done(layer, *servers[1:])
    _, found = layer.match(request(branch="z9hG4bKroom"))
    assert found is not None
    done(layer, found)


def test_client_transactions_have_a_quarter_more_for_what_was_let_in(new_layer: NewLayer) -> None:
    layer = new_layer(limit=8)
    clients = [layer.client("OPTIONS") for _ in range(12)]
    assert clients.count(None) == 1
    assert layer.serve(request()) is None
    for client in clients:
        if client:
            layer.discard(client)


def test_waiting_transactions_are_bounded_as_well(new_layer: NewLayer) -> None:
    layer = new_layer(limit=2)
    for n in range(32):
        served(layer, request("OPTIONS", branch=f"z9hG4bK{n}"), 200)
    assert (layer.live, layer.waiting) == (32, 32)
    assert layer.serve(request("OPTIONS", branch="z9hG4bKone-more")) is None
    layer.advance(64 * T1)
    assert layer.live == 0
    done(layer, served(layer, request()))


def test_a_cancel_is_never_refused_for_want_of_room(new_layer: NewLayer) -> None:
    layer = new_layer(limit=1)
    client, invite = started(layer)
    while (other := layer.client("OPTIONS")) is not None:
        layer.start(other, request("OPTIONS", branch=layer.branch(other)))
    layer.receive_response(response(180, invite))
    assert layer.cancel(client)
    done(layer, client)


# 7. The table


def test_every_transaction_is_found_while_the_table_grows_and_shrinks(new_layer: NewLayer) -> None:
    layer, chance = new_layer(limit=100_000), random.Random(1)
    messages = [request("OPTIONS", branch=f"z9hG4bK{n}") for n in range(2600)]
    servers: dict[int, ManualTransaction] = {}
    for n, message in enumerate(messages):  # the table doubles at 1,024 and 2,048, and takes 512 and 1,024 steps to
        servers[n] = served(layer, message)
        if n % 10 == 0:
            gone = chance.randrange(n + 1)
            if gone in servers:
                layer.end(servers.pop(gone))
        for look in chance.choices(range(n + 1), k=60):
            expected = ("absorbed", servers[look]) if look in servers else ("none", None)
            assert layer.match(messages[look]) == expected
    done(layer, *servers.values())
    assert all(layer.match(message) == ("none", None) for message in messages)
