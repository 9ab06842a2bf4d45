"""Is there a COMMAND to run? Asked before an end of a channel is opened (design.md section 3)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from iii_cli.errors import CommandNotFound, CommandNotRunnable, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("find_command", "shell_command")


def shell_command(command: str) -> list[str]:
    """What runs COMMAND of `cmd:COMMAND`: `sh -c`. Raises UsageProblem where there is none."""
    if not command.strip():
        raise UsageProblem("cmd: needs a COMMAND")
    return ["/bin/sh", "-c", command]


def find_command(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """The file that `argv` runs, looked up on PATH as a shell does.

    Raises UsageProblem (no command), CommandNotFound (127) and CommandNotRunnable (126).
    """
    if not argv or not argv[0]:
        raise UsageProblem("-- needs a COMMAND")
    word = argv[0]
    if any("\0" in part for part in argv):
        raise UsageProblem("a COMMAND cannot hold a NUL character")
    if os.sep in word:
        return _checked(word)
    refused: CommandNotRunnable | None = None
    for folder in os.get_exec_path(env):
        try:
            return _checked(os.path.join(folder or os.curdir, word))
        except CommandNotRunnable as error:
            refused = refused or error
        except CommandNotFound:
            continue
    raise refused or CommandNotFound(f"no command {word} on PATH")


def _checked(path: str) -> str:
    if os.path.isdir(path):
        raise CommandNotRunnable(f"{path} is a folder, not a command")
    if not os.path.exists(path):
        raise CommandNotFound(f"no command {path}")
    if not os.access(path, os.X_OK):
        raise CommandNotRunnable(f"{path} is not executable for you")
    return path
