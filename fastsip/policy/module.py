"""The user's module: found, executed, looked over before anything is asked of it.

    def route(request: Request) -> Plan | None                        # or async def
    def on_failure(request: Request, responses: Sequence[Response]) -> Plan | None    # or async def
    def on_response(response: Response) -> None                       # looks, and holds nothing up
    METHODS = ("INVITE",)                                             # what `route` wants to see; all unless given
    async def setup() -> None                                         # before the first question
    async def teardown() -> None                                      # after the last answer

It is executed anew each time it is loaded, and so is what it imports from its own folder: a reload finds what is on the
disk, and two loops never share an object that belongs to one of them. What was loaded before lives on for those who
still use it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from fastsip.errors import SipError
from fastsip.policy.plan import Plan

NEVER_ASKED = frozenset({"ACK", "CANCEL", "REGISTER"})

Route = Callable[[Any], "Plan | Awaitable[Plan | None] | None"]
OnFailure = Callable[[Any, Any], "Plan | Awaitable[Plan | None] | None"]
OnResponse = Callable[[Any], object]
Hook = Callable[[], Any]


class ModuleProblem(SipError):
    """A module that cannot be used; the text says file, line or function, and what is expected."""


class Face(msgspec.Struct, frozen=True):
    """What the hot thread has to know of a module."""

    route: bool = False
    responses: bool = False
    methods: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Module:
    """A module that was looked over."""

    name: str
    folder: str
    """Where its own code lies; "" for one without a file."""
    route: Route | None
    on_failure: OnFailure | None
    on_response: OnResponse | None
    methods: frozenset[str] | None
    """None for all."""
    setup: Hook | None
    teardown: Hook | None

    @property
    def face(self) -> Face:
        methods = ("*",) if self.methods is None else tuple(sorted(self.methods))
        return Face(self.route is not None, self.on_response is not None, methods)


_owned: dict[str, set[str]] = {}
"""By folder: modules that were imported from it on a policy's behalf."""


def load(name: str, folder: str = "") -> Module:
    """The module `name`, looked for in `folder` first. Raises ModuleProblem, and what was there before is untouched."""
    if folder and sys.path[:1] != [folder]:
        sys.path[:] = [folder, *(each for each in sys.path if each != folder)]
    importlib.invalidate_caches()
    before = {name: sys.modules.pop(name)} if name in sys.modules else {}
    known = set(sys.modules)
    own = folder
    try:
        spec = _found(name, folder)
        origin = spec.origin if spec.has_location and spec.origin else ""
        own = str(Path(origin).parent) if origin else ""
        ours = _owned.get(own, set())
        before |= {each: sys.modules.pop(each) for each in ours if each in sys.modules}
        known -= ours
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        _execute(module, origin)
        found = look_over(module, name, origin)
    except BaseException as error:  # SystemExit too: a module that exits is no module
        for each in _new(known, own) | {name}:
            sys.modules.pop(each, None)
        sys.modules.update(before)
        if isinstance(error, ModuleProblem):
            raise
        raise ModuleProblem(f"{_where(error, own) or f'{name}: '}{_said(error)}") from error
    _owned[own] = _new(known, own) | {name}
    if name in before and name not in ours:
        sys.modules[name] = before[name]  # a program that imported it itself keeps its own
        _owned[own].discard(name)
    return found


def _found(name: str, folder: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        raise ModuleProblem(f"there is no module {name}: {error}") from error
    if spec is None or spec.loader is None:
        raise ModuleProblem(f"there is no module {name} in {folder or 'the module path'}")
    return spec


def _new(known: set[str], folder: str) -> set[str]:
    """Modules of this folder that were not there before."""
    return {each for each in set(sys.modules) - known if folder and _lies_in(sys.modules[each], folder)}


def _execute(module: ModuleType, origin: str) -> None:
    """Run it from its source: compiled files go by the second of a change, and a reload may follow sooner."""
    spec = module.__spec__
    assert spec is not None and spec.loader is not None
    if isinstance(spec.loader, SourceFileLoader):
        exec(spec.loader.source_to_code(spec.loader.get_data(origin), origin), module.__dict__)
    else:
        spec.loader.exec_module(module)


def _lies_in(module: object, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(folder)


def _where(error: BaseException, folder: str) -> str:
    """File and line in the user's own code, as deep as it goes."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    if folder:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).is_relative_to(folder):
                return f"{frame.filename}:{frame.lineno}: "
    return ""


def _said(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def look_over(module: object, name: str = "", origin: str = "") -> Module:
    """What a module, or any object with such attributes, has for a policy. Raises ModuleProblem if it has nothing, or
    something with another signature than ours."""
    name = name or getattr(module, "__name__", type(module).__name__)
    origin = origin or getattr(module, "__file__", None) or ""
    where = origin or name
    route = _function(module, where, "route", ("request",))
    on_failure = _function(module, where, "on_failure", ("request", "responses"))
    on_response = _function(module, where, "on_response", ("response",))
    if on_response is not None and inspect.iscoroutinefunction(on_response):
        raise ModuleProblem(f"{_line(on_response, where)}: on_response only looks: expected def, found async def")
    if route is None and on_response is None:
        raise ModuleProblem(f"{where}: expected a function route(request) that returns a Plan or None")
    if on_failure is not None and route is None:
        raise ModuleProblem(f"{where}: on_failure without route: no plan of this module could ask for it")
    return Module(
        name=name,
        folder=str(Path(origin).parent) if origin else "",
        route=route,
        on_failure=on_failure,
        on_response=on_response,
        methods=_methods(module, where),
        setup=_function(module, where, "setup", ()),
        teardown=_function(module, where, "teardown", ()),
    )


def _function(module: object, where: str, name: str, arguments: tuple[str, ...]) -> Any:
    """The module's function of this name, None if it has none."""
    found = getattr(module, name, None)
    if found is None:
        return None
    expected = f"expected {name}({', '.join(arguments)})"
    if not callable(found) or inspect.isclass(found):
        raise ModuleProblem(f"{where}: {name} is {found!r}: {expected}")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise ModuleProblem(f"{_line(found, where)}: {name} yields: {expected} that returns")
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return found  # compiled, and silent about it
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ModuleProblem(f"{_line(found, where)}: {name}{signature}: {expected}") from None
    return found


def _line(function: Callable[..., Any], where: str) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else where


def _methods(module: object, where: str) -> frozenset[str] | None:
    wanted = getattr(module, "METHODS", None)
    if wanted is None:
        return None
    expected = 'METHODS: expected a tuple of methods such as ("INVITE", "MESSAGE")'
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise ModuleProblem(f"{where}: {expected}, found {wanted!r}")
    found = list(wanted)
    for method in found:
        if not isinstance(method, str) or not method or method != method.upper():
            raise ModuleProblem(f"{where}: {expected}, found {method!r} in it")
        if method in NEVER_ASKED:
            raise ModuleProblem(f"{where}: METHODS: no policy is asked about {method}")
    return None if "*" in found else frozenset(found)

