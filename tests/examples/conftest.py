"""One engine with a worker for all examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.examples.world import an_engine_with_a_worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with an_engine_with_a_worker() as found:
        yield found
