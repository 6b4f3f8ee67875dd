"""The gate on instructions per message.

1. What callgrind writes is read right: inlined lines, calls, copies of functions, libraries, the interpreter left out.
2. A function that got slower fails the gate and is named; the same code passes, and so does a little more.
3. Without a parent to compare with, or with one that cannot be replayed, it says so, and the limits still hold.
4. Which commit it compares with: parent, first parent of a merge, HEAD under a dirty tree, one a shallow clone fetches.
5. The build that is meant is the one that runs, whatever else is called fastsip hereabouts.
6. The traffic goes through this build, the same each time, and dearer code is seen (with valgrind; long).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "bench"))

import perf  # noqa: E402
from replay import trees  # noqa: E402
from replay.costs import Costs, change, function_name, grown, read_costs, too_much  # noqa: E402
from replay.driver import PYTHON, ReplayError, clock_library, environment, replay  # noqa: E402

OUT = """# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir

ob=/x/fastsip/_message.cpython-311-x86_64-linux-gnu.so
fl=/x/build/cython/ext/_message.c
fn=__pyx_f_7fastsip_8_message_parse_message
100 {parse}
fi=/x/ext/scan.h
7 20
fe=/x/build/cython/ext/_message.c
+3 30
cob=/lib/x86_64-linux-gnu/libc.so.6
cfi=./string/memcpy.S
cfn=memcpy
calls=10 1
101 999999
* 5

fn=__pyx_f_7fastsip_8_message_parse_message.part.0
120 40

ob=/x/fastsip/_proxy.cpython-311-x86_64-linux-gnu.so
fl=/x/build/cython/ext/_proxy.c
fn=__pyx_f_7fastsip_6_proxy_on_request.constprop.1
10 500
fi=/x/ext/segment.h
7 60

ob=/lib/x86_64-linux-gnu/libc.so.6
fl=./string/memcpy.S
fn=memcpy
1 50

ob=/usr/bin/python3.11
fl=???
fn=PyEval_SaveThread
0 123456

