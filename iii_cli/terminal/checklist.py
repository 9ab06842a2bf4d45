"""A list of findings: for a person wrapped, with what to do beneath each; for a program a line each."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from iii_cli.terminal.report import GAP, emit, stdout_columns, stdout_is_terminal
from iii_cli.terminal.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("Finding", "print_checklist")

NARROWEST = 20  # columns for the text, however narrow the terminal is


class Finding(NamedTuple):
    """One thing that was looked at. The texts may be a stranger's: they are cleaned where they are
    printed.
    """

    check: str
    level: str  # ok, note, warning, problem
    found: str
    advice: str | None = None  # what to do; None where it is fine


def print_checklist(findings: Sequence[Finding]) -> None:
    """Print all; nothing is cut. Piped: level, check, what was found and what to do, between tabs.

    Raises as `emit`.
    """
    if stdout_is_terminal():
        lines = _wrapped(findings, stdout_columns())
    else:
        lines = ("\t".join(clean(cell) for cell in _cells(finding)) for finding in findings)
    emit("".join(f"{line}\n" for line in lines))


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    return (finding.level, finding.check, finding.found, finding.advice or "")


def _wrapped(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    level_width = max((len(finding.level) for finding in findings), default=0)
    check_width = max((len(finding.check) for finding in findings), default=0)
    margin = " " * (level_width + check_width + 2 * len(GAP))
    width = max(columns - len(margin), NARROWEST)
    for finding in findings:
        head = f"{finding.level:{level_width}}{GAP}{finding.check:{check_width}}{GAP}"
        for at, line in enumerate(_fold(finding.found, width) or [""]):
            yield (margin if at else head) + line
        if finding.advice:
            for at, line in enumerate(_fold(finding.advice, width - len("-> "))):
                yield margin + ("   " if at else "-> ") + line


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False)
