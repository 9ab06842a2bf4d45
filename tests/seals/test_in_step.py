"""The document, `iii` and the three modules are of one version and know the same words."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import iii_seal
import pytest

from iii_cli.protocol import seal
from tests.seals.conftest import NODE_PACKAGES, ROOT

SEALS = ROOT / "seals"
DOCUMENT = (ROOT / "docs" / "seal.md").read_text()
SOURCES = {
    "python": (SEALS / "python" / "iii_seal.py").read_text(),
    "node": (SEALS / "node" / "iii-seal.js").read_text(),
    "rust": (SEALS / "rust" / "src" / "lib.rs").read_text(),
}


def toml(*path: str) -> Any:
    return tomllib.loads(ROOT.joinpath(*path).read_text())


def test_versions() -> None:
    versions = {
        toml("pyproject.toml")["project"]["version"],
        toml("seals", "python", "pyproject.toml")["project"]["version"],
        json.loads((SEALS / "node" / "package.json").read_text())["version"],
        toml("seals", "rust", "Cargo.toml")["package"]["version"],
        iii_seal.__version__,
        re.findall(r"version = '(.+)'", SOURCES["node"])[0],
    }
    assert len(versions) == 1


@pytest.mark.parametrize("language", SOURCES)
def test_modes_and_digests(language: str) -> None:
    said = SOURCES[language]
    for word in (*seal.Mode, *seal.DIGESTS):
        assert re.search(rf"""["'`\s]{word}["'`:]""", said), word
        assert f"`{word}`" in DOCUMENT, word
    for name in ("Truncated", "Aborted", "Unsealed", "Damaged", "Empty"):
        assert name in said
        assert f"`Stream{name}`" in DOCUMENT


@pytest.mark.parametrize("language", SOURCES)
def test_times(language: str) -> None:
    """In seconds; the module of Node counts milliseconds."""
    said = SOURCES[language].replace("_", "").replace(",000", "000")
    for name, seconds in (("BEATAFTER", seal.BEAT_AFTER), ("PEERTIMEOUT", seal.PEER_TIMEOUT)):
        [value] = re.findall(rf"^(?:const )?{name}\b[^=\n]*= \D*(\d+)", said, re.M)
        assert int(value) == seconds * (1000 if language == "node" else 1)
    assert re.search(r"for 15 seconds sends a beat", DOCUMENT)
    assert re.search(r"after 60 seconds without a byte", DOCUMENT)


def test_the_document_names_the_sdks_that_are_tried() -> None:
    tried = dict(re.findall(r"^\| (Python|Node|Rust) \|[^|]*\| (\S+) \|", DOCUMENT, re.M))
    iii = pytest.importorskip("importlib.metadata").version("iii-sdk")
    rust = toml("tests", "seals", "workers", "rust", "Cargo.toml")["dependencies"]["iii-sdk"]["version"]
    assert f"iii-sdk@{tried['Node']}" in NODE_PACKAGES
    assert (tried["Python"].startswith("0."), iii.startswith("0.")) == (True, True)
    assert tried["Rust"].startswith(rust)