totals: 124161
"""


def costs(parse: int = 1000, messages: int = 10) -> Costs:
    return read_costs(OUT.format(parse=parse), messages)


def test_callgrind_output() -> None:
    read = costs()
    assert dict(read.functions) == {
        ("message", "parse_message"): 1095,
        ("proxy", "on_request"): 560,
        ("libc", "memcpy"): 50,
    }
    assert dict(read.layers) == {"message": 1095, "proxy": 500, "location": 60, "libc": 50}
    assert read.per_message == 170.5
    with pytest.raises(ValueError, match="not a callgrind"):
        read_costs("nothing", 1)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("__pyx_f_7fastsip_7_worker_6Worker_turn", "Worker.turn"),
        ("__pyx_pw_7fastsip_7_worker_6Worker_3run", "Worker.run"),
        ("__pyx_f_7fastsip_12_transaction_key_by_branch.isra.0", "key_by_branch"),
        ("__pyx_f_7fastsip_8_message_4Odd'2", "4Odd"),
        ("siphash_add.constprop.0.cold", "siphash_add"),
        ("__vfprintf_internal", "__vfprintf_internal"),
    ],
)
def test_names_as_in_the_source(symbol: str, name: str) -> None:
    assert function_name(symbol) == name


def test_slower_function_fails(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = costs(), costs(parse=1200)
    assert change(before, after) == pytest.approx(200 / 1705)
    more, less = grown(before, after)
    assert [(one.name, one.before, one.after) for one in more] == [("parse_message", 109.5, 129.5)]
    assert less == []
    [complaint] = perf.judge(perf.Measured({"register": after}, {"register": before}))
    assert complaint.startswith("register: +11.7% per message")
    said = capsys.readouterr().out
    assert "parse_message" in said and "+20" in said and "on_request" not in said


@pytest.mark.parametrize("parse", [900, 1000, 1080])
def test_cheaper_same_or_a_little_dearer_passes(parse: int) -> None:
    assert perf.judge(perf.Measured({"register": costs(parse)}, {"register": costs()})) == []


def test_counted_by_message() -> None:
    assert not too_much(costs(), costs(parse=1000 + 1705, messages=20))
    assert too_much(costs(), costs(messages=9))


def test_limit_holds_without_parent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(perf.MOST, "call", 171)
    assert perf.judge(perf.Measured({"call": costs()}, missing="HEAD is the first commit")) == []
    assert "NOT COMPARED: HEAD is the first commit" in " ".join(capsys.readouterr().out.split())
    assert perf.judge(perf.Measured({"call": costs(parse=1100)}, missing="x")) == [
        "call: 180 per message, 171 is the most"
    ]


def test_parent_that_cannot_be_replayed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def one_replay(path: str, tree: Path, out: Path, clock: Path) -> Costs:
        if tree == tmp_path:
            raise ReplayError("no such method")
        return costs()

    monkeypatch.setattr(perf, "replay", one_replay)
    monkeypatch.setattr(perf, "find_base", lambda root, against: ("abc123", "HEAD^"))
    monkeypatch.setattr(perf, "built", lambda root, commit, folder: tmp_path)
    measured = perf.measure(["register"], None, tmp_path)
    assert measured.missing == "abc123 cannot be replayed: register: no such method"
    assert measured.now["register"].total == 1705


class Repository:
    """A git repository with a file in ext, one commit each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "ext").mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, text: str) -> None:
        (self.path / "ext" / "_message.pyx").write_text(text)

    def commit(self, text: str) -> str:
        self.write(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")


def test_what_it_compares_with(tmp_path: Path) -> None:
    made = Repository(tmp_path / "made")
    with pytest.raises(trees.NoParent, match="no history here"):
        trees.find_base(tmp_path, None)
    first = made.commit("1")
    with pytest.raises(trees.NoParent, match="first commit"):
        trees.find_base(made.path, None)
    second = made.commit("2")
    assert trees.find_base(made.path, None) == (first, "HEAD^")
    made.write("2, and not committed")
    assert trees.find_base(made.path, None)[0] == second
    made.git("checkout", "--quiet", "--", ".")
    made.git("checkout", "--quiet", "-b", "side", first)
    (made.path / "README.md").write_text("other")
    made.commit("1")
    made.git("checkout", "--quiet", "main")
    made.git("merge", "--quiet", "--no-edit", "side")
    assert trees.find_base(made.path, None)[0] == second
    assert trees.find_base(made.path, "main~1")[0] == second
    with pytest.raises(trees.TreeError, match="rev-parse"):
        trees.find_base(made.path, "no-such")

    shallow = Repository(tmp_path / "shallow")
    shallow.git("fetch", "--quiet", "--depth=1", f"file://{made.path}", "main")
    shallow.git("checkout", "--quiet", "FETCH_HEAD")
    with pytest.raises(trees.NoParent, match="shallow"):
        trees.find_base(shallow.path, None)
    shallow.git("remote", "add", "origin", f"file://{made.path}")
    assert trees.find_base(shallow.path, None)[0] == second


def test_builds_that_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "ext").mkdir()
    (tmp_path / "fastsip").mkdir()
    (tmp_path / "ext" / "_message.pyx").touch()
    with pytest.raises(trees.TreeError, match="make build"):
        trees.check_built(tmp_path)
    library = tmp_path / "fastsip" / f"_message{trees.sysconfig.get_config_var('EXT_SUFFIX')}"
    library.write_bytes(b"\x7fELF")
    trees.check_built(tmp_path)
    library.write_bytes(b"\x7fELF %s:%d: not so: %s\n")
    with pytest.raises(trees.TreeError, match="assertions"):
        trees.check_built(tmp_path)


def test_the_build_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "fastsip").mkdir()
    (tmp_path / "fastsip" / "__init__.py").touch()
    said = subprocess.run(
        [*PYTHON, "-c", "import fastsip, replay.people; print(fastsip.__file__)"],
        env={**environment(tmp_path, tmp_path), "LD_PRELOAD": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(said.stdout.strip()).parent == tmp_path / "fastsip"


@pytest.mark.long
@pytest.mark.parametrize("path", ["call", "register"])
def test_replay_repeats(path: str, tmp_path: Path) -> None:
    clock = clock_library(tmp_path)
    once, again = (replay(path, ROOT, tmp_path / f"{n}.out", clock) for n in range(2))
    assert once.messages == again.messages
    assert abs(change(once, again)) < 0.0005
    assert all(once.layers[layer] for layer in ("message", "proxy", "transaction", "transport", "timer", "location"))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_dearer_code_is_seen(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for folder in ("ext", "fastsip"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "setup.py", tree)
    header = tree / "ext" / "siphash.h"
    once, often = "siphash_finish(HashState *s) {", "for (volatile int i = 0; i < 100; i++) {}"
    assert once in header.read_text()
    header.write_text(header.read_text().replace(once, f"{once} {often}"))
    trees.build(tree)
    clock = clock_library(tmp_path)
    before, after = (replay("call", at, tmp_path / f"{at.name}.out", clock) for at in (ROOT, tree))
    assert too_much(before, after)
    assert "branch_check" in [one.name for one in grown(before, after)[0][:5]]
