"""Where the user's shell would find our completion script, and whether it is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("InstalledCompletion", "installed_completion")


# For each shell: the file below a `share` folder, other places below HOME, and the files that a user's own
# `iii completion` line stands in.
_SHELLS = {
    "bash": (
        "bash-completion/completions/iii",
        (".bash_completion.d/iii", ".bash_completion.d/iii.bash"),
        (".bashrc", ".bash_profile", ".profile", ".bash_completion"),
    ),
    "zsh": (
        "zsh/site-functions/_iii",
        (".zfunc/_iii", ".zsh/completions/_iii", ".zsh/functions/_iii", ".oh-my-zsh/completions/_iii"),
        (".zshrc", ".zprofile"),
    ),
    "fish": (
        "fish/vendor_completions.d/iii.fish",
        (".config/fish/completions/iii.fish",),
        (".config/fish/config.fish",),
    ),
}
RC_BYTES_MAX = 1 << 20


class InstalledCompletion(Struct, frozen=True):
    """`shell` None: not told, or one that we have no script for. `path` None: not found."""

    shell: str | None = None
    path: str | None = None


def installed_completion(environ: Mapping[str, str], prefix: str) -> InstalledCompletion:
    """Look in the usual places of the shell that SHELL names. `prefix` is where we are installed.

    Raises nothing.
    """
    shell = os.path.basename(environ.get("SHELL", ""))
    if shell not in _SHELLS:
        return InstalledCompletion()
    for path in _files(shell, environ, prefix):
        if os.path.isfile(path):
            return InstalledCompletion(shell, path)
    home = environ.get("HOME", "")
    for name in _SHELLS[shell][2]:
        path = os.path.join(home, name)
        if home and _mentions_us(path):
            return InstalledCompletion(shell, path)
    return InstalledCompletion(shell)


def _files(shell: str, environ: Mapping[str, str], prefix: str) -> Iterator[str]:
    below_share, below_home, _ = _SHELLS[shell]
    home = environ.get("HOME", "")
    if home:
        yield from (os.path.join(home, name) for name in below_home)
    for share in _shares(environ, home, prefix):
        yield os.path.join(share, below_share)
    if shell == "zsh":  # where FPATH is exported
        yield from (os.path.join(folder, "_iii") for folder in environ.get("FPATH", "").split(":") if folder)


def _shares(environ: Mapping[str, str], home: str, prefix: str) -> Iterator[str]:
    """The `share` folders that shells look into. Not that of a virtual environment, which no shell knows."""
    if environ.get("XDG_DATA_HOME"):
        yield environ["XDG_DATA_HOME"]
    elif home:
        yield os.path.join(home, ".local", "share")
    data_dirs = environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    yield from (folder for folder in data_dirs.split(":") if folder)
    if not os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
        yield os.path.join(prefix, "share")


def _mentions_us(path: str) -> bool:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            text = file.read(RC_BYTES_MAX)
    except OSError:
        return False
    return b"iii completion" in text or b"iii-cli completion" in text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # for what may be a FIFO
