"""The worked examples, on the stage."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

from fastsip.policy import Plan, fork, redirect, reject
from fastsip.policy.module import load
from fastsip.testing import Scene, Stage

ROOT = Path(__file__).parent.parent
FOLDER = "fastsip.examples.policies"
GATEWAYS = {name: f"sip:gw.{name}.example.net" for name in ("oceanic", "continental", "premium")}


def hosts(plan: Plan | None) -> list[str]:
    assert plan is not None
    return [target.uri.partition("@gw.")[2].partition(".")[0] for step in plan.steps for target in step.targets]


def test_least_cost_goes_by_price() -> None:
    with Stage(f"{FOLDER}.least_cost", gateways=GATEWAYS) as stage:
        plan = stage.call("INVITE", "sip:+13125550100@example.com", trusted=True)
        assert hosts(plan) == ["oceanic", "continental", "premium"] and plan and not plan.on_failure
        plan = stage.call("INVITE", "sip:+447700900123@example.com", trusted=True)
        assert hosts(plan) == ["continental", "oceanic", "premium"]
        assert hosts(stage.call("INVITE", "sip:+19005550100@example.com", trusted=True)) == ["premium"]
        assert stage.call("INVITE", "sip:bob@example.com") is None
        assert stage.call("MESSAGE", "sip:+13125550100@example.com") is None
        assert stage.call("INVITE", "sip:+13125550100@example.com") == reject(403), "a stranger"
        assert stage.call("INVITE", "sip:+999@example.com", trusted=True) == reject(404, "No Rate For This Number")


def test_least_cost_when_gateways_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    with Stage(f"{FOLDER}.least_cost", gateways=GATEWAYS) as stage:
        stage.gateways["oceanic"].up = False
        assert hosts(stage.call("INVITE", "sip:+442079460000@example.com", trusted=True)) == ["premium"]
        stage.gateways["premium"].up = False
        refused = stage.call("INVITE", "sip:+442079460000@example.com", trusted=True)
        assert refused and refused.answer and refused.answer.status == 503


def test_least_cost_last_resort() -> None:
    from fastsip.examples.policies import least_cost

    least_cost.RATES["+49"] = {"oceanic": 0.01}
    try:
        with Stage(least_cost, gateways=GATEWAYS) as stage:
            plan = stage.call("INVITE", "sip:+4930123456@example.com", trusted=True)
            assert hosts(plan) == ["oceanic"] and plan and plan.on_failure
            assert hosts(stage.fail(503)) == ["premium"]
            assert stage.fail(486) is None
    finally:
        del least_cost.RATES["+49"]


def test_least_cost_among_gateways() -> None:
    with Scene(f"{FOLDER}.least_cost") as scene:
        first, second = scene.gateway("oceanic", answer=503, after=0, ring=False), scene.gateway("continental")
        scene.gateway("premium")
        call = scene.call("sip:+13125550100@example.com")
        scene.wait(3)
        assert call.status == 200 and [what for _, what in first.log] == ["INVITE", "ACK"]
        assert second.log[0] == (0, "INVITE")
        second.answer = 486
        call = scene.call("sip:+13125550100@example.com")
        scene.wait(3)
        assert call.status == 486, "nobody else is asked when the callee is busy"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "fastsip" / "policy" / "README.md"], ids=str)
def test_what_the_readme_shows(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    blocks = [block for block in blocks if "fastsip.policy" in block]
    (tmp_path / "my_routing.py").write_text(blocks[0])
    monkeypatch.syspath_prepend(tmp_path)
    load("my_routing", str(tmp_path))
    for block in blocks[1:]:
        names: dict[str, Any] = {}
        exec(block, names)
        tests = [test for name, test in names.items() if name.startswith("test_")]
        assert tests
        for test in tests:
            test()


CHICAGO = ZoneInfo("America/Chicago")
CONTACTS = {"alice@example.com": "sip:alice@192.0.2.1", "bob@example.com": "sip:bob@192.0.2.2"}


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        (datetime(2026, 11, 27, 9, 0, tzinfo=CHICAGO), True),  # a Friday
        (datetime(2026, 11, 27, 8, 59, 59, tzinfo=CHICAGO), False),
        (datetime(2026, 11, 27, 17, 29, 59, tzinfo=CHICAGO), True),
        (datetime(2026, 11, 27, 17, 30, tzinfo=CHICAGO), False),
        (datetime(2026, 11, 28, 12, 0, tzinfo=CHICAGO), False),
        (datetime(2026, 12, 25, 12, 0, tzinfo=CHICAGO), False),
        (datetime(2026, 7, 1, 9, 0, tzinfo=CHICAGO), True),  # in summer time
    ],
)
def test_time_of_day(at: datetime, is_open: bool) -> None:
    with Stage(f"{FOLDER}.time_of_day", contacts=CONTACTS, at=at) as stage:
        plan = stage.call("INVITE", "sip:sales@example.com")
        assert plan
        if is_open:
            assert {one.uri for one in plan.steps[0].targets} == {"sip:alice@192.0.2.1", "sip:bob@192.0.2.2"}
            assert plan.steps[0].ring_time == 20 and plan.steps[1].targets[0].uri == "sip:sales@voicemail.example.com"
        else:
            assert plan == redirect("sip:sales@voicemail.example.com")
            on_duty = stage.call("INVITE", "sip:sales@example.com", from_="sip:support@partner.example.net")
            assert on_duty == fork("sip:+13125550100@example.com")
        assert stage.call("INVITE", "sip:bob@example.com") is None


def test_time_of_day_with_nobody_in_and_closing_meanwhile() -> None:
    with Stage(f"{FOLDER}.time_of_day", at=datetime(2026, 11, 27, 17, 29, tzinfo=CHICAGO)) as stage:
        assert stage.call("INVITE", "sip:sales@example.com") == fork("sip:sales@voicemail.example.com")
        stage.wait(60)
        assert stage.call("INVITE", "sip:sales@example.com") == redirect("sip:sales@voicemail.example.com")


class Service(BaseHTTPRequestHandler):
    """Slow for numbers that end in 9, wrong for those that end in 8."""

    asked: list[str]
    broken = False

    def do_GET(self) -> None:
        number = parse_qs(urlsplit(self.path).query)["number"][0]
        type(self).asked.append(number)
        if number.endswith("9"):
            time.sleep(2)
        to = None if number.endswith("7") else f"sip:{number}@192.0.2.50"
        said = b"<html>" if number.endswith("8") else json.dumps({"to": to, "seconds": 30}).encode()
        self.send_response(500 if type(self).broken else 200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(said)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Service]]:
    handler = type("Fresh", (Service,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("ROUTING_SERVICE", f"http://127.0.0.1:{server.server_port}/route")
    yield handler
    server.shutdown()
    server.server_close()


def test_slow_http(service: type[Service]) -> None:
    with Stage(f"{FOLDER}.slow_http", real_time=True) as stage:
        assert stage.call("INVITE", "sip:+15550101@example.com", trusted=True) == fork("sip:+15550101@192.0.2.50")
        assert stage.call("INVITE", "sip:+15550107@example.com", trusted=True) == reject(404)
        assert stage.call("INVITE", "sip:+15550101@example.com", trusted=True) == fork("sip:+15550101@192.0.2.50")
        assert service.asked == ["+15550101", "+15550107"], "the third was remembered"
        begun = time.monotonic()
        assert stage.call("INVITE", "sip:+15550109@example.com", trusted=True) == fork("sip:+15550109@gw1.example.net")
        assert 0.9 < time.monotonic() - begun < 1.9
        assert stage.call("INVITE", "sip:+15550108@example.com", trusted=True) == fork("sip:+15550108@gw1.example.net")
        assert stage.call("INVITE", "sip:bob@example.com") is None


def test_slow_http_goes_where_it_went_while_the_service_is_down(service: type[Service]) -> None:
    with Stage(f"{FOLDER}.slow_http", real_time=True) as stage:
        stage.call("INVITE", "sip:+15550102@example.com", trusted=True)
        service.broken = True
        stage._opened += 60  # what it remembers is old
        assert stage.call("INVITE", "sip:+15550102@example.com", trusted=True) == fork("sip:+15550102@192.0.2.50")
        assert stage.call("INVITE", "sip:+15550103@example.com", trusted=True) == fork("sip:+15550103@gw1.example.net")
