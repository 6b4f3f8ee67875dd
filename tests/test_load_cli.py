"""`fastsip load` as a person uses it: against itself, fastsip, SIPp and Kamailio."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from harness import Kamailio, Server, free_port, requires_peer

from fastsip.cli import command

ROOT = Path(__file__).parent.parent
DOMAIN = "example.com"
USERS = [(f"user{number}", "secret", DOMAIN) for number in range(20)]
AS_USERS = ("--users", "user0..19", "--domain", DOMAIN, "--password", "secret")


def load(*words: str) -> Result:
    return CliRunner().invoke(command, ["load", *words])


def document(*words: str) -> dict[str, Any]:
    """What `--json` prints."""
    result = load(*words, "--json", "-q")
    assert result.stdout, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    assert found["exit"] == result.exit_code
    return found


class Background:
    """`fastsip load ...` as a process of its own."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastsip", "load", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def until(self, text: str) -> str:
        """Its progress up to a line with this text."""
        assert self.process.stderr
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}")

    def signal(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(domains=[DOMAIN], users=USERS, required=["*"]) as made:
        yield made


def test_one_command_calls_through_fastsip_with_digest(server: Server, tmp_path: Path) -> None:
    shape = ("--reinvite", "10%", "--cancel", "5%", "--busy", "5%", "--ring", "20ms", "--hold", "50ms..150ms")
    bounds = ("--max-failures", "0", "--p99-ms", "5000", "--histogram", str(tmp_path))
    found = document(
        "call", server.hostport, "--answer", *AS_USERS, "--rate", "200", "--duration", "1", *shape, *bounds
    )
    assert found["exit"] == 0, found
    assert found["done"] == found["offered"] > 100 and found["failed"] == 0
    assert found["busy"] == found["answering"]["refused_busy"] and found["cancelled"] > 0
    assert found["counters"]["challenges"] > 0
    times = found["response_times"]
    assert times["invite_100"]["p50"] < times["invite_180"]["p50"] < 18 < times["invite_200"]["min"]
    assert times["bye_200"]["count"] == found["done"] - found["busy"] - found["cancelled"]
    assert [bound["broken"] for bound in found["bounds"]] == [False, False]
    assert (tmp_path / "invite_200.hgrm").read_text().count("\n") > 10
    assert server.ctl("contacts") == [], "the bindings of the callees were to be removed"


def test_keys_of_the_document_are_documented(server: Server) -> None:
    from fastsip.load import report

    found = document("options", server.hostport, *AS_USERS, "--rate", "100", "--count", "10", "--uniform")
    assert report.__doc__
    assert [key for key in found if key not in report.__doc__.replace("{", " ")] == []
    assert (found["arrivals"], found["ended"], found["offered"]) == ("uniform", "count", 10)
    assert found["response_times"]["options"]["count"] == 10


def test_registrations_refreshes_and_removals(server: Server) -> None:
    register = ("register", server.hostport, *AS_USERS, "--rate", "500", "--count")
    made = document(*register, "20")
    assert (
        made["done"] == 20
        and made["counters"]["challenges"] == 20
        and made["response_times"]["register"]["count"] == 20
    )
    assert len(server.ctl("contacts")) == 20
    again = document(*register, "40", "--mode", "refresh", "--threads", "2")
    assert again["done"] == 40
    removed = document(*register, "10", "--mode", "remove")
    assert removed["done"] == 10 and len(server.ctl("contacts")) == 20, "those of the first command are still there"


def test_a_mix_with_messages(server: Server) -> None:
    mix = ("mix", server.hostport, "--mix", "call=3,register=2,options=1,message=2", "--answer", *AS_USERS)
    found = document(*mix, "--rate", "200", "--duration", "1")
    assert found["failed"] == 0 and found["done"] == found["offered"]
    for kind in ("calls", "registers", "options", "messages"):
        assert found["counters"][f"{kind}_done"] > 0


def test_a_short_search_converges(server: Server) -> None:
    search = ("--search", "-N", "30", "-r", "300", "-w", "100%", "-d", "50%", "--time-limit", "20s")
    found = document("call", server.hostport, "--answer", *AS_USERS, *search)
    assert found["exit"] == 0, found
    assert found["session_establishment_rate"] > 0 and found["baseline_session_establishment_rate"] > 0
    assert found["searches"]["search"]["trials"][0]["rate"] == 300
    assert found["setup"]["sessions"] == 30 and found["setup"]["establishment_threshold_time"] == 32


def test_a_search_for_the_registration_rate(server: Server) -> None:
    before = len(server.ctl("contacts"))
    search = ("--search", "-N", "20", "-r", "300", "-w", "100%", "--again-after", "0.1s", "--time-limit", "20s")
    result = load("register", server.hostport, *AS_USERS, *search)
    assert result.exit_code == 0, result.output
    rows = [line.strip() for line in result.stdout.splitlines()]
    assert any(row.startswith("Registration Rate ") and row.endswith("per second") for row in rows)
    assert any(row.startswith("Re-registration Rate ") and row.endswith("per second") for row in rows)
    assert len(server.ctl("contacts")) == before


def test_two_commands_and_a_signal_ends_the_callees() -> None:
    port = free_port()
    callees = Background("answer", "--listen", f"127.0.0.1:{port}", "--json")
    callees.until("answering at")
    calls = load("call", f"127.0.0.1:{port}", "--rate", "200,300", "--duration", "1.2")
    callees.signal(signal.SIGTERM)
    status, output = callees.wait()
    assert calls.exit_code == 0 and "INVITE to 200" in calls.stdout and "the generator" not in calls.stdout
    assert "offered" in calls.stderr, "progress goes to standard error"
    assert status == 0 and orjson.loads(output)["counters"]["answered"] > 200


def test_the_first_signal_finishes_what_is_open_and_the_second_ends_at_once() -> None:
    port = free_port()
    words = ("call", f"127.0.0.1:{port}", "--answer", "--no-register", "--listen", f"127.0.0.1:{port}")
    run = Background(*words, "--rate", "100", "--duration", "60", "--hold", "30", "--json")
    run.until("1 s")
    run.signal()
    status, output = run.wait()
    found = orjson.loads(output)
    assert (status, found["ended"], found["in_flight"], found["failed"]) == (0, "interrupted", 0, 0)
    assert found["done"] == found["offered"] > 50
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    run = Background("call", f"127.0.0.1:{silent.getsockname()[1]}", "--rate", "100", "--duration", "60")
    run.until(f"no answer from udp:127.0.0.1:{silent.getsockname()[1]} yet")
    begun = time.monotonic()
    run.signal()
    time.sleep(0.3)
    run.signal()
    status, output = run.wait()
    assert status == 1 and "is anything listening there?" in output and "left open" in output
    assert time.monotonic() - begun < 3


@requires_peer("sipp")
def test_sipp_answers_and_calls() -> None:
    port = free_port()
    with subprocess.Popen(["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as uas:  # fmt: skip
        time.sleep(0.3)
        found = document("call", f"127.0.0.1:{port}", "--rate", "100", "--count", "50", "--hold", "100ms")
        uas.terminate()
    assert found["done"] == 50 and found["response_times"]["invite_180"]["count"] == 50
    callees = Background("answer", "--listen", f"127.0.0.1:{port}", "--json", "--ring", "50ms", "--body", "200")
    callees.until("answering at")
    uac = subprocess.run(
        ["sipp", "-sn", "uac", f"127.0.0.1:{port}", "-i", "127.0.0.1", "-m", "50", "-r", "100", "-nostdin"],
        capture_output=True, timeout=15,
    )  # fmt: skip
    callees.signal()
    _, output = callees.wait()
    assert uac.returncode == 0 and orjson.loads(output)["counters"]["ended"] == 50


@requires_peer("kamailio")
def test_one_command_calls_through_kamailio() -> None:
    with Kamailio(domains=[DOMAIN], users=USERS, required=["*"], realm=DOMAIN) as proxy:
        found = document("call", proxy.hostport, "--answer", *AS_USERS, "--rate", "100", "--duration", "1")
    assert found["failed"] == 0 and found["done"] == found["offered"] > 50
    assert 0 < found["counters"]["challenges"] <= 20 < found["offered"], "a nonce serves many requests"


def test_broken_bounds_end_with_1(server: Server) -> None:
    words = ("call", server.hostport, "--to", "nobody", *AS_USERS, "--rate", "100", "--count", "20", "-q")
    result = load(*words, "--max-failures", "10%", "--p99-ms", "1")
    assert result.exit_code == 1 and "BROKEN  20 of 20 failed, at most 10% may" in result.stdout
    found = document("options", server.hostport, "--rate", "100", "--count", "20", "--p99-ms", "0.0001")
    assert found["exit"] == 1 and found["bounds"][0]["broken"]


def test_an_absurd_rate_is_the_generators_limit() -> None:
    port = free_port()
    words = ("call", f"127.0.0.1:{port}", "--answer", "--no-register", "--listen", f"127.0.0.1:{port}", "-q")
    result = load(*words, "--rate", "3000k", "--duration", "0.2", "--in-flight", "2000")
    assert "the generator, not the server, was the limit" in result.stdout


def test_wrong_passwords_are_told(server: Server) -> None:
    words = ("call", server.hostport, "--answer", "--users", "user0..19", "--domain", DOMAIN)
    result = load(*words, "--password", "wrong", "--count", "5")
    assert result.exit_code == 1 and "the password was not accepted" in result.stderr, result.output
    result = load(*words, "--count", "5")
    assert result.exit_code == 1 and "no password for it (--password" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("call", "no-such-host.invalid"), "cannot find the address of no-such-host.invalid"),
        (("call", "127.0.0.1", "--rate", "fast"), "--rate 'fast': expected a rate"),
        (("call", "127.0.0.1", "--users", "none.csv"), "--users none.csv: there is no such file"),
        (("call", "127.0.0.1", "--ring", "1s"), "--ring is for the callees"),
        (("call", "127.0.0.1", "--hold", "soon"), "expected a time such as"),
        (("call", "127.0.0.1", "--max-failures", "some"), "expected a number"),
        (("mix", "127.0.0.1", "--mix", "calls=1"), "expected one of call"),
        (("answer", "--listen", "0.0.0.0"), "expected one address"),
        (("register", "127.0.0.1", "--search", "--users", "a..b"), "RFC 7502 6.7 wants 50,000"),
        (("call", "127.0.0.1", "--search", "-r", "9"), "never raise the rate"),
        (("call", "127.0.0.1", "--search", "--p99-ms", "9"), "not for a search"),
        (("call", "127.0.0.1", "--quick"), "--quick goes with --search"),
        (("register", "127.0.0.1", "-r", "100"), "--initial goes with --search"),
        (("call", "127.0.0.1", "--p99-ms", "nan"), "expected milliseconds"),
        (("call", "127.0.0.1", "--users", ""), "--users is empty"),
    ],
)
def test_wrong_usage_ends_with_2(words: tuple[str, ...], said: str) -> None:
    result = load(*words)
    assert result.exit_code == 2 and said in result.stderr and not result.stdout, result.output


