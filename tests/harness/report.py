"""Figures a test wants people to see, whether it passes or not: printed at the end of the run."""

_lines: list[str] = []


def measured(line: str) -> None:
    """Add a line to the section "measured" of the summary."""
    _lines.append(line)


def add(lines_of_another: list[str]) -> None:
    """Take over what another process of the same run measured."""
    _lines.extend(lines_of_another)


def lines() -> list[str]:
    return list(_lines)
