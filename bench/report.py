"""What a run of the suite leaves behind: JSON, a Markdown table with captions, plots."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
from rows import HEADINGS, Row, cells


@dataclass
class Part:
    """One part as it was measured; `ended` is "" or why it has not all its rows."""

    title: str
    about: str
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    ended: str = ""


def write(folder: Path, name: str, about: dict[str, str], parts: list[Part]) -> list[Path]:
    """Write everything under `name`; the files, in the order to read them."""
    folder.mkdir(parents=True, exist_ok=True)
    json, page = folder / f"{name}.json", folder / f"{name}.md"
    whole = {"about": about, "parts": [{**asdict(part), "rows": [_row(row) for row in part.rows]} for part in parts]}
    json.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
    images = []
    with contextlib.suppress(ImportError):
        from plots import draw

        images = draw(folder, name, about, [row for part in parts for row in part.rows])
    page.write_text(markdown(about, parts, [image.name for image in images]))
    return [page, json, *images]


def _row(row: Row) -> dict[str, object]:
    found = asdict(row)
    del found["plot"]
    return {**found, "verdict": row.verdict}


def summary(parts: Iterable[Part]) -> list[str]:
    """How many gates hold, and by name those that do not."""
    gated = [row for part in parts for row in part.rows if row.gate is not None]
    verdicts = [row.verdict for row in gated]
    missed = [row for row in gated if row.verdict in ("missed", "not measured")]
    lines = [
        f"{len(gated)} figures have a gate: {verdicts.count('aim met')} meet their aim, "
        f"{verdicts.count('gate met')} their gate, {verdicts.count('missed')} miss it."
    ]
    for row in missed:
        name, value, _spread, _floor, gate, *_rest = cells(row)
        lines.append(f"{'Missed' if row.verdict == 'missed' else 'Not measured'}: {name}, {value}, gate {gate}.")
    return lines


def markdown(about: dict[str, str], parts: list[Part], images: list[str]) -> str:
    under = caption(about)
    lines = [f"# fastsip measured, {about['date']}", "", f"`{about['command']}`", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key not in ("date", "command")]
    lines += ["", "How to read this, and why it might mislead: [bench/README.md](../README.md).", ""]
    lines += [line for entry in summary(parts) for line in (entry, "")]
    for part in parts:
        lines += [f"## {part.title}", "", f"{part.about[0].upper()}{part.about[1:]}. {under}.", ""]
        if part.rows:
            lines += ["| " + " | ".join(HEADINGS) + " |", "|---|--:|--:|--:|--:|--:|---|---|"]
            lines += ["| " + " | ".join(_bold(row)) + " |" for row in part.rows]
            lines.append("")
        if part.ended:
            lines += [f"*{part.ended}*", ""]
    lines += [line for image in images for line in (f"![]({image})", "")]
    return "\n".join(lines)


def _bold(row: Row) -> Iterable[str]:
    found = [cell.replace("|", "\\|") for cell in cells(row)]
    if row.verdict == "missed":
        found[6] = f"**{found[6]}**"
    return found


def caption(about: dict[str, str]) -> str:
    """Machine, kernel, versions, date and command in one line."""
    versions = ", ".join(f"{name} {about[name]}" for name in ("fastsip", "kamailio", "sipp") if about.get(name))
    machine = f"{about['cpu']}, {about['kernel']}, Python {about['python']}"
    return f"{machine}, {versions}; {about['date']}, `{about['command']}`"

