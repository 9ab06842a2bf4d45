"""What the code cites is in the repository: `(docs: seal, "Receipts")` is a heading of docs/seal.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "iii_cli").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
CITATION = re.compile(r'\(docs:\s+(\w+),\s+"([^"]+)"')
LINK = re.compile(r"\]\(([^)#:]+)\)")
DOCS = sorted((ROOT / "docs").glob("*.md"))


def headings(doc: Path) -> set[str]:
    return {line.lstrip("#").strip() for line in doc.read_text().splitlines() if line.startswith("#")}


def citations() -> list[tuple[str, str, str]]:
    found = []
    for path in FILES:
        if path != Path(__file__):
            text = re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text())  # one may go over two lines
            found += [(path.name, doc, heading) for doc, heading in CITATION.findall(text)]
    return found


def test_every_citation_is_a_heading() -> None:
    known = {doc.stem: headings(doc) for doc in DOCS}
    assert [each for each in citations() if each[2] not in known.get(each[1], set())] == []


@pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.name)
def test_every_link_has_an_end(doc: Path) -> None:
    assert [link for link in LINK.findall(doc.read_text()) if not (doc.parent / link).exists()] == []


def test_nothing_cites_what_is_not_here() -> None:
    old = re.compile(r"(?<!docs/)\b(?:protocol|design|house|words)\.md\b")
    assert [
        f"{path.name}:{number}"
        for path in FILES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if old.search(line)
    ] == []
