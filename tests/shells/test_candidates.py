"""What a completion script is told: quickly, harmlessly, or not at all."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.shells.world import world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.program import Program

ENOUGH = 1.5  # seconds: 0.3 on a machine that does nothing else, and far less than a connect timeout


@pytest.fixture(scope="module")
def iii(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with world(tmp_path_factory.mktemp("home")) as program:
        yield program


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("function", ""), ["img::resize", "img::rotate", "text::upper"]),
        (("function", "img::"), ["img::resize", "img::rotate"]),
        (("function", "img::re"), ["img::resize"]),
        (("function", "engine::channels"), ["engine::channels::create"]),
        (("function", "nothing"), []),
        (("keys", "", "img::resize"), ["name=", "width="]),
        (("keys", "w", "img::resize"), ["width="]),
        (("keys", "", "img::rotate"), []),
        (("keys", "", "no::such"), []),
        (("worker", "p"), ["painter"]),
        (("context", ""), ["prod"]),
        (("saved", ""), ["backup"]),
        (("ref", "@"), ["@backup"]),
        (("ref", "b"), []),
        (("nonsense", ""), []),
        ((), []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_candidates(iii: Program, asked: tuple[str, ...], told: list[str]) -> None:
    done = iii.run("_complete", *asked)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().split("\n")[:-1] == told


def test_the_command_line_says_which_engine(iii: Program) -> None:
    url = iii.env["III_URL"]
    elsewhere = {"III_URL": "ws://127.0.0.1:9"}
    for words in (("--url", url), (f"--url={url}",)):
        done = iii.run("_complete", "function", "text", "", "--", "functions", "info", *words, env=elsewhere)
        assert done.stdout == b"text::upper\n"
    assert (
        iii.run("_complete", "function", "text", "", "--", "-n", "other", "--context", "prod").stdout == b""
    )


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9", "ws://no-such-host.invalid", "nonsense"])
def test_without_an_engine_it_is_silent(iii: Program, url: str) -> None:
    began = time.monotonic()
    done = iii.run("_complete", "function", "", env={"III_URL": url, "III_COMPLETION_TIMEOUT": ""})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert time.monotonic() - began < ENOUGH


def test_an_engine_that_does_not_answer_is_not_waited_for(iii: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        done = iii.run("_complete", "function", "", env={"III_URL": url, "III_COMPLETION_TIMEOUT": ""})
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert time.monotonic() - began < ENOUGH


def test_a_token_from_stdin_is_left_there(iii: Program) -> None:
    """The terminal is the person's: a completion that read from it would eat what is typed."""
    done = iii.run("_complete", "function", "", "", "--", "--token-file", "-", stdin=b"secret")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
