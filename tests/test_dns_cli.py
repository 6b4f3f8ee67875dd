"""`fastsip resolve`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dns_kit import HOST, NameServer
from harness import free_port, requires_peer

from fastsip.cli import command

pytestmark = requires_peer("nsd")

EXAMPLE = """
@ NAPTR 50 50 "s" "SIPS+D2T" "" _sips._tcp
@ NAPTR 90 50 "s" "SIP+D2U" "" _sip._udp
_sips._tcp SRV 0 1 5061 a
_sip._udp SRV 1 1 5060 a
_sip._udp SRV 2 1 5070 b
a A 192.0.2.1
b AAAA 2001:db8::2
"""


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with NameServer({"example.com": EXAMPLE}) as nsd:
        yield nsd


def resolve(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["resolve", *arguments])


def test_servers_in_order_and_why(name_server: NameServer) -> None:
    done = resolve("sip:bob@example.com", "--name-server", f"{HOST}:{name_server.port}", "--transport", "udp")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["1", "udp", "192.0.2.1:5060", "a.example.com"],
        ["2", "udp", "[2001:db8::2]:5070", "b.example.com"],
    ]
    told = [" ".join(line.split()) for line in lines]
    assert 'example.com NAPTR 90 50 "s" "SIP+D2U" "" _sip._udp.example.com.' in told
    assert any("passed over" in line and "tls is not sent here" in line for line in told)
    assert "_sip._udp.example.com SRV 1 1 5060 a.example.com." in told
    assert "a.example.com A 192.0.2.1" in told
    assert told[-1].startswith("good for ")


def test_json(name_server: NameServer) -> None:
    done = resolve("example.com", "--name-server", f"{HOST}:{name_server.port}", "--json")
    found = json.loads(done.output)
    assert done.exit_code == 0
    assert found["uri"] == "sip:example.com" and found["stale"] is False and 0 < found["ttl"] <= 60
    assert found["servers"] == [
        {"transport": "tls", "address": "192.0.2.1", "port": 5061, "host": "a.example.com"},
    ]
    assert {"name": "a.example.com", "type": "A", "text": "192.0.2.1"} in found["used"]


def test_as_a_configuration_has_it(name_server: NameServer, tmp_path: Path) -> None:
    """Its name servers, and the transports it listens on."""
    path = tmp_path / "fastsip.toml"
    path.write_text(
        f'[server]\nlisten = "udp:127.0.0.1:5060"\n[dns]\nservers = "{HOST}:{name_server.port}"\nnaptr = false\n'
    )
    done = resolve("sip:example.com", "--config", str(path), "--json")
    found = json.loads(done.output)
    assert [one["transport"] for one in found["servers"]] == ["udp", "udp"]
    assert not any(one["type"] == "NAPTR" for one in found["used"])


def test_none(name_server: NameServer) -> None:
    done = resolve("sip:nobody.example.com", "--name-server", f"{HOST}:{name_server.port}")
    assert done.exit_code == 1
    assert "nobody.example.com: it has no address" in done.output
    done = resolve("sip:nobody.example.com", "--name-server", f"{HOST}:{name_server.port}", "--json")
    assert done.exit_code == 1
    found = json.loads(done.output)
    assert (found["error"], found["temporary"]) == ("nobody.example.com: it has no address", False)


def test_no_name_server() -> None:
    done = resolve("sip:example.com", "--name-server", f"{HOST}:{free_port(HOST)}", "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["temporary"] is True


def test_an_address_needs_no_name_server() -> None:
    done = resolve("sip:[2001:db8::7]:5070;transport=tcp")
    assert (done.exit_code, done.output) == (0, "1  tcp  [2001:db8::7]:5070  2001:db8::7\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tel:+19725552222"], "is no URI"),
        (["bob@"], "is no URI"),
        (["sip:example.com", "--transport", "sctp"], "Invalid value for '--transport'"),
        (["sip:example.com", "--name-server", "ns.example.com"], "expected the address of a name server"),
        (["sip:example.com", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage(arguments: list[str], says: str) -> None:
    done = resolve(*arguments)
    assert done.exit_code == 2 and says in done.output, done.output
