"""Calls to and from gateways through a server: the proxy's part of draft-ietf-sip-call-flows-00 4, 5 and 6."""

from __future__ import annotations

import os
import signal
import time

import pytest
from gateway_kit import RINGS, Caller, Gateway, Routed, until
from harness import Phone

ROUTES = '[[routes]]\nprefix = "+1918"\nstrip = 5\nadd = "9"\nshortest = 11\ngateways = [["gw1"], ["gw2"]]\n'
NUMBER = "sip:+1-918-555-3333@127.0.0.1;user=phone"


def plan(*gateways: Gateway, routes: str = ROUTES, **more: object) -> str:
    """Gateways gw1, gw2 ... with `more` keys each, and routes."""
    keys = {"probe": 0, "try_time": 0.3, **more}
    text = ""
    for number, gateway in enumerate(gateways, 1):
        lines = "".join(f"{key} = {str(value).lower()}\n" for key, value in keys.items())
        text += f'[gateways.gw{number}]\nuri = "{gateway.uri}"\n{lines}'
    return text + routes


def test_sip_to_gateway_with_overflow_on_503() -> None:
    """4.1.3, 6.1.2: the first has no circuit, the second takes the call; the number is rewritten for both."""
    with (
        Gateway(["100 Trying", "503 Service Unavailable"]) as first,
        Gateway() as second,
        Routed(plan=plan(first, second)) as server,
        Caller(server.address) as alice,
    ):
        call = alice.call(NUMBER)
        assert call.status == 200
        for gateway in (first, second):
            (invite,) = gateway.requests("INVITE")
            assert invite.uri == f"sip:95553333@127.0.0.5:{gateway.port};user=phone"
            assert invite.one("To") == f"<{NUMBER}>", "To and From are the caller's"
        until(lambda: len(second.requests("ACK")) == 1 and first.requests("ACK"))
        until(lambda: server.gateways()["gw2"]["open"] == 1)
        call.hang_up()
        until(lambda: server.gateways()["gw2"]["open"] == 0)
        about = server.gateways()
        assert (about["gw1"]["unavailable"], about["gw1"]["state"], about["gw1"]["ringing"]) == (1, "up", 0)
        assert (about["gw2"]["calls"], about["gw2"]["ringing"]) == (1, 0)
        server.quiet()


@pytest.mark.parametrize("answers, count", [(["500 Server Internal Error"], "failed"), ([], "timeouts")])
def test_overflow_on_failure_and_on_silence(answers: list[str], count: str) -> None:
    with (
        Gateway(answers) as first,
        Gateway() as second,
        Routed(plan=plan(first, second)) as server,
        Caller(server.address) as alice,
    ):
        begun = time.monotonic()
        alice.call(NUMBER).hang_up()
        assert time.monotonic() - begun < 2
        assert (len(first.requests("INVITE")), len(second.requests("INVITE"))) == (1, 1)
        assert server.gateways()["gw1"][count] == 1


def test_what_the_callee_says_is_no_reason_for_another_gateway() -> None:
    """4.2.2: REL with cause from the PSTN is a 4xx or 6xx, and goes back as it is."""
    for answer in ("486 Busy Here", "404 Not Found", "604 Does Not Exist Anywhere"):
        with (
            Gateway([answer]) as first,
            Gateway() as second,
            Routed(plan=plan(first, second)) as server,
            Caller(server.address) as alice,
        ):
            assert alice.call(NUMBER).status == int(answer[:3])
            assert not second.requests("INVITE")


def test_retry_after_is_kept_and_when_nobody_is_left_the_caller_hears_500() -> None:
    with (
        Gateway(["503 Service Unavailable\r\nRetry-After: 60"]) as first,
        Gateway(["503 Service Unavailable\r\nRetry-After: 30"]) as second,
        Routed(plan=plan(first, second)) as server,
        Caller(server.address) as alice,
    ):
        assert alice.call(NUMBER).status == 500, "both said 503, which is true of them and not of us"
        refused = alice.call(NUMBER)
        assert (refused.status, refused.answer.start_line) == (500, "SIP/2.0 500 No Gateway Available")
        assert 28 <= int(refused.answer.one("Retry-After")) <= 30
        assert (len(first.requests("INVITE")), len(second.requests("INVITE"))) == (1, 1)
        about = server.gateways()
        assert (about["gw1"]["state"], about["gw2"]["state"]) == ("waiting", "waiting")


def test_a_dead_gateway_is_skipped_and_brought_back_by_the_prober() -> None:
    with (
        Gateway() as first,
        Gateway() as second,
        Routed(workers=2, plan=plan(first, second, probe=0.3, try_time=0.2)) as server,
        Caller(server.address) as alice,
    ):
        until(lambda: all(one["probe"] for one in server.gateways().values()))
        first.dead = True
        until(lambda: server.gateways()["gw1"]["state"] == "down", 10)
        begun = time.monotonic()
        for _ in range(4):
            alice.call(NUMBER).hang_up()
        assert time.monotonic() - begun < 0.8, "nobody waits for it"
        assert not first.requests("INVITE")
        first.dead = False
        until(lambda: server.gateways()["gw1"]["state"] == "up", 10)
        alice.call(NUMBER).hang_up()
        assert len(first.requests("INVITE")) == 1
        asked = first.requests("OPTIONS")[-1]
        assert asked.uri == first.uri
        about = server.gateways()["gw1"]["probe"]
        assert isinstance(about, dict)
        assert about["status"] == 200
        assert "gateway gw1 answers again" in server.log


