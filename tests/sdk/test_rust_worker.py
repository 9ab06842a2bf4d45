"""The same conversations with a worker of the crates.io SDK. Building it takes minutes, so by hand only.

    pytest -m soak tests/sdk/test_rust_worker.py

Set III_RUST_WORKER to a binary that was built before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sdk.conftest import HERE, run_worker
from tests.sdk.test_sdk_workers import (  # noqa: F401 - they run here once more, with another worker
    test_200_mib_from_one_language_to_the_other,
    test_a_call_and_its_answer,
    test_a_filter_over_two_channels,
    test_a_worker_whose_name_is_taken_is_refused_and_the_first_goes_on,
    test_progress_texts_come_in_order_with_the_bytes,
    test_refs_deep_in_dicts_and_lists,
    test_texts_reach_the_message_callback,
    test_two_languages_in_one_pipeline,
    test_workers_come_back_after_the_engine_was_restarted,
    wait_for_workers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sdk.conftest import EngineProcess
    from tests.support.stage import Stage

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def rust_worker(request: pytest.FixtureRequest) -> str:
    """The binary, built in pytest's cache."""
    if "III_RUST_WORKER" in os.environ:
        return os.environ["III_RUST_WORKER"]
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("needs cargo")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("rust-worker")
    manifest = HERE / "workers" / "rust" / "Cargo.toml"
    subprocess.run(
        [cargo, "build", "--release", "--manifest-path", str(manifest), "--target-dir", str(folder)],
        check=True,
    )
    return str(Path(folder) / "release" / "worker")


@pytest.fixture(scope="module")
def rust(engine: EngineProcess, rust_worker: str) -> Iterator[None]:
    """The worker `rust`."""
    yield from run_worker(rust_worker, engine.url, "rust")


@pytest.fixture
def language(rust: None) -> str:
    """In place of the two of the other file."""
    return "rust"


@pytest.fixture(params=[("rust", "python"), ("python", "rust")], ids=" to ".join)
def both(request: pytest.FixtureRequest, python: None, rust: None) -> tuple[str, str]:
    """Two workers that run."""
    pair: tuple[str, str] = request.param
    return pair


async def test_an_error_of_the_handler(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    code, message = await caller.error(f"{language}::fail", {"why": "bad header"})
    assert (code, message) == ("invocation_failed", "handler error: bad header")
