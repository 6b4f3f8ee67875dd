"""From what tomllib read to the frozen structs of `schema.py`, with every mistake found and not only the first.

msgspec decides what is valid, one key at a time; this module walks the tables, names unknown keys, and turns a refusal
into a Problem that says file, line, key, value and what is allowed.
"""

from __future__ import annotations

import difflib
import functools
import re
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from .document import Document
from .problems import ABSENT, Problem
from .values import Listen, PartError, Value

S = TypeVar("S", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$(.*)`$")
_PYTHON_NAMES = {"str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false"}


class Reader:
    """Reads tables of one document, collecting problems as it goes."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def warn(self, key: str, text: str, value: object = ABSENT) -> None:
        self.warnings.append(Problem(self.document.name, self.document.line(key), key, text, value, warning=True))

    def problem(self, key: str, text: str, value: object = ABSENT) -> None:
        self.problems.append(Problem(self.document.name, self.document.line(key), key, text, value))

    def complained(self, *keys: str) -> bool:
        """Whether something is wrong with one of these keys, or within them."""
        return any(re.split(r"\[", problem.key, maxsplit=1)[0] in keys for problem in self.problems)

    def table(self, cls: type[S], raw: object, key: str = "") -> S | None:
        """The struct for one table, or None if it is too wrong to make one. Wrong keys are reported and left out."""
        if not isinstance(raw, dict):
            self.problem(key, "expected a table", value=raw)
            return None
        hints, fields = _fields(cls)
        values: dict[str, Any] = {}
        for name, value in raw.items():
            inner = f"{key}.{name}" if key else name
            if name not in fields:
                whole = any(_tables_in(hint)[0] for hint in hints.values())
                self.problem(inner, _unknown(name, fields, "table" if whole else "key"))
            else:
                found = self._value(hints[name], value, inner)
                if found is not None:
                    values[name] = found
        missing = [f.name for f in fields.values() if f.required and f.name not in raw]
        for name in missing:
            self.problem(key, f'"{name}" is missing: {_allowed(hints[name])}')
        if any(f.required and f.name not in values for f in fields.values()):
            return None
        return cls(**values)

    def _value(self, hint: Any, raw: object, key: str) -> Any:
        struct, shape = _tables_in(hint)
        if struct is None:
            return self._plain(hint, raw, key)
        if shape is None:
            return self.table(struct, raw, key)
        if shape is dict:
            return self._tables_by_name(struct, raw, key)
        if isinstance(raw, dict):
            raw = [raw]
        if not isinstance(raw, list):
            self.problem(key, f"expected tables [[{key}]]", value=raw)
            return None
        tables = [self.table(struct, item, f"{key}[{index}]") for index, item in enumerate(raw)]
        return tuple(table for table in tables if table is not None)

    def _tables_by_name(self, struct: type[S], raw: object, key: str) -> dict[str, S] | None:
        if not isinstance(raw, dict):
            self.problem(key, f"expected one table per name, such as [{key}.name]", value=raw)
            return None
        found: dict[str, S] = {}
        for name, value in raw.items():
            inner = f"{key}.{name}"
            table = self.table(struct, value, inner)
            if table is not None:
                found[name] = table
        return found

    def _plain(self, hint: Any, raw: object, key: str) -> Any:
        raw = _nested(raw, _tuple_depth(hint))
        try:
            return msgspec.convert(raw, hint, dec_hook=_read_value)
        except msgspec.ValidationError as error:
            text = str(error)
            path = at[1] if (at := _PATH.search(text)) else ""
            bad, full = _inside(raw, path)
            if isinstance(part := error.__cause__, PartError):
                self.problem(f"{key}{full}.{part.key}", f"expected {part.allowed}", value=part.value)
                return None
            self.problem(key + full, f"expected {_allowed(hint, deep=bool(full))}", value=bad)
            return None


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, msgspec.structs.FieldInfo]]:
    """Hints and fields by name; to find them takes msgspec and typing longer than everything else."""
    return get_type_hints(cls, include_extras=True), {f.name: f for f in msgspec.structs.fields(cls)}


def _read_value(cls: type, raw: object) -> object:
    if issubclass(cls, (Value, Listen)):
        return cls.of(raw)
    raise NotImplementedError(cls)


def _unknown(name: str, known: Iterable[str], what: str) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    return f"unknown {what}{hint} (known: {', '.join(known)})"


def _bare(hint: Any) -> Any:
    """The hint without Annotated and without None and UNSET beside it."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType):
            hint = next(a for a in get_args(hint) if a not in (type(None), msgspec.UnsetType))
        else:
            return hint


def _tables_in(hint: Any) -> tuple[type[msgspec.Struct] | None, type | None]:
    """(struct, None) for a table, (struct, dict) for tables by name, (struct, tuple) for an array of tables."""
    bare = _bare(hint)
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return bare, None
    shape = get_origin(bare)
    if shape is dict or shape is tuple:
        inner = get_args(bare)[1 if shape is dict else 0]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return inner, shape
    return None, None


def _tuple_depth(hint: Any) -> int:
    bare = _bare(hint)
    return 1 + _tuple_depth(get_args(bare)[0]) if get_origin(bare) is tuple else 0


def _nested(raw: object, depth: int) -> object:
    """Wrap what was written without its list: "a" where a list is meant; "a" or ["a", "b"] where groups are."""
    if depth == 0:
        return raw
    if not isinstance(raw, list):
        raw = [raw]
    if depth > 1 and raw and not any(isinstance(item, list) for item in raw):
        raw = [raw]
    return [_nested(item, depth - 1) for item in raw]


def _inside(raw: object, path: str) -> tuple[object, str]:
    """The offending item that msgspec's path (such as "[1][0]") names, and the path as far as it could be followed."""
    taken = ""
    for step in re.findall(r"\[(\d+)\]", path):
        if not isinstance(raw, list) or int(step) >= len(raw):
            break
        raw = raw[int(step)]
        taken += f"[{step}]"
    return raw, taken


def _allowed(hint: Any, deep: bool = False) -> str:
    """What the key may hold: the nearest description, or what the value's class says of itself."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        for meta in metas:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
        return _allowed(inner, deep)
    if get_origin(hint) in (Union, types.UnionType):
        return _allowed(next(a for a in get_args(hint) if a not in (type(None), msgspec.UnsetType)), deep)
    if get_origin(hint) is tuple:
        inner = _allowed(get_args(hint)[0])
        return inner if deep else f"a list, each item {inner}"
    if isinstance(hint, type) and issubclass(hint, (Value, Listen)):
        return hint.ALLOWED
    if get_origin(hint) is typing.Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(hint))
    return _PYTHON_NAMES.get(getattr(hint, "__name__", ""), "another type")