def test_calls_find_a_dead_gateway_and_one_of_them_finds_it_alive_again() -> None:
    with (
        Gateway() as first,
        Gateway() as second,
        Routed(plan=plan(first, second)) as server,
        Caller(server.address) as alice,
    ):
        first.dead = True
        for _ in range(5):
            alice.call(NUMBER).hang_up()
        about = server.gateways()["gw1"]
        assert (about["state"], about["timeouts"], about["failures"]) == ("down", 3, 3)
        first.dead = False
        until(lambda: server.gateways()["gw1"]["state"] == "on trial", 8)
        for _ in range(2):
            alice.call(NUMBER).hang_up()
        assert len(first.requests("INVITE")) == 2
        assert server.gateways()["gw1"]["state"] == "up"


def test_when_all_are_dead_one_is_tried_all_the_same() -> None:
    with (
        Gateway() as first,
        Routed(plan=plan(first, routes=ROUTES.replace(', ["gw2"]', ""))) as server,
        Caller(server.address) as alice,
    ):
        first.dead = True
        for _ in range(3):
            assert alice.call(NUMBER).status in (408, 500)
        assert server.gateways()["gw1"]["state"] == "down"
        first.dead = False
        alice.call(NUMBER).hang_up()
        assert server.gateways()["gw1"]["state"] == "up"


def test_a_limit_counts_ringing_and_open_calls_of_all_workers() -> None:
    with (
        Gateway() as first,
        Gateway() as second,
        Routed(workers=2, plan=plan(first, second, calls=3)) as server,
        Caller(server.address) as alice,
    ):
        calls = [alice.call(NUMBER) for _ in range(6)]
        assert [call.status for call in calls] == [200] * 6
        assert (len(first.requests("INVITE")), len(second.requests("INVITE"))) == (3, 3)
        refused = alice.call(NUMBER)
        assert refused.status == 500
        assert server.gateways()["gw1"]["state"] == "full"
        until(lambda: [one["open"] for one in server.gateways().values()] == [3, 3])
        calls[0].hang_up()
        until(lambda: server.gateways()["gw1"]["open"] == 2)
        again = alice.call(NUMBER)
        assert again.status == 200
        assert len(first.requests("INVITE")) == 4
        for call in [*calls[1:], again]:
            call.hang_up()
        until(lambda: [one["open"] for one in server.gateways().values()] == [0, 0])


def test_numbers_that_do_not_exist_and_that_are_too_short() -> None:
    """5.2.1: 604 is what a gateway turns into REL; 484 asks for more digits."""
    with Gateway() as first, Routed(plan=plan(first, first)) as server, Caller(server.address) as alice:
        assert alice.call("sip:+1-314-555-1111@127.0.0.1;user=phone").status == 604
        assert alice.call("tel:+1-314-555-1111").status == 604
        assert alice.call("sip:+1-918-555-333@127.0.0.1;user=phone").status == 484
        assert alice.call("sip:nobody@127.0.0.1").status == 404
        assert not first.requests("INVITE")
        alice.call("tel:+1-918-555-3333").hang_up()
        (invite,) = first.requests("INVITE")
        assert invite.uri == f"sip:95553333@127.0.0.5:{first.port};user=phone"


def test_gateways_are_trusted_by_address_and_everybody_else_proves_who_he_is() -> None:
    """5.1.1 and 6.1: a gateway calls somebody who has registered a number, and through the plan another gateway."""
    users = [("alice", "x", "127.0.0.1"), ("+19725552222", "x", "127.0.0.1")]
    with (
        Gateway(["503 No"]) as first,
        Gateway() as second,
        Gateway(host="127.0.0.7") as trusted,
        Routed(
            users=users,
            required=["*"],
            plan=f'{plan(first, second)}[gateways.pstn]\nuri = "{trusted.uri}"\ntrusted = true\nprobe = 0\n',
        ) as server,
        Caller(server.address, host="127.0.0.7") as pstn,
        Caller(server.address, host="127.0.0.8") as stranger,
        Gateway(host="127.0.0.9") as bob,
        Phone(server.address, host="127.0.0.9") as phone,
    ):
        answer = phone.register("+19725552222@127.0.0.1", f"sip:bob@127.0.0.9:{bob.port}", "x")
        assert answer is not None
        assert answer.status == 200
        pstn.call("sip:+1-972-555-2222@127.0.0.1;user=phone", sender="sip:+1-314-555-1111@127.0.0.7").hang_up()
        assert bob.requests("INVITE")[0].uri == f"sip:bob@127.0.0.9:{bob.port}"
        pstn.call(NUMBER, sender="sip:+1-314-555-1111@127.0.0.7").hang_up()
        assert (len(first.requests("INVITE")), len(second.requests("INVITE"))) == (1, 1)
        assert stranger.call(NUMBER, sender="sip:alice@127.0.0.1").status == 407
        for unknown in (NUMBER, "sip:+1-314-555-1111@127.0.0.1;user=phone", "sip:+1-918-555-333@127.0.0.1"):
            assert stranger.call(unknown, sender="sip:eve@elsewhere.invalid").status == 407
        assert len(second.requests("INVITE")) == 1


