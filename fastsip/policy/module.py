"""The user's module: found, executed, looked over before anything is asked of it.

    def route(request: Request) -> Plan | None                        # or async def
    def on_failure(request: Request, responses: Sequence[Response]) -> Plan | None    # or async def
    def on_response(response: Response) -> None                       # looks, and holds nothing up
    METHODS = ("INVITE",)                                             # what `route` wants to see; all unless given
    async def setup() -> None                                         # before the first question
    async def teardown() -> None                                      # after the last answer

It is executed anew each time it is loaded, and so is what it imports of its own (`sources.own_root`): a reload finds
what is on the disk, or is given what was there when somebody looked (`sources.py`), and two loops never share an object
that belongs to one of them. What was loaded before lives on for those who still use it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import msgspec

from fastsip.errors import SipError
from fastsip.launch import Source
from fastsip.policy.plan import Plan
from fastsip.policy.sources import OwnFinder, found, is_own, is_own_module, own_root

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
    own: str
    """Below what its own code lies (`sources.own_root`); "" for one without a file."""
    route: Route | None
    on_failure: OnFailure | None
    on_response: OnResponse | None
    methods: frozenset[str] | None
    """None for all."""
    setup: Hook | None
    teardown: Hook | None
    sources: tuple[Source, ...] = ()
    """Its own and those of what it imports of its own; its own is the first."""

    @property
    def face(self) -> Face:
        methods = ("*",) if self.methods is None else tuple(sorted(self.methods))
        return Face(self.route is not None, self.on_response is not None, methods)


_known: dict[str, frozenset[str]] = {}
"""By root: what had been imported before the first load. A program's own is among it; what has come since is the
policy's, also if a function of it imported it at its first call."""


def load(name: str, folder: str = "", sources: Sequence[Source] = ()) -> Module:
    """The module `name`, looked for in `folder` first; of `sources` as another load had them, if given. Raises
    ModuleProblem, and what was there before is untouched."""
    if folder and sys.path[:1] != [folder]:
        sys.path[:] = [folder, *(each for each in sys.path if each != folder)]
    importlib.invalidate_caches()
    known = frozenset(sys.modules)
    before = {name: sys.modules[name]} if name in known else {}
    own = folder
    try:
        origin = sources[0].file if sources else _origin(name, folder)
        own = own_root(name, origin, folder)
        known = _known.get(own, known)
        before |= {each: sys.modules[each] for each in _come(known, own)}
        _forget(before)
        with OwnFinder(name, own, sources) as finder:
            spec = _found(name, folder)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            assert spec.loader is not None
            spec.loader.exec_module(module)
        looked_over = replace(look_over(module, name, origin), own=own, sources=finder.sources)
    except BaseException as error:  # SystemExit too: a module that exits is no module
        for each in _come(known, own) | {name}:
            sys.modules.pop(each, None)
        _put_back(before)
        if isinstance(error, ModuleProblem):
            raise
        raise ModuleProblem(f"{_where(error, own) or f'{name}: '}{_said(error)}") from error
    _known[own] = known
    if name in known and name in before:
        _put_back({name: before[name]})  # a program that imported it itself keeps its own
    return looked_over


def _origin(name: str, folder: str) -> str:
    """The file it would be loaded from, "" without one. Nothing is imported to find it."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    whole = ""
    for part in name.split("."):
        whole = f"{whole}.{part}" if whole else part
        spec = found(whole, path)
        if spec is None and whole != name:
            raise ModuleProblem(f"there is no module {name}: No module named {whole!r}")
        if spec is None:
            raise ModuleProblem(f"there is no module {name} in {folder or 'the module path'}")
        path = spec.submodule_search_locations or ()
    return spec.origin if spec is not None and spec.has_location and spec.origin else ""


def _found(name: str, folder: str) -> ModuleSpec:
    """With its parents imported."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        raise ModuleProblem(f"there is no module {name}: {error}") from error
    if spec is None or spec.loader is None:
        raise ModuleProblem(f"there is no module {name} in {folder or 'the module path'}")
    return spec


def _come(known: frozenset[str], own: str) -> set[str]:
    """Modules of its own that have come since."""
    return {each for each, module in list(sys.modules.items()) if each not in known and is_own_module(module, own)}


def _forget(modules: Mapping[str, ModuleType]) -> None:
    """They are imported anew, by packages too that stay: `from package import module` looks at its attributes first."""
    for each in modules:
        sys.modules.pop(each, None)
    for each, module in modules.items():
        package, _, last = each.rpartition(".")
        if package in sys.modules and vars(sys.modules[package]).get(last) is module:
            delattr(sys.modules[package], last)


def _put_back(modules: Mapping[str, ModuleType]) -> None:
    sys.modules.update(modules)
    for each, module in modules.items():
        package, _, last = each.rpartition(".")
        if package in sys.modules:
            setattr(sys.modules[package], last, module)


def _where(error: BaseException, own: str) -> str:
    """File and line in the user's own code, as deep as it goes."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_own(frame.filename, own):
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
        own=own_root(name, origin),
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
