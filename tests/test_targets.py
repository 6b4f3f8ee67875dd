"""The table of gateways: what one sees of what another wrote, under threads, and under processes that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastsip import _targets
from fastsip._targets import DOWN, FULL, ON_TRIAL, UNUSED, UP, WAITING, TargetTable, table_format, table_size

SOURCE = Path(__file__).parent / "c" / "targets_stress.c"
NOW = 1_000_000

Build = Callable[..., Path]


@pytest.fixture
def fd() -> Iterator[int]:
    memory = os.memfd_create("targets", os.MFD_CLOEXEC)
    table_format(memory, 4)
    yield memory
    os.close(memory)


@pytest.fixture
def table(fd: int) -> Iterator[TargetTable]:
    found = TargetTable(fd)
    found.assign([("gw1", 10, 0), ("gw2", 5, 2)])
    yield found
    found.close()


def test_what_one_writes_the_other_sees(fd: int, table: TargetTable) -> None:
    other = TargetTable(fd)
    table.begin(0, 3)
    table.unavailable(0, 30, NOW)
    assert other.status(0, NOW)["ringing"] == 1
    assert (other.state(0, NOW + 29_999), other.state(0, NOW + 30_000)) == (WAITING, UP)
    assert (other.weight(0), other.weight(1), other.used, other.workers) == (10, 5, 2, 4)
    other.close()
    with pytest.raises(ValueError, match="closed"):
        other.state(0)


def test_down_after_failures_in_a_row_and_back_with_any_answer(table: TargetTable) -> None:
    assert [table.timeout(0, NOW) for _ in range(2)] == [False, False]
    table.answered(0, NOW)
    assert [table.timeout(0, NOW) for _ in range(4)] == [False, False, True, False]
    assert table.state(0, NOW) == DOWN
    assert table.status(0, NOW)["failures"] == 3, "failures while it is down are of older calls"
    assert table.free_at(0) == NOW + _targets.DOWN_FIRST
    table.answered(0, NOW)
    assert table.state(0, NOW) == UP
    assert table.status(0, NOW)["timeouts"] == 6


def test_one_call_tries_what_was_down_and_each_time_later(table: TargetTable) -> None:
    now, pauses = NOW, []
    for _ in range(3):
        table.timeout(0, now)
    for _ in range(6):
        pauses.append(table.free_at(0) - now)
        now = table.free_at(0)
        assert table.state(0, now) == ON_TRIAL
        assert [table.claim(0, now) for _ in range(3)] == [True, False, False]
        assert table.state(0, now) == DOWN
    assert pauses == [5000, 10_000, 20_000, 40_000, 60_000, 60_000]
    table.answered(0, now)
    assert [table.claim(0, now) for _ in range(2)] == [True, True]


def test_retry_after_stays_though_older_calls_are_answered(table: TargetTable) -> None:
    table.unavailable(0, 30, NOW)
    table.unavailable(0, 10, NOW)
    table.answered(0, NOW)
    assert table.free_at(0) == NOW + 30_000
    table.unavailable(0, 0, NOW)
    table.unavailable(0, 2**40, NOW)
    assert table.free_at(0) == NOW + 1000 * _targets.RETRY_AFTER_MOST
    assert table.status(0, NOW)["unavailable"] == 4


def test_prober_keeps_it_down_and_ends_by_itself(table: TargetTable) -> None:
    assert [table.probe_failed(0, NOW + 9000, NOW) for _ in range(3)] == [False, False, True]
    assert table.free_at(0) == NOW + 9000
    assert not table.probe_failed(0, NOW + 20_000, NOW + 8000)
    assert (table.state(0, NOW + 19_999), table.state(0, NOW + 20_000)) == (DOWN, ON_TRIAL)
    table.probed(0, 200, 0.0015, NOW)
    status = table.status(0, NOW)
    assert (status["probe_status"], status["probe_us"], status["probed"]) == (200, 1500, NOW)


def test_limit_counts_ringing_and_open_calls_of_all_workers(table: TargetTable) -> None:
    assert table.admit(1, 0)
    assert table.admit(1, 1)
    assert not table.admit(1, 2)
    assert table.state(1, NOW) == FULL
    table.confirmed(1, 0)
    assert not table.admit(1, 2), "answered, and the state process has not heard of it"
    assert table.on_the_way(1, 0) == 1
    table.set_open(1, 1)
    assert table.busy(1) == 3, "on the way from one count to the other it is in both"
    table.heard(1, 0, 1)
    assert (table.busy(1), table.on_the_way(1, 0)) == (2, 0)
    table.end(1, 1)
    assert table.admit(1, 2)
    table.set_open(1, 0)
    table.end(1, 2)
    table.end(1, 2)
    assert (table.busy(1), table.status(1)["calls"]) == (0, 3)
    assert all(table.admit(0, 0) for _ in range(1000)), "no limit"


def test_dead_worker_takes_its_ringing_calls_along(table: TargetTable) -> None:
    for worker in (0, 0, 2):
        table.begin(0, worker)
    table.clear_worker(0)
    assert table.status(0)["ringing"] == 1
    assert table.status(0)["calls"] == 3


def test_a_gateway_keeps_its_slot_and_health_by_its_name(table: TargetTable) -> None:
    for _ in range(3):
        table.timeout(1, NOW)
    table.begin(0, 1)
    assert table.assign([("gw3", 1, 0), ("gw2", 7, 9)]) == [2, 1]
    assert (table.state(0, NOW), table.state(1, NOW), table.state(2, NOW)) == (UNUSED, DOWN, UP)
    assert (table.weight(1), table.status(1)["limit"]) == (7, 9)
    assert table.assign([("gw1", 10, 0)]) == [0]
    assert table.status(0)["ringing"] == 1, "calls outlive a reload"
    assert table.state(1, NOW) == UNUSED


def test_slots_go_to_others_when_all_were_somebodys(table: TargetTable) -> None:
    table.timeout(0, NOW)
    names = [(f"n{number}", 1, 0) for number in range(_targets.SLOTS)]
    slots = table.assign(names)
    assert sorted(slots) == list(range(_targets.SLOTS))
    assert slots[:1022] == list(range(2, 1024))
    assert set(slots[1022:]) == {0, 1}
    assert table.status(0)["failures"] == 0
    with pytest.raises(ValueError, match="there is room for 1024"):
        table.assign([*names, ("more", 1, 0)])
    with pytest.raises(ValueError, match="one name"):
        table.assign([("a", 1, 0), ("a", 1, 0)])


def test_memory_that_is_none() -> None:
    memory = os.memfd_create("other", os.MFD_CLOEXEC)
    with pytest.raises(OSError, match="too short"):
        TargetTable(memory)
    os.ftruncate(memory, table_size())
    with pytest.raises(OSError, match="nothing was formatted"):
        TargetTable(memory)
    table_format(memory, 64)
    with pytest.raises(OSError, match="one already"):
        table_format(memory, 64)
    with pytest.raises(ValueError, match="1 to 64"):
        table_format(memory, 65)
    table = TargetTable(memory)
    with pytest.raises(IndexError):
        table.begin(1024, 0)
    with pytest.raises(IndexError):
        table.begin(0, 64)
    # A page is there once it was written to: of an empty table, one.
    assert os.fstat(memory).st_blocks * 512 <= 8192
    os.close(memory)


WRITER = """
import os, sys
from fastsip._targets import TargetTable
table = TargetTable(int(sys.argv[1]))
os.write(1, b"!")
while True:
    table.begin(0, 2)
    table.timeout(0)
    table.begin(1, 2)
    table.end(1, 2)
    table.answered(0)
