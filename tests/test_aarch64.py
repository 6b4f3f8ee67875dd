"""The C of the packet path on aarch64: compiled by a cross compiler, run by QEMU.

QEMU on x86 orders stores as x86 does, so this proves the code that is generated and not the memory model: for that
there is the thread sanitizer, which knows no machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import requires_peer

pytestmark = [requires_peer("aarch64"), requires_peer("qemu-aarch64")]

ROOT = Path(__file__).parent.parent
COMMAND = ["aarch64-linux-gnu-gcc", "-std=gnu11", "-O2", "-pthread", "-static", "-Wall", "-Werror", "-DFASTSIP_DEBUG"]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run tests/c/NAME.c with these arguments on aarch64; what it printed."""

    def compiled(name: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
        program = tmp_path / name
        command = [*COMMAND, *flags, "-I", str(ROOT / "ext"), str(ROOT / f"tests/c/{name}.c"), "-o", str(program)]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        done = subprocess.run(["qemu-aarch64", program, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return compiled


def test_scan_with_neon_finds_what_plain_c_finds(run: Run) -> None:
    neon = run("scan")
    assert len(neon) == 17
    assert neon == run("scan", flags=("-DFASTSIP_SCAN_PLAIN",))


def test_ring(run: Run) -> None:
    assert "20000 records" in run("ring_stress", "threads", "20000")
    assert "3000 records" in run("ring_stress", "wake", "3000")
    assert "whole records" in run("ring_stress", "damage", "2000")


def test_queue(run: Run) -> None:
    assert "20000 records" in run("queue_stress", "threads", "20000")
    assert "records" in run("queue_stress", "edges")


def test_nonce_counts(run: Run) -> None:
    assert "twice 0" in run("nonce_stress", "threads", "20")


def test_segment(run: Run) -> None:
    assert "searches" in run("segment_stress", "20000", flags=("-D_GNU_SOURCE",))


def test_binding_sets(run: Run) -> None:
    assert "taken for a set" in run("binding_fuzz", "20000")


def test_websocket_frames(run: Run) -> None:
    assert "1000 streams" in run("websocket_fuzz", "1000")
