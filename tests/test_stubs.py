"""The stubs of the compiled modules name what these have: nothing more, nothing less, in modules and in classes.

Private names (one underscore) count too: tests and benchmarks use them, typed.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fastsip

PACKAGE = Path(fastsip.__file__).parent
STUBS = sorted(path.stem for path in PACKAGE.glob("_*.pyi") if path.stem != "_testing")
"""_testing is for tests alone, and these are not type-checked."""
TYPING = {"TypedDict", "Protocol", "NamedTuple"}
"""Bases of classes that are for type checkers alone."""


def _stub(name: str) -> dict[str, ast.stmt]:
    """What a stub says there is at run time."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse((PACKAGE / f"{name}.pyi").read_text()).body:
        if isinstance(node, ast.ClassDef):
            if not {getattr(base, "id", "") for base in node.bases} & TYPING:
                found[node.name] = node
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and getattr(node.annotation, "id", "") != "TypeAlias":
            found[ast.unparse(node.target)] = node
    return found


def _members(stub: ast.ClassDef) -> set[str]:
    functions = {node.name for node in stub.body if isinstance(node, ast.FunctionDef)}
    return functions | {ast.unparse(node.target) for node in stub.body if isinstance(node, ast.AnnAssign)}


def _imported(module: ModuleType, name: str, value: object) -> bool:
    others = [other for key, other in sys.modules.items() if other is not module and key != "__main__"]
    return isinstance(value, ModuleType) or any(vars(other).get(name) is value for other in others)


@pytest.mark.parametrize("name", STUBS)
def test_stub_and_module_have_the_same_names(name: str) -> None:
    module = importlib.import_module(f"fastsip.{name}")
    stub = _stub(name)
    absent = [each for each in stub if not hasattr(module, each)]
    assert not absent, f"in the stub alone: {absent}"
    typed = [getattr(module, each) for each in stub]
    untyped = [
        each
        for each, value in vars(module).items()
        if not each.startswith("__")
        and each not in stub
        and not any(value is other for other in typed)  # the name it has in C
        and not _imported(module, each, value)
    ]
    assert not untyped, f"in the module alone: {untyped}"


@pytest.mark.parametrize("name", STUBS)
def test_stub_and_classes_have_the_same_members(name: str) -> None:
    module = importlib.import_module(f"fastsip.{name}")
    wrong = []
    for each, node in _stub(name).items():
        if not isinstance(node, ast.ClassDef):
            continue
        kind = getattr(module, each)
        inherited = set().union(*(vars(base) for base in kind.__mro__[1:]))
        members = _members(node)
        wrong += [f"{each}.{member} in the stub alone" for member in members if not hasattr(kind, member)]
        wrong += [
            f"{each}.{member} in the class alone"
            for member in vars(kind)
            if not member.startswith("__") and member not in members and member not in inherited
        ]
    assert not wrong, wrong


def test_every_compiled_module_with_a_python_face_has_a_stub() -> None:
    built = {path.name.partition(".")[0] for path in PACKAGE.glob("_*.so")}
    for name in built - set(STUBS) - {"_testing"}:
        module = importlib.import_module(f"fastsip.{name}")
        own = [each for each in vars(module) if not each.startswith("__")]
        assert all(_imported(module, each, getattr(module, each)) for each in own), f"{name} has no stub: {own}"


def test_package_is_marked_as_typed_and_names_what_it_exports() -> None:
    assert (PACKAGE / "py.typed").exists()
    for name in fastsip.__all__:
        assert getattr(fastsip, name) is not None
    assert set(fastsip.__all__) <= set(dir(fastsip))
