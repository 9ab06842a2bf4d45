"""`--timeout` is the whole of it, from the name of the engine on, and Ctrl-C ends us wherever we wait."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEAD = "ws://dead.test:9"
# Like the real call, nothing brings its thread back, no signal either.
NO_ANSWER = '''
"""Python loads this first: a name server that never answers, for one name."""
import os, signal, socket, time
_getaddrinfo = socket.getaddrinfo
def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    if host in ("dead.test", b"dead.test") and not flags & socket.AI_NUMERICHOST:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        open(os.environ["ASKED"], "w").close()
        time.sleep(3600)
    return _getaddrinfo(host, port, family, type, proto, flags)
socket.getaddrinfo = getaddrinfo
'''
COMMANDS = {
    "read": "channel read iii:read:a:b",
    "write": "channel write iii:write:a:b",
    "receipt": "channel write iii:write:a:b --receipt",
    "tee": "channel tee iii:write:a:b",
    "trigger": "trigger f",
    "void": "trigger f --void",
    "streams": "trigger f --in k=/dev/null --out /dev/null",
    "wait": "functions wait f",
}
CREATE = {"create": "channel create", "each": "trigger f --each"}


@pytest.fixture
def nameless(tmp_path: Path) -> Program:
    """`iii` without a name server."""
    (tmp_path / "sitecustomize.py").write_text(NO_ANSWER)
    iii = Program(tmp_path, DEAD)
    iii.env |= {"PYTHONPATH": str(tmp_path), "ASKED": str(tmp_path / "asked")}
    iii.limit = 6.0  # less than --connect-timeout is by itself
    return iii


@contextmanager
def silent_engine() -> Iterator[str]:
    """Takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"


def chosen(*unmarked: str, of: dict[str, str] = COMMANDS) -> list[Any]:
    """These in every run, the others in CI."""
    quick = [pytest.param(of[name], id=name) for name in unmarked]
    rest = [name for name in of if name not in unmarked]
    return quick + [pytest.param(of[name], id=name, marks=pytest.mark.ci) for name in rest]


def ends(iii: Program, words: str, status: int) -> None:
    """With that exit code, one line, and in time."""
    done = iii.run(*words.split(), stdin=b"{}\n")
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (status, b"", 1), said


@pytest.mark.parametrize("words", chosen("receipt"))
def test_an_upgrade_that_is_not_answered(tmp_path: Path, words: str) -> None:
    with silent_engine() as url:
        iii = Program(tmp_path, url)
        iii.limit = 6.0
        ends(iii, f"{words} --timeout 300ms", 124)


@pytest.mark.ci
@pytest.mark.parametrize("words", chosen())
def test_an_engine_that_is_waited_for(tmp_path: Path, words: str) -> None:
    iii = Program(tmp_path, "ws://127.0.0.1:9")
    iii.limit = 6.0
    ends(iii, f"{words} --wait-engine 1m --timeout 300ms", 124)


@pytest.mark.parametrize("words", chosen("trigger"))
def test_a_name_server_that_does_not_answer(nameless: Program, words: str) -> None:
    ends(nameless, f"{words} --timeout 300ms", 124)


@pytest.mark.ci
@pytest.mark.parametrize("words", chosen(of=COMMANDS | CREATE))
def test_a_connect_timeout_holds_for_it_too(nameless: Program, words: str) -> None:
    if words == COMMANDS["wait"]:
        words += " --timeout 1s"  # it tries again until then, and that is its result
    ends(nameless, f"{words} --connect-timeout 300ms", 124 if "wait" in words else 3)


@pytest.mark.parametrize("words", chosen("create", of=COMMANDS | CREATE))
def test_ctrl_c_does_not_wait_for_it(nameless: Program, words: str) -> None:
    os.mkfifo(nameless.env["ASKED"])
    with nameless.start(*words.split(), stdin=None) as running:
        with open(nameless.env["ASKED"], "rb"):
            running.send_signal(signal.SIGINT)
        assert running.wait(3) == 130


@pytest.mark.ci
def test_the_usual_limit_of_a_call_does_not_count_the_wait_for_an_engine(tmp_path: Path) -> None:
    iii = Program(tmp_path, "ws://127.0.0.1:9")
    iii.env["III_TEST_LIMITS"] = "call=0.1"
    ends(iii, "trigger f --wait-engine 500ms", 3)


@pytest.mark.ci
def test_a_name_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    name = "\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 70
    done = Program(tmp_path, f"ws://{name}:9").run("channel", "create")
    assert (done.returncode, b"not a host name" in done.stderr) == (3, True)
