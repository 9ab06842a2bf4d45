"""One engine for all pipe tests; a home for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def engine_url() -> Iterator[str]:
    with running_engine() as (url, _):
        yield url


@pytest.fixture
def iii(engine_url: str, tmp_path: Path) -> Program:
    return Program(tmp_path, engine_url)
