"""Layers point one way, and the compiled ones keep what they promise.

1. A compiled module cimports and imports only modules below it; compiled modules import no Python package of ours.
2. Among the Python packages `process` sees everything, nobody imports `process` but the command line and the demo.
3. The hot path has no Python: `nogil` functions are `noexcept`, and `with gil` stands where it was agreed.
4. Everything compiles in less than two minutes (long).
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXT, PACKAGE = ROOT / "ext", ROOT / "fastsip"

BASE = {"_address", "_control", "_hash", "_libcrypto", "_memory", "_queue", "_remark", "_targets", "_websocket"}
BASE |= {"errors", "events", "names"}
"""Declarations of C headers, the counters all processes share, exceptions and protocol names: below everything."""
LAYERS: list[set[str]] = [
    {"_message", "_plan"},
    {"_timer", "_tls"},
    {"_transaction"},
    {"_transport", "_location", "_digest", "_table", "_layout"},
    {"_proxy", "_facts", "_load"},
    {"_worker"},
]
"""Lowest first; modules of one layer do not see each other."""
TESTING = {"_testing"}
"""A face of compiled things for tests; may see all, and nothing may see it."""

WITH_GIL: dict[str, int] = {}
"""Module: how many `with gil` it may hold. The hot thread has none."""


def _sources() -> dict[str, list[Path]]:
    """Module to its files: the .pyx, its fragments in the folder of its name, its .pxd."""
    found: dict[str, list[Path]] = {}
    for root in sorted(EXT.glob("_*.pyx")):
        name = root.stem
        found[name] = [root, *sorted((EXT / name.removeprefix("_")).glob("**/*.px[id]"))]
    for contract in sorted(PACKAGE.glob("_*.pxd")):
        found.setdefault(contract.stem, []).append(contract)
    return found


def _code(path: Path) -> str:
    """Without comments and docstrings."""
    text = re.sub(r'"""(?:.|\n)*?"""', '""', path.read_text())
    return re.sub(r"#[^\n\"']*$", "", text, flags=re.M)


def _imports(path: Path) -> set[str]:
    code = _code(path)
    found = set(re.findall(r"^\s*from\s+fastsip\.(\w+)\s+c?import", code, re.M))
    found |= set(re.findall(r"^\s*c?import\s+fastsip\.(\w+)", code, re.M))
    for names in re.findall(r"^\s*from\s+fastsip\s+c?import\s+([\w, ]+)", code, re.M):
        found |= {name.strip() for name in names.split(",")}
    return found


def _level(name: str) -> int:
    return next((index for index, layer in enumerate(LAYERS) if name in layer), -1)


def test_compiled_modules_see_only_what_is_below() -> None:
    wrong = []
    for name, paths in _sources().items():
        if name in TESTING:
            continue
        for path in paths:
            for other in _imports(path) - {name}:
                allowed = other in BASE if name in BASE else other in BASE or 0 <= _level(other) < _level(name)
                if not allowed:
                    wrong.append(f"{path.relative_to(ROOT)} sees {other}")
    assert not wrong, wrong


def test_every_compiled_module_has_its_place() -> None:
    known = BASE | TESTING | set().union(*LAYERS)
    assert set(_sources()) <= known, set(_sources()) - known


def _python_imports(path: Path) -> set[str]:
    """Names of our modules and packages a Python file imports, first component under fastsip."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module] if node.module != "fastsip" else [f"fastsip.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("fastsip.")}
    return found


def test_only_the_outside_sees_process() -> None:
    """`process` sees everything; only the command line, the demo, itself, and the list of public names see it."""
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]
        outside = ("process", "cli.py", "demo", "__main__.py", "__init__.py")
        if "process" in _python_imports(path) and part not in outside:
            wrong.append(str(path.relative_to(ROOT)))
    assert not wrong, wrong


def test_the_state_process_knows_no_sip_engine() -> None:
    """It decides by facts: of the compiled modules it sees the segment, the shared counters, the parser
    and the one that reads facts."""
    allowed = BASE | {"_location", "_message", "_digest", "_facts"}
    wrong = []
    for package in ("state", "location", "registrar"):
        for path in (PACKAGE / package).rglob("*.py"):
            compiled = {name for name in _python_imports(path) if name.startswith("_")}
            wrong += [f"{path.relative_to(ROOT)} sees {name}" for name in compiled - allowed]
    assert not wrong, wrong


def test_locating_servers_is_a_library() -> None:
    """It knows URIs and its own setup, and nothing of requests, workers or where it runs."""
    wrong = []
    for path in (PACKAGE / "dns").rglob("*.py"):
        seen = _python_imports(path) - {"_message", "errors", "launch", "dns"}
        wrong += [f"{path.relative_to(ROOT)} sees {name}" for name in seen]
    assert not wrong, wrong


def test_nogil_is_noexcept() -> None:
    """A `cdef ... nogil` without noexcept asks for the error indicator after every call: 60 ns each."""
    wrong = []
    for paths in _sources().values():
        for path in paths:
            code = re.sub(r"\\\n|(?<=,)\n\s*", " ", _code(path))
            for line in code.splitlines():
                if re.search(r"^\s*cdef\b.*\)[^()]*\bnogil\b", line) and "except" not in line:
                    wrong.append(f"{path.relative_to(ROOT)}: {line.strip()[:100]}")
    assert not wrong, wrong


def test_with_gil_is_rare() -> None:
    for name, paths in _sources().items():
        if name in TESTING:
            continue
        times = sum(len(re.findall(r"\bwith gil\b", _code(path))) for path in paths)
        assert times <= WITH_GIL.get(name, 0), f"{name} takes the GIL {times} times"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_build_takes_less_than_two_minutes(tmp_path: Path) -> None:
    """From nothing, on the CPUs there are, with no cached objects."""
    for part in ("ext", "fastsip"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tmp_path)
    begun = time.monotonic()
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    env = {**os.environ, "CCACHE_DISABLE": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    taken = time.monotonic() - begun
    assert done.returncode == 0, done.stderr[-3000:]
    assert taken < 120, f"the build took {taken:.0f} s"
