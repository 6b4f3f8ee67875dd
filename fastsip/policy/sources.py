"""A policy's own code, as it was when it was looked over.

What was accepted is what runs. The process that looks a module over keeps the text of whatever it imports of its own;
a worker is given that text, and so loads the same code whenever it starts, however often it tries, and whatever
somebody is writing to the disk meanwhile. Code of others, below a `site-packages`, is imported as always.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from pkgutil import get_importer
from types import ModuleType

from fastsip.launch import Source

INSTALLED = frozenset({"site-packages", "dist-packages"})


OURS, PYTHONS = Path(__file__).parent.parent, Path(os.__file__).parent
"""This package and Python's own library, which may lie below a policy's folder: in a source checkout, in a home."""


def own_root(name: str, file: str, folder: str = "") -> str:
    """Below what the code of a policy is its own, if that of its module `name` is in this file.

    The folder of the configuration, if it lies below that: its helpers may lie beside it or above it. If it is
    installed elsewhere, its package, or itself alone; where there is no such folder, in a test, what lies beside it.
    """
    if not file:
        return ""
    folder = os.path.abspath(folder) if folder else ""
    if is_own(file, folder):
        return folder
    top = _top_level(name, Path(file))
    for root in (top,) if folder else (top.parent, top):
        if is_own(file, str(root)):
            return str(root)
    return file


def _top_level(name: str, file: Path) -> Path:
    """The folder of its outermost package; the file of a module without one."""
    within = file.parent if file.name.startswith("__init__.") else file
    parts = name.split(".")
    above = [within, *within.parents][: len(parts)]
    if [each.name.partition(".")[0] for each in above] != parts[::-1]:
        return file
    return above[-1]


def is_own(file: object, root: str) -> bool:
    """Whether a module's file is the policy's own: below its root (`own_root`), not installed there by a package
    manager, and none of ours or of Python's."""
    return isinstance(file, str) and _is_own(file, root)


@functools.lru_cache(4096)
def _is_own(file: str, root: str) -> bool:
    path = Path(file)
    if not root or not path.is_relative_to(root):
        return False
    if path == Path(root):
        return True
    if Path(root).name in INSTALLED or not INSTALLED.isdisjoint(path.relative_to(root).parts):
        return False
    if path.is_relative_to(PYTHONS) and INSTALLED.isdisjoint(path.relative_to(PYTHONS).parts):
        return False
    return not path.is_relative_to(OURS)


def is_own_module(module: object, root: str) -> bool:
    """The same of a module, or of a package without a file, if nobody else has a share in it."""
    if (file := getattr(module, "__file__", None)) is not None:
        return is_own(file, root)
    spec = getattr(module, "__spec__", None)
    if not isinstance(spec, ModuleSpec) or spec.origin is not None or not spec.submodule_search_locations:
        return False
    with contextlib.suppress(KeyError):  # they are looked for anew if its parent's are others, or gone
        return all(is_own(each, root) for each in spec.submodule_search_locations)
    return False


def found(name: str, path: Sequence[str] | None = None, besides: MetaPathFinder | None = None) -> ModuleSpec | None:
    """What Python would import, without importing its parents; `path` is that of the nearest one."""
    for finder in sys.meta_path:
        if finder is besides:
            continue
        try:
            spec = finder.find_spec(name, path)
        except KeyError:  # a package without a file: Python wants its parents imported
            spec = _namespace(name, path or ())
        if spec is not None:
            return spec
    return None


def _namespace(name: str, path: Iterable[str]) -> ModuleSpec:
    spec = ModuleSpec(name, None, is_package=True)
    finders = filter(None, map(get_importer, path))
    specs = [one for finder in finders if (one := finder.find_spec(name)) is not None]
    spec.submodule_search_locations = [each for one in specs for each in one.submodule_search_locations or ()]
    return spec


class OwnFinder(MetaPathFinder):
    """Finds the module `main` and its own ones, for the thread that uses it as a context: among `kept`, else on the
    disk."""

    def __init__(self, main: str, root: str, kept: Iterable[Source] = ()) -> None:
        self._main, self._root = main, root
        self._read: dict[str, Source] = {}
        self._kept = {each.name: each for each in kept}
        self._thread = threading.get_ident()

    @property
    def sources(self) -> tuple[Source, ...]:
        """What was found so far, `main` first; nothing if that is no file of Python's."""
        if self._main not in self._read:
            return ()
        return self._read[self._main], *(each for name, each in self._read.items() if name != self._main)

    def __enter__(self) -> OwnFinder:
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if threading.get_ident() != self._thread:
            return None
        source = self._kept.get(fullname)
        if source is not None:
            return self._spec(source, path)
        spec = found(fullname, path, self)
        if spec is not None and spec.loader is None:
            own = next((each for each in spec.submodule_search_locations or () if is_own(each, self._root)), None)
            return self._spec(Source(fullname, own, True, b"", namespace=True), path) if own else spec
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return spec
        if fullname != self._main and not is_own(spec.origin, self._root):
            return spec
        text = spec.loader.get_data(spec.origin)
        return self._spec(Source(fullname, spec.origin, spec.submodule_search_locations is not None, text))

    def _spec(self, source: Source, path: Sequence[str] | None = None) -> ModuleSpec | None:
        self._read[source.name] = source
        if source.namespace:
            return self._namespace(source, path)
        within = [str(Path(source.file).parent)] if source.package else None
        loader = _Loader(source)
        return spec_from_file_location(source.name, source.file, loader=loader, submodule_search_locations=within)

    def _namespace(self, source: Source, path: Sequence[str] | None) -> ModuleSpec:
        """With what others have in it on the disk."""
        spec = ModuleSpec(source.name, None, is_package=True)
        there = found(source.name, path, self)
        others = there.submodule_search_locations or () if there is not None and there.loader is None else ()
        spec.submodule_search_locations = [source.file, *(each for each in others if each != source.file)]
        return spec


class _Loader(SourceFileLoader):
    """Of one text. Compiled files are neither read nor written: they go by the second of a change, and a reload may
    follow sooner."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.name, source.file)
        self._source = source

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError("no file is looked at")

    def get_data(self, path: str) -> bytes:
        return self._source.text if path == self._source.file else super().get_data(path)
