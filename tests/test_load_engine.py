"""Calls and other work of the load engine: caller against callee, directly, through a proxy, over a bad network."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from engine import Phone, engine, header, headers, request
from harness.wire import parameters
from load_engines import Script, callee, caller, running
from lossy import Relay, Weather

from fastsip.load.setup import Answer, Hold, Scenario, Step, User


@pytest.mark.parametrize("gather", [0, 1000])
def test_calls_between_two_engines(gather: int) -> None:
    users = {"callers": [User(f"sip:alice{n}@example.com") for n in range(50)]}
    users["callees"] = [f"sip:bob{n}@example.com" for n in range(0, 200, 7)]
    with callee(gather, body=130) as bob, caller(bob.address, rate=2000, count=400, gather=gather, **users) as alice:
        shot = alice.wait()
        counters = shot.counters
        assert counters["done"] == counters["calls_done"] == counters["offered"] == 400
        assert not shot.failures and counters["failed"] == counters["again_in"] == counters["strays"] == 0
        assert counters["datagrams_out"] == counters["datagrams_in"] == 1200
        for name in ("invite_180", "invite_200", "bye_200", "lateness"):
            assert shot.histograms[name].total == 400, name
        found = bob.until(lambda c: c["answered"] == c["ended"] == 400)
        assert found["dialogs"] == found["malformed"] == 0


def test_through_a_proxy_with_record_route() -> None:
    scenario = Scenario("call", hold=Hold("exponential", 40), reinvite=0.3)
    with callee(ring=10) as bob, engine() as proxy:
        proxy.register("bob@example.com", f"sip:bob@{bob.address[0]}:{bob.address[1]}")
        to = ["sip:bob@example.com"]
        with caller((proxy.host, proxy.port), scenario, rate=500, count=200, callees=to) as alice:
            shot = alice.wait()
            assert shot.counters["done"] == 200, (shot.counters, shot.failures)
            assert shot.histograms["invite_100"].total == 200
            assert shot.counters["datagrams_out"] > 650  # re-INVITEs and their ACKs: 600 and 120, give or take 13
            bob.until(lambda c: c["ended"] == 200)


def test_cancelled_and_busy() -> None:
    scenario = Scenario("call", cancel=0.4, cancel_after=5, busy=True)
    with callee(ring=60, busy=0.3) as bob, caller(bob.address, scenario, rate=1000, count=300) as alice:
        shot = alice.wait()
        counters = shot.counters
        assert counters["done"] == 300, shot.failures
        assert 60 < counters["busy"] < 120 and 50 < counters["cancelled"] < 120, counters
        found = bob.until(lambda c: c["answered"] == c["ended"])
        assert found["refused_busy"] == counters["busy"] and found["cancelled_in"] == counters["cancelled"]
        assert shot.histograms["invite_200"].total == 300 - counters["busy"] - counters["cancelled"]


def test_busy_that_nobody_asked_for_is_a_failure() -> None:
    with callee(busy=1.0) as bob, caller(bob.address, count=10) as alice:
        shot = alice.wait()
        assert shot.failures == {"486": 10} and shot.counters["failed"] == 10 and shot.counters["done"] == 0


def test_a_mix_by_weight() -> None:
    mix = (
        Scenario("call", 0.5),
        Scenario("options", 0.25),
        Scenario("message", 0.2, body=80),
        Scenario("register", 0.05),
    )
    people = [User(f"sip:u{n}@example.com") for n in range(100)]
    with callee() as bob, caller(bob.address, *mix, rate=3000, count=1000, callers=people) as alice:
        counters = alice.wait().counters
        assert counters["done"] == 1000
        kinds = [counters[f"{kind}_done"] for kind in ("calls", "options", "messages", "registers")]
        assert sum(kinds) == 1000
        for found, weight in zip(kinds, (0.5, 0.25, 0.2, 0.05), strict=True):
            assert abs(found - 1000 * weight) < 60, kinds


def test_over_a_bad_network_every_call_ends_and_what_came_again_is_counted() -> None:
    scenario = Scenario("call", hold=Hold("uniform", 50), cancel=0.2, cancel_after=10, reinvite=0.2, busy=True)
    relay = Relay(Weather(7, drop=0.1), ("127.0.0.1", 9), "127.0.0.1")
    with relay, callee(ring=30, busy=0.1, advertise=relay.front) as bob:
        relay.server = bob.address
        with caller(relay.front, scenario, rate=200, count=150, advertise=relay.back) as alice:
            shot = alice.wait(20)
            counters = shot.counters
            assert counters["done"] == 150, (shot.failures, counters)
            assert relay.done["dropped"] > 40, relay.done
            for name in ("again_invite", "again_bye", "again_ack", "again_in"):
                assert counters[name] > 0, (name, counters)
            found = bob.until(lambda c: c["dialogs"] == 0)
            assert found["again_answer"] > 0 and found["again_in"] > 0
            assert found["answered"] == found["ended"], found


def test_nobody_answers() -> None:
    with callee() as bob:
        address = bob.address
    begun = time.monotonic()
    with caller(address, Scenario("call"), Scenario("options"), count=20) as alice:
        shot = alice.wait()
    assert shot.failures == {"timeout": 20} and shot.counters["in_flight"] == 0
    assert 1.28 <= time.monotonic() - begun < 4  # 64*T1
    calls, options = shot.counters["calls"], shot.counters["options"]
    assert shot.counters["again_invite"] == 6 * calls  # RFC 3261 17.1.1.2: seven in all
    assert shot.counters["again_other"] == 10 * options  # T1 20, T2 160: 20 60 140 300 460 ... 1260


def test_one_socket_is_many_peers() -> None:
    addresses = [f"127.0.5.{n}" for n in range(1, 101)]
    with Script() as server:
        seen = set()
        with caller(server.address, Scenario("options"), count=100, host="0.0.0.0", addresses=addresses) as alice:
            for _ in range(100):
                message, source = server.receive()
                assert f"Via: SIP/2.0/UDP {source[0]}:{source[1]};" in message
                seen.add(source[0])
                server.answer("200 OK")
            assert alice.wait().counters["done"] == 100
        assert seen == set(addresses)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_two_challengers_and_a_stale_nonce(algorithm: str) -> None:
    """407 of a proxy and 401 of the other end, each answered beside the other; the ACK has what the INVITE had."""

    def credentials(message: str, name: str, realm: str, nonce: str, count: int) -> None:
        found = parameters(header(message, name))
        method, uri = message.split(" ", 2)[:2]
        hashed = hashlib.md5 if algorithm == "MD5" else hashlib.sha256
        ha1 = hashed(f"carol:{realm}:secret".encode()).hexdigest()
        ha2 = hashed(f"{method}:{uri}".encode()).hexdigest()
        text = f"{ha1}:{nonce}:{found['nc']}:{found['cnonce']}:auth:{ha2}"
        assert found["response"] == hashed(text.encode()).hexdigest(), message
        assert (found["username"], found["realm"], found["nonce"], found["uri"]) == ("carol", realm, nonce, uri)
        assert int(found["nc"], 16) == count and found.get("opaque") == "o1"

    asked = f'Digest realm="{{}}", nonce="{{}}", opaque="o1", algorithm={algorithm}, qop="auth-int,auth"'
    user = User("sip:alice@example.com", "carol", "secret")
    with Script() as server, caller(server.address, count=1, callers=[user]) as alice:
        first, _ = server.receive()
        assert "uthorization" not in first
        server.answer("407 Asks", f"Proxy-Authenticate: {asked.format('one', 'n1')}")
        assert server.receive()[0].startswith("ACK ")
        second, _ = server.receive()
        assert header(second, "CSeq") == "2 INVITE" and header(second, "Call-ID") == header(first, "Call-ID")
        credentials(second, "Proxy-Authorization", "one", "n1", 1)
        server.answer("401 Asks", f"WWW-Authenticate: {asked.format('two', 'n2')}")
        server.receive()
        third, _ = server.receive()
        credentials(third, "Proxy-Authorization", "one", "n1", 2)
        credentials(third, "Authorization", "two", "n2", 1)
        server.answer("401 Asks", f"WWW-Authenticate: {asked.format('two', 'n3')}, stale=true")
        server.receive()
        fourth, _ = server.receive()
        credentials(fourth, "Authorization", "two", "n3", 1)
        server.answer("200 OK", f"Contact: <sip:127.0.0.1:{server.address[1]}>")
        ack, _ = server.receive()
        assert ack.startswith("ACK ") and header(ack, "CSeq") == "4 ACK"
        for name in ("Authorization", "Proxy-Authorization"):
            assert header(ack, name) == header(fourth, name)
        bye, _ = server.receive()
        credentials(bye, "Proxy-Authorization", "one", "n1", 4)
        credentials(bye, "Authorization", "two", "n3", 2)
        server.answer("200 OK")
        counters = alice.wait().counters
        assert counters["done"] == 1 and counters["challenges"] == 3 and counters["stale"] == 1


def test_a_wrong_password_is_a_failure() -> None:
    user = User("sip:alice@example.com", "alice", "wrong")
    with engine(required=["*"]) as proxy, caller((proxy.host, proxy.port), count=5, callers=[user]) as alice:
        proxy.user("alice", "right")
        assert alice.wait().failures == {"challenged": 5}


def test_the_route_set_is_obeyed() -> None:
    """RFC 3261 12.1.2 and 12.2.1.1: Record-Route backwards, the Contact as Request-URI, the first hop by its route."""
    with Script() as server, Script() as first, caller(server.address, count=1) as alice:
        server.receive()
        hop = f"<sip:127.0.0.1:{first.address[1]};lr;x=1>"
        server.answer(
            "200 OK", "Contact: <sip:bob@192.0.2.1:5099>", "Record-Route: <sip:192.0.2.7;lr>", f"Record-Route: {hop}"
        )
        for method in ("ACK", "BYE"):
            inside, _ = first.receive()
            assert inside.startswith(f"{method} sip:bob@192.0.2.1:5099 SIP/2.0\r\n")
            assert headers(inside, "Route") == [hop, "<sip:192.0.2.7;lr>"]
            assert "tag=there" in header(inside, "To")
        first.answer("200 OK")
        assert alice.wait().counters["done"] == 1


def test_the_other_side_hangs_up() -> None:
    with Script() as server, caller(server.address, Scenario("call", hold=Hold(mean=60_000)), count=1) as alice:
        invite, source = server.receive()
        server.answer("200 OK", f"Contact: <sip:127.0.0.1:{server.address[1]}>")
        server.receive()
        bye = request("BYE", "sip:x", Phone(), caller="sip:bob@x", call_id=header(invite, "Call-ID"))
        bye = bye.replace(header(bye, "Via").split(";")[0], f"SIP/2.0/UDP 127.0.0.1:{server.address[1]}")
        bye = bye.replace(f"To: {header(bye, 'To')}", f"To: {header(invite, 'From')}")
        server.socket.sendto(bye.encode(), source)
        assert server.receive()[0].startswith("SIP/2.0 200")
        assert alice.wait().failures == {"unexpected": 1}


def test_what_finds_no_room_is_counted() -> None:
    with callee(ring=50) as bob, caller(bob.address, rate=2000, count=50, in_flight=10) as alice:
        counters = alice.wait().counters
        assert counters["done"] == 50 and counters["not_begun"] > 100


def test_finish_ends_what_is_held() -> None:
    with callee() as bob, caller(bob.address, Scenario("call", hold=Hold(mean=60_000)), count=0) as alice:
        alice.until(lambda c: c["in_flight"] > 50 and c["offered"] > 60)
        assert bob.counters()["dialogs"] > 40
        alice.engine.finish()
        counters = alice.wait(3).counters
        assert counters["done"] == counters["offered"]
        bob.until(lambda c: c["dialogs"] == 0)


def test_an_engine_calls_itself() -> None:
    """Both sides in one engine and thread."""
    with running(start=False, answer=Answer()) as idle:
        idle.start()
        setup = {"callers": [User("sip:a@example.com")], "scenarios": [Scenario("call")], "plan": [Step(0, 1000)]}
        with running(target=idle.address, count=100, answer=Answer(), **setup) as both:
            assert both.wait().counters["done"] == 100


def test_wrong_setups_say_why() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"target": ("localhost", 5060)}, "not a numeric address"),
        ({"callers": [User("alice")]}, "no SIP URI"),
        ({"callers": [User("sip:al ice@x")]}, "cannot stand"),
        ({"callers": []}, "needs a target and callers"),
        ({"scenarios": [Scenario("call", 0)]}, "weight"),
    ]
    for wrong, said in cases:
        with pytest.raises(ValueError, match=said), caller(wrong.pop("target", ("127.0.0.1", 9)), **wrong):
            pass