def test_somebody_elses_domain_by_a_gateway() -> None:
    routes = '[[routes]]\ndomain = "example.net"\ngateways = "gw1"\n'
    with Gateway() as first, Routed(plan=plan(first, routes=routes)) as server, Caller(server.address) as alice:
        alice.call("sip:carol@example.net").hang_up()
        assert first.requests("INVITE")[0].uri == "sip:carol@example.net"


def test_a_reload_brings_other_gateways_and_keeps_what_is_known_of_the_old() -> None:
    with (
        Gateway([]) as first,
        Gateway() as second,
        Gateway() as third,
        Routed(plan=plan(first, second)) as server,
        Caller(server.address) as alice,
    ):
        open_call, *_ = [alice.call(NUMBER) for _ in range(3)]
        assert server.gateways()["gw1"]["state"] == "down"
        server.plan = plan(first, second, third, routes=ROUTES.replace("gw2", "gw3"), calls=9)
        (server.folder / "fastsip.toml").write_text(server.configuration())
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "gw3" in server.gateways())
        until(lambda: "configuration read again" in server.log)
        until(lambda: server.gateways()["gw2"]["open"] == 3)
        about = server.gateways()
        assert (about["gw1"]["state"], about["gw2"]["limit"]) == ("down", 9)
        alice.call(NUMBER).hang_up()
        assert (len(second.requests("INVITE")), len(third.requests("INVITE"))) == (3, 1)
        open_call.hang_up()
        until(lambda: server.gateways()["gw2"]["open"] == 2)
        server.plan = plan(first, routes=ROUTES.replace("gw2", "nobody"))
        (server.folder / "fastsip.toml").write_text(server.configuration())
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: 'no gateway is called "nobody"' in server.log)
        alice.call(NUMBER).hang_up()


def test_dead_processes_take_only_their_own_calls_along() -> None:
    with (
        Gateway(["180 Ringing"]) as first,
        Gateway() as second,
        Routed(plan=plan(first, second, try_time=20)) as server,
        Caller(server.address) as alice,
    ):
        alice.send(alice.request("INVITE", NUMBER))
        until(lambda: server.gateways()["gw1"]["ringing"] == 1)
        (worker,) = [pid for pid, name in server.children().items() if name == "worker"]
        os.kill(worker, signal.SIGKILL)
        until(lambda: server.gateways()["gw1"]["ringing"] == 0)
        server.wait_ready()
        first.answers = RINGS
        call = alice.call(NUMBER)
        until(lambda: server.gateways()["gw1"]["open"] == 1)
        (state,) = [pid for pid, name in server.children().items() if name == "state"]
        os.kill(state, signal.SIGKILL)
        until(lambda: server.stats()["restarts"]["state"] == 1)
        until(lambda: server.stats()["state"] is not None)
        assert server.gateways()["gw1"]["open"] == 0, "the new one knows what it is told"
        call.hang_up()
        again = alice.call(NUMBER)
        until(lambda: server.gateways()["gw1"]["open"] == 1)
        again.hang_up()


def test_ctl_gateways() -> None:
    with Gateway() as first, Gateway() as second, Routed(plan=plan(first, second)) as server:
        listed = server.ctl("gateways")
        assert [one["name"] for one in listed] == ["gw1", "gw2"]
        assert listed[0]["uri"] == first.uri
        assert (listed[0]["state"], listed[0]["weight"], listed[0]["probe"]) == ("up", 10, None)


POLICY = """
from fastsip.policy import Target, fork, next_gateway
def route(request):
    found = next_gateway("gw1")
    return fork(found if request.user == "good" else Target(found.uri, gateway=found.gateway + 9))
"""


def test_a_policys_gateways() -> None:
    """What is in no gateway's slot is called like any address, and named."""
    with Gateway() as first, Gateway() as second:
        server = Routed(plan=plan(first, second), extra={"policy": {"module": "my_gateways"}}, trusted=["127.0.0.1/32"])
        (server.folder / "my_gateways.py").write_text(POLICY)
        with server, Caller(server.address) as alice:
            alice.call(f"sip:good@{server.host}").hang_up()
            assert "is no gateway's slot" not in server.log
            alice.call(f"sip:bad@{server.host}").hang_up()
            assert server.gateways()["gw1"]["calls"] == 2, "its address is the gateway's all the same"
            until(lambda: f"a plan of my_gateways: gateway = 9 of {first.uri} is no gateway's slot" in server.log)
