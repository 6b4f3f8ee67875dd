"""Builds to replay against: this working tree as it is built, and an older commit built beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = ("_testing", "_load")
"""Compiled modules the hot path does not need."""
KEPT = 3
"""Older commits' builds that stay for the next time."""
MARKS = (b"not so: ", b"__asan_init")
"""What only a build with assertions or sanitizers contains."""


class TreeError(Exception):
    """There is no such build, and why."""


class NoParent(TreeError):
    """Nothing to compare with."""


def git(root: Path, *arguments: str, seconds: float = 60) -> str:
    """What git says. TreeError when it cannot."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TreeError(f"git {arguments[0]}: {error}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        fatal = [line for line in said if line.startswith("fatal: ")]
        raise TreeError(f"git {arguments[0]}: {(fatal or said)[0].removeprefix('fatal: ')}")
    return done.stdout.strip()


def is_dirty(root: Path) -> bool:
    """Whether what is built here differs from HEAD in what the replay runs."""
    return bool(git(root, "status", "--porcelain", "--", "ext", "fastsip", "setup.py"))


def find_base(root: Path, against: str | None) -> tuple[str, str]:
    """The commit to compare with, and in words why that one. Raises NoParent."""
    try:
        git(root, "rev-parse", "--git-dir")
    except TreeError as error:
        raise NoParent(f"no history here ({error})") from None
    if against:
        return git(root, "rev-parse", "--verify", f"{against}^{{commit}}"), against
    if is_dirty(root):
        return git(root, "rev-parse", "HEAD"), "HEAD, since the working tree differs from it"
    shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
    parents = git(root, "log", "-1", "--format=%P", "HEAD").split()
    if not parents and shallow:
        try:
            git(root, "fetch", "--quiet", "--deepen=1", seconds=60)
            parents = git(root, "log", "-1", "--format=%P", "HEAD").split()
        except TreeError as error:
            raise NoParent(f"the clone is shallow and the parent cannot be fetched ({error})") from None
    if not parents:
        raise NoParent("the clone is shallow" if shallow else "HEAD is the first commit")
    return parents[0], "HEAD^, the first parent of a merge" if len(parents) > 1 else "HEAD^"


def modules(root: Path) -> list[str]:
    return [path.stem for path in sorted((root / "ext").glob("_*.pyx")) if path.stem not in LEFT_OUT]


def check_built(root: Path) -> None:
    """That this tree is built, and as it is released. Raises TreeError."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for name in modules(root):
        library = root / "fastsip" / f"{name}{suffix}"
        if not library.exists():
            raise TreeError(f"{library.relative_to(root)} is not there: make build")
        content = library.read_bytes()
        if any(mark in content for mark in MARKS):
            raise TreeError("this build has assertions or sanitizers: make clean build")


def build_key(root: Path) -> str:
    """What besides the sources decides about the code: compiler, Cython, Python, flags from outside."""
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    cython = subprocess.run([sys.executable, "-m", "cython", "--version"], capture_output=True, text=True)
    outside = [os.environ.get(name, "") for name in ("CC", "CFLAGS", "LDFLAGS", "CPPFLAGS")]
    parts = [compiler, cython.stdout + cython.stderr, sys.version, *outside]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def build(tree: Path) -> None:
    """Compile what the replay needs, in place. Raises TreeError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FASTSIP_")}
    environment["FASTSIP_ONLY"] = ",".join(modules(tree))
    with (tree / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
            cwd=tree,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise TreeError(f"{tree.name} does not build: {tree / 'log'}")


def built(root: Path, commit: str, folder: Path) -> Path:
    """The tree of a commit, built in `folder` unless it is there from last time. Raises TreeError."""
    tree = folder / f"{commit[:12]}-{build_key(root)}"
    if (tree / "ready").exists():
        os.utime(tree)
        return tree
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = folder / f"{commit[:12]}.tar"
    git(root, "archive", "--format=tar", f"--output={archive}", commit, "ext", "fastsip", "setup.py", "pyproject.toml")
    shutil.unpack_archive(archive, tree)
    archive.unlink()
    build(tree)
    (tree / "ready").touch()
    older = sorted((path.parent for path in folder.glob("*/ready")), key=lambda path: path.stat().st_mtime)
    for path in older[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)
    return tree