"""


def test_a_writer_is_killed_and_another_goes_on(fd: int, table: TargetTable) -> None:
    """As the master does: wait for it, clear its column, start the next one."""
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.read(1) == b"!"
        while table.status(0)["ringing"] < 1000:
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        table.clear_worker(2)
        assert table.busy(0) == 0
        assert table.busy(1) == 0
        assert table.status(0)["failures"] <= 1
    assert table.status(0)["calls"] >= 3000


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    directory = tmp_path_factory.mktemp("targets")

    def compiled(name: str, *flags: str) -> Path:
        program = directory / name
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        command = [compiler, "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror", *flags, str(SOURCE), "-o", str(program)]
        done = subprocess.run([*command, "-pthread"], capture_output=True, text=True)
        if done.returncode and "sanitize" in "".join(flags) and "tsan" in done.stderr:
            pytest.skip("the compiler has no ThreadSanitizer: " + done.stderr.strip().splitlines()[-1])
        assert done.returncode == 0, done.stderr
        return program

    return compiled


def run(program: Path, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_threads_without_data_races(build: Build) -> None:
    run(build("tsan", "-O1", "-fsanitize=thread"), "threads", "100")


def test_threads_at_full_speed(build: Build) -> None:
    run(build("fast", "-O2"), "threads", "1000")


def test_processes_killed_at_any_store(build: Build) -> None:
    run(build("fast", "-O2"), "killed", "200")
