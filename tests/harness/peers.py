"""Other programs the tests play against: left out with a reason where they are missing, and never silently.

`pytestmark = requires_peer("sipp")` marks what needs one. At the end of a run the summary lists what was left out and
how to get it; with CI=true in the environment anything left out fails the run.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fastsip.process import bpf

JSSIP = Path(__file__).parents[2] / "build" / "browser" / "jssip.js"

PEERS = {
    "sipp": ("sipp", "apt-get install sip-tester"),
    "kamailio": ("kamailio", "apt-get install kamailio"),
    "sipsak": ("sipsak", "apt-get install sipsak"),
    "nsd": ("nsd", "apt-get install nsd"),
    "gcc": ("gcc", "apt-get install gcc libc6-dev"),
    "aarch64": ("aarch64-linux-gnu-gcc", "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    "qemu-aarch64": ("qemu-aarch64", "apt-get install qemu-user"),
    "baresip": ("baresip", "apt-get install baresip-core"),
    "linphone": ("linphone-daemon", "apt-get install linphone-cli"),
    "chromium": ("chromium", "apt-get install chromium"),
    "jssip": ("JsSIP", "make browser, which needs npm"),
    "bpf": ("the right to load BPF programs", "run them as root"),
}
"""Peer: the program that has to be on PATH, and how a Debian system gets it; "bpf" is a capability, "jssip" a file."""

_left_out: Counter[str] = Counter()


def requires_peer(name: str) -> pytest.MarkDecorator:
    """A mark for tests that need an installed peer of PEERS."""
    assert name in PEERS, f"unknown peer {name!r}: one of {', '.join(PEERS)}"
    return pytest.mark.peer(name)


def _reason(name: str) -> str:
    program, how = PEERS[name]
    return f"{program} is not there: {how}"


def _there(name: str) -> bool:
    if name == "jssip":
        return JSSIP.exists()
    if name != "bpf":
        return program(name) is not None
    try:
        os.close(bpf.map_create(bpf.MAP_REUSEPORT_SOCKARRAY, 8, 1))
    except OSError:
        return False
    return True


def program(name: str) -> str | None:
    """Where a peer's program is; daemons are not on everybody's PATH."""
    return shutil.which(PEERS[name][0], path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))


def note(report: pytest.TestReport) -> None:
    """Count what was left out; for `pytest_runtest_logreport`, which sees the tests of every process."""
    if report.skipped and isinstance(report.longrepr, tuple):
        for name in PEERS:
            if report.longrepr[2].endswith(_reason(name)):
                _left_out[name] += 1


def leave_out(items: list[pytest.Item]) -> None:
    """Mark what misses its peer; for `pytest_collection_modifyitems`."""
    for item in items:
        for mark in item.iter_markers("peer"):
            if not _there(mark.args[0]):
                item.add_marker(pytest.mark.skip(reason=_reason(mark.args[0])))


def summary() -> list[str]:
    """Lines for the end of the run, none if nothing was left out."""
    lines = []
    for name, tests in sorted(_left_out.items()):
        program, how = PEERS[name]
        lines.append(f"{tests} tests need {program}, which is not there. To run them too: {how}")
    return lines


def missing_fails() -> bool:
    """Whether something was left out where nothing may be."""
    return bool(_left_out) and os.environ.get("CI", "").lower() in ("1", "true", "yes")