def test_a_socket_belongs_to_one_thread() -> None:
    result = load("call", "127.0.0.1", "--threads", "2", "--source", f"127.0.0.1:{free_port()}")
    assert result.exit_code == 2 and "--threads 2 needs 2 sources at least" in result.stderr, result.output


def test_a_folder_that_cannot_be_is_named_before_the_load_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    begun = time.monotonic()
    result = load("call", "127.0.0.1", "--duration", "30s", "--histogram", str(tmp_path / "file" / "more"))
    assert result.exit_code == 1 and str(tmp_path / "file") in result.stderr, result.output
    assert time.monotonic() - begun < 5


def test_rates_are_of_the_time_in_which_work_began(server: Server) -> None:
    words = ("call", server.hostport, "--answer", *AS_USERS, "--rate", "200", "--count", "100")
    found = document(*words, "--duration", "20s", "--hold", "1s", "--uniform")
    assert found["offered"] == 100 and 0.4 < found["offering"] < 0.8
    assert 120 < found["offered_per_second"] < 250


def test_a_port_in_use_is_told() -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    for words in (("answer", "--listen", f"127.0.0.1:{port}"), ("call", "127.0.0.1", "--source", f"127.0.0.1:{port}")):
        result = load(*words)
        assert result.exit_code == 1 and "another program" in result.stderr, result.output


def test_many_sources(server: Server) -> None:
    sources = ("--source", "127.0.0.1..20", "--source", "127.0.0.21..127.0.0.220")
    found = document(
        "options", server.hostport, *AS_USERS, *sources, "--rate", "500", "--count", "300", "--threads", "2"
    )
    assert found["done"] == 300 and found["threads"] == 2
