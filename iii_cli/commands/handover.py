"""The words of the engine's own `iii`, which has the same name as ours.

`iii compose up` must do what the engine's documentation says, whichever of the two comes first on PATH.
Light: asked on every start.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from iii_cli.errors import CommandNotFound, CommandNotRunnable, Failure, reason_of

__all__ = ("WORDS", "hand_over", "is_ours", "programs_on_path")

WORDS = ("cloud", "compose", "console", "project", "update", "worker")
OPTIONS = ("-c", "--config")  # of the bare command there, which starts the engine
PASSED = "III_PASSED"
PASSES_MAX = 5  # a wrapper script that calls us again must not go round for ever
HEAD_BYTES = 4096  # an installed script of ours is shorter; a binary says nothing of us so early


def hand_over(arguments: list[str]) -> None:
    """Become the engine's `iii` where the command line is for it; return where it is for us.

    Same arguments, same exit status. Raises CommandNotFound, CommandNotRunnable.
    """
    word = arguments[0] if arguments else ""
    if word not in WORDS and word not in OPTIONS and not word.startswith("--config="):
        return
    engine = next((path for path in programs_on_path() if not is_ours(path)), None)
    if engine is None:
        raise CommandNotFound(
            f"`iii {word}` belongs to the engine's own iii, and there is none on PATH",
            hint="https://github.com/iii-hq/iii says how to get it",
        )
    _become(engine, arguments)


def programs_on_path() -> list[str]:
    """Every program called iii, in the order of PATH, each once."""
    found: dict[str, str] = {}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(folder or os.curdir, "iii.exe" if sys.platform == "win32" else "iii")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def is_ours(path: str) -> bool:
    """Is it a start script of this program, of whichever installation?"""
    try:
        with open(path, "rb") as file:
            return b"iii_cli" in file.read(HEAD_BYTES)
    except OSError:
        return False


def _become(program: str, arguments: list[str]) -> NoReturn:
    passes = os.environ.get(PASSED, "0")
    count = int(passes) if passes.isdecimal() else 0
    if count >= PASSES_MAX:
        raise Failure(
            f"{program} comes back to us", hint="call the engine's own iii by its path, and ours as iii-cli"
        )
    environ = os.environ | {PASSED: str(count + 1)}
    if sys.platform == "win32":  # no exec there
        import subprocess

        raise SystemExit(subprocess.run([program, *arguments], env=environ).returncode)
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a successor would inherit that
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execve(program, ["iii", *arguments], environ)
    except OSError as error:
        raise CommandNotRunnable(f"cannot run {program}: {reason_of(error)}") from None
