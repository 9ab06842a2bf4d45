"""The front door stays light: a budget by modules, not milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Each of these costs as much as a start of Python, or nearly.
HEAVY = {
    "anyio",
    "asyncio",
    "dataclasses",
    "encodings.idna",
    "hashlib",
    "iii",
    "importlib.metadata",
    "platformdirs",
    "rich",
    "ssl",
    "trio",
    "uvloop",
    "websockets",
    "xxhash",
}
TYPER_AND_PARSERS = {"typer", "json", "inspect", "msgspec", "socket"}

REPORT = """
import sys
sys.argv[0] = "iii"
from iii_cli.cli import status_of
status_of(sys.argv[1:])
sys.stderr.write("\\n" + " ".join(sys.modules))
"""
NOBODY = ("--url", "ws://127.0.0.1:9")  # discard: nothing listens there


def loaded_by(*arguments: str, **environ: str) -> set[str]:
    """The modules that one command line loads."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments],
        env=environment | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_the_version_is_told_without_a_parser() -> None:
    assert loaded_by("--version") & (HEAVY | TYPER_AND_PARSERS) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("channel", "--help"),
        ("channel", "frobnicate"),
        ("channel", "create", "--frobnicate"),
        ("channel", "create", *NOBODY),
        ("trigger", "a::b", "x=1", *NOBODY),
        ("help", "exit-codes"),
    ],
    ids=" ".join,
)
def test_help_errors_and_one_call_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments) & HEAVY == set()


def test_the_help_of_the_program_needs_no_records() -> None:
    assert "msgspec" not in loaded_by("--help")


@pytest.mark.parametrize(
    ("before", "word"), [("", "ch"), ("channel", "cr"), ("channel write", "--di"), ("context frob", "x")]
)
def test_a_tab_loads_neither_a_parser_nor_records(before: str, word: str) -> None:
    """Where the command tree knows the answer. What is asked of the engine goes the way of every call."""
    loaded = loaded_by("_complete", "line", word, "--", *before.split())
    assert loaded & (HEAVY | {"typer", "msgspec", "socket"}) == set()


def test_a_command_loads_no_other() -> None:
    loaded = {
        name for name in loaded_by("channel", "create", *NOBODY) if name.startswith("iii_cli.commands.")
    }
    assert loaded <= {f"iii_cli.commands.{name}" for name in ("channel", "common", "handover", "root")}
