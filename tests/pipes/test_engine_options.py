"""`iii engine run` and `exec` refuse what only a client has a use for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci, in_ci_but
from tests.support.program import Program, refused

if TYPE_CHECKING:
    from pathlib import Path

OF_CLIENTS = {
    "--url": ("ws://localhost:1", "--host"),
    "--context": ("prod", "--host"),
    "--namespace": ("n", "functions"),
    "--connect-timeout": ("1s", "connects to nothing"),
    "--wait-engine": ("1s", "connects to nothing"),
    "--cacert": ("x", "--tls-cert"),
    "--cert": ("x", "--tls-cert"),
    "--key": ("x", "--tls-key"),
    "--server-name": ("x", "--tls-cert"),
    "--header": ("a=b", "--token-file"),
}


@pytest.mark.parametrize("option", in_ci_but(["--cert", "--namespace"], OF_CLIENTS))
def test_an_option_of_clients_is_refused(tmp_path: Path, option: str) -> None:
    """Before, it was taken and meant nothing: with --cert the engine spoke plain text."""
    value, instead = OF_CLIENTS[option]
    done = Program(tmp_path).run("engine", "run", "--port", "0", option, value)
    refused(done, 2, option, "iii engine run", instead)


@pytest.mark.parametrize("words", ["-n x engine run", *in_ci("--cert=x engine run --port=0")])
def test_it_is_refused_before_the_command_too(tmp_path: Path, words: str) -> None:
    refused(Program(tmp_path).run(*words.split()), 2, "iii engine run")


def test_an_engine_beside_a_command_refuses_them_too(tmp_path: Path) -> None:
    done = Program(tmp_path).run("--url", "ws://localhost:1", "engine", "exec", "--", "true")
    refused(done, 2, "--url", "iii engine exec", "III_URL")
