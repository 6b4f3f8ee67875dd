"""What a module has for a policy, asked in a process of its own: `python -m fastsip.policy.probe`.

The master and `fastsip check` want to know whether a module can be loaded, and never run a line of it themselves: it
may hang, exit, or take the process with it.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

from fastsip.launch import Source
from fastsip.policy.module import Face, Module, ModuleProblem, load

PATIENCE = 15.0
"""Seconds a module may take to load."""


class _Asked(msgspec.Struct):
    name: str
    folder: str
    path: list[str]


class Probed(msgspec.Struct, frozen=True):
    """A module that can be loaded."""

    face: Face = Face()
    sources: tuple[Source, ...] = ()
    """What it was made of: whoever loads these gets what was looked at."""

    @staticmethod
    def of(module: Module) -> Probed:
        return Probed(module.face, module.sources)


class _Said(msgspec.Struct):
    probed: Probed | None = None
    problem: str = ""


def probed(name: str, folder: str, patience: float = PATIENCE) -> Probed:
    """What the module `name` has. Raises ModuleProblem with what is wrong with it."""
    if not sys.executable:  # embedded where there is no interpreter to start
        return Probed.of(load(name, folder))
    asked = msgspec.json.encode(_Asked(name, folder, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fastsip.policy.probe"], input=asked, capture_output=True, timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise ModuleProblem(f"{name} does not load in {patience:g} s") from None
    except OSError as error:
        raise ModuleProblem(f"{name}: no process to look at it: {error.strerror}") from error
    lines = done.stdout.splitlines()
    try:
        said = msgspec.json.decode(lines[-1], type=_Said)
    except (IndexError, msgspec.DecodeError):
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        raise ModuleProblem(f"{name} ends the process that loads it ({how})") from None
    if said.probed is None:
        raise ModuleProblem(said.problem)
    return said.probed


def main() -> None:
    """Read a question from standard input and write the answer as the last line of standard output."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=_Asked)
    sys.path[:] = asked.path
    try:
        said = _Said(Probed.of(load(asked.name, asked.folder)))
    except ModuleProblem as problem:
        said = _Said(problem=str(problem))
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(said) + b"\n")


if __name__ == "__main__":
    main()
