"""A TOML file with the line of every key: tomllib for the values, a light scan for the lines."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from .problems import ConfigurationError, Problem

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"^\s*(\[\[?)\s*({_KEY})\s*\]\]?\s*(?:#.*)?$")
_PAIR = re.compile(rf"^\s*({_KEY})\s*=")
_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


class Document:
    """A parsed file: `data` as tomllib gives it, `line(key)` for messages. Keys are dotted, list items `key[0]`."""

    def __init__(self, name: str, text: str) -> None:
        """Parse `text`; raises ConfigurationError with line and column if it is not TOML."""
        self.name = name
        self._text = text.splitlines()
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError([self._syntax_problem(str(error))]) from None
        self._lines = _key_lines(self._text)

    @classmethod
    def read(cls, path: Path) -> Document:
        """Read a file; raises ConfigurationError if it cannot be read or is not TOML."""
        try:
            return cls(str(path), path.read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise ConfigurationError([Problem(str(path), 0, "", f"cannot read it: {error.strerror}")]) from None
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            raise ConfigurationError([Problem(str(path), line, "", "not UTF-8 text")]) from None

    def line(self, key: str) -> int:
        """The line on which the key, or its first inner key, or the nearest table around it, stands; 0 if nowhere."""
        while key:
            if key in self._lines:
                return self._lines[key]
            if inner := [line for known, line in self._lines.items() if known.startswith(f"{key}.")]:
                return min(inner)
            at = max(key.rfind("."), key.rfind("["))
            key = key[:at] if at > 0 else ""
        return 0

    def _syntax_problem(self, text: str) -> Problem:
        at = _AT.search(text)
        line = int(at[1]) if at and at[1] else len(self._text)
        reason = text[: at.start()] if at else text
        source = self._text[line - 1].strip() if 0 < line <= len(self._text) else ""
        message = f"not TOML: {reason[:1].lower()}{reason[1:]}" + (f", column {at[2]}" if at and at[2] else "")
        if source:
            message += f": {source[:100]}"
        if re.match(r"\[+\s*users\.[^\"'\]]*@", source):
            message += '\n  a name with "@" needs quotes: [users."bob@example.com"]'
        return Problem(self.name, line, "", message)


def _key_lines(text: list[str]) -> dict[str, int]:
    """Where each dotted key is written. A line inside a multi-line string may be taken for a key: only a message's
    line number would suffer."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text, 1):
        if found := _TABLE.match(line):
            table = _plain(found[2])
            if found[1] == "[[":
                index = counts.get(table, 0)
                counts[table] = index + 1
                lines.setdefault(table, number)
                table = f"{table}[{index}]"
            lines.setdefault(table, number)
        elif found := _PAIR.match(line):
            key = _plain(found[1])
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def _plain(key: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_PART, key))
