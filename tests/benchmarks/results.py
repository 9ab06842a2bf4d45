"""What was measured: tables, the aims that they are held against, and the page that shows them.

The numbers are kept in `results.json`, so that a part can be measured again without the others. RESULTS.md is
written from them, but for what stands below its last marker: that is by hand, and stays.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ("TIMES", "Aim", "Result", "at_least", "at_most", "keep", "median", "page")

TIMES = "\u00d7"
MARKER = "<!-- Below this line the page is written by hand. -->"


class Aim(NamedTuple):
    """One ratio and what it should be. `got` is None where the peer is not installed."""

    work: str
    aim: str
    unit: str
    got: float | None
    reached: bool


class Result(NamedTuple):
    """One part of the measurements."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
    aims: list[Aim]


def at_least(work: str, aim: float, got: float | None) -> Aim:
    """A ratio that should be large."""
    return Aim(work, f"at least {aim:g}{TIMES}", TIMES, got, got is not None and round(got, 2) >= aim)


def at_most(work: str, aim: float, got: float | None, unit: str = TIMES) -> Aim:
    """A ratio, or an amount in `unit`, that should be small."""
    return Aim(work, f"at most {aim:g}{unit}", unit, got, got is not None and round(got, 2) <= aim)


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def keep(file: Path, name: str, result: Result, context: dict[str, str]) -> dict[str, object]:
    """Put one part into the JSON `file`, beside the others. Returns all of it."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept[name] = {"context": context, **result._asdict(), "aims": [aim._asdict() for aim in result.aims]}
    file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return kept


def page(kept: dict[str, dict], names: Sequence[str], old: str) -> str:  # type: ignore[type-arg]
    """RESULTS.md: ratios first, then the tables in the order of `names`, then what was written by hand."""
    parts = [kept[name] for name in names if name in kept]
    lines = ["# Results", "", *_contexts(parts), "", "## Ratios", ""]
    aims = [(aim, part) for part in parts for aim in part["aims"]]
    rows = [[aim["work"], aim["aim"], _got(aim), _verdict(aim)] for aim, _ in aims]
    lines += [*_table(["work", "aim", "got", ""], rows), ""]
    for part in parts:
        lines += [f"## {part['title']}", "", part["note"], "", *_table(part["columns"], part["rows"]), ""]
    _, _, by_hand = old.partition(MARKER)
    return "\n".join([*lines, MARKER]) + (by_hand or "\n")


def _contexts(parts: list[dict]) -> list[str]:  # type: ignore[type-arg]
    """What all parts share, each line once."""
    seen: dict[str, list[str]] = {}
    for part in parts:
        for name, value in part["context"].items():
            if value not in seen.setdefault(name, []):
                seen[name].append(value)
    return [f"* {name}: {'; '.join(values)}" for name, values in seen.items()]


def _got(aim: dict) -> str:  # type: ignore[type-arg]
    if aim["got"] is None:
        return ""
    return f"{aim['got']:.2f}{aim['unit']}"


def _verdict(aim: dict) -> str:  # type: ignore[type-arg]
    if aim["got"] is None:
        return "not measured"
    return "reached" if aim["reached"] else "**missed**"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    marks = ["---" if index == 0 else "---:" for index in range(len(columns))]
    return [f"| {' | '.join(cells)} |" for cells in (columns, marks, *rows)]
