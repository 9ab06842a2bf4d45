"""What a completion script is told: quickly, harmlessly, or not at all."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

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


def told(iii: Program, word: str, words: str, **settings: Any) -> list[str]:
    """The candidates for `word` behind `words`. It is never an error."""
    done = iii.run("_complete", "line", word, "--", *words.split(), **settings)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().split("\n")[1:-1]


@pytest.mark.parametrize(
    ("words", "word", "candidates"),
    [
        ("trigger", "", "img::resize img::rotate text::upper"),
        ("trigger", "img::", "img::resize img::rotate"),
        ("t", "img::re", "img::resize"),
        ("trigger", "engine::channels", "engine::channels::create"),
        ("trigger", "nothing", ""),
        ("trigger img::resize", "", "name= width="),
        ("trigger img::resize", "w", "width="),
        ("trigger img::rotate", "", ""),
        ("trigger no::such", "", ""),
        ("workers info", "p", "painter"),
        ("context use", "", "prod"),
        ("ref rm", "", "backup"),
        ("channel read", "@", "@backup"),
        ("channel read", "b", ""),
        ("pipe", "'-n", ""),
        ("pipe", "-n default img::re", "img::resize"),
        ("nonsense", "", ""),
    ],
)
def test_candidates(iii: Program, words: str, word: str, candidates: str) -> None:
    assert told(iii, word, words) == candidates.split()


def test_a_question_that_no_script_asks_is_not_answered(iii: Program) -> None:
    for asked in ((), ("line",), ("function", "img")):
        done = iii.run("_complete", *asked)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_command_line_says_which_engine(iii: Program) -> None:
    url = iii.env["III_URL"]
    elsewhere = {"III_URL": "ws://127.0.0.1:9"}
    for words in (f"functions info --url {url}", f"functions --url={url} info"):
        assert told(iii, "text", words, env=elsewhere) == ["text::upper"]
    assert told(iii, "text", "-n other --context prod functions info") == []


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9", "ws://no-such-host.invalid", "nonsense"])
def test_without_an_engine_it_is_silent(iii: Program, url: str) -> None:
    began = time.monotonic()
    assert told(iii, "", "trigger", env={"III_URL": url, "III_COMPLETION_TIMEOUT": ""}) == []
    assert time.monotonic() - began < ENOUGH


def test_an_engine_that_does_not_answer_is_not_waited_for(iii: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        assert told(iii, "", "trigger", env={"III_URL": url, "III_COMPLETION_TIMEOUT": ""}) == []
        assert time.monotonic() - began < ENOUGH


def test_a_token_from_stdin_is_left_there(iii: Program) -> None:
    """The terminal is the person's: a completion that read from it would eat what is typed."""
    assert told(iii, "", "--token-file - trigger", stdin=b"secret") == []
