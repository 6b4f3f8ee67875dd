"""The examples run as they are, and importing fastsip costs nothing that is not used."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("parse", ["INVITE to bob at biloxi.example.com", "refused with 400: CSeq", "offset 285"]),
        ("transactions", ["RequestReceived <Message OPTIONS", "127.0.0.1 allows OPTIONS"]),
        ("embedded_proxy", ["REGISTER: 200", "bob@example.com is at sip:bob@127.0.0.1:"]),
    ],
)
def test_example(name: str, expected: list[str]) -> None:
    output = run("-m", f"fastsip.examples.{name}")
    assert all(words in output for words in expected), output


def test_example_says_what_is_wrong_with_a_file() -> None:
    done = subprocess.run([sys.executable, "-m", "fastsip.examples.parse", "/no/such"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "/no/such: No such file or directory\n")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import fastsip", ["fastsip._message", "zmq", "msgspec", "asyncio", "sqlite3", "click"]),
        ("import fastsip; fastsip.parse", ["zmq", "msgspec", "asyncio", "sqlite3", "click", "fastsip._transaction"]),
        ("import fastsip; fastsip.TransactionTable", ["zmq", "asyncio", "sqlite3", "click", "fastsip.config"]),
        ("import fastsip; fastsip.Proxy", ["zmq", "click", "rich", "fastsip.process.master", "fastsip.cli"]),
    ],
)
def test_what_is_not_used_is_not_loaded(code: str, absent: list[str]) -> None:
    loaded = run("-c", f"{code}\nimport sys; print(*sys.modules)").split()
    assert [name for name in absent if name in loaded] == []
