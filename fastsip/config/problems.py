"""What is wrong with a configuration, said so that the person who wrote it can put it right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from fastsip.errors import SipError

VALUE_LIMIT = 80
SECRET_KEYS = frozenset({"password", "ha1", "ha1_sha256"})


class _Absent:
    """Stands for "no value to show"; None is a value."""


ABSENT = _Absent()


@dataclass(frozen=True)
class Problem:
    """One mistake: where (`file` or the command line, `line` 0 when unknown), which dotted key, what is wrong."""

    file: str
    line: int
    key: str
    text: str
    value: object = ABSENT
    warning: bool = False
    """It can be served, and may not be what was meant."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [where, "warning"] if self.warning else [where]
        if self.key:
            parts.append(self.key if self.value is ABSENT else f"{self.key} = {shown(self.key, self.value)}")
        return ": ".join([*parts, self.text])


class ConfigurationError(SipError):
    """A configuration that cannot be used; `problems` holds everything found wrong with it, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (problem.file, problem.line))
        super().__init__("\n".join(map(str, self.problems)))


def shown(key: str, value: object) -> str:
    """The value as the file would have it, cut to a readable length; secrets are never repeated."""
    if key.rpartition(".")[2] in SECRET_KEYS:
        return "(not shown)"
    if isinstance(value, dict) and SECRET_KEYS & value.keys():
        return "{...}"
    if isinstance(value, float):
        return f"{value:g}"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 3] + "..."
