"""Tokens and headers: read from where they are kept, never shown."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.wire.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("read_headers", "read_secret_file", "read_secret_stdin", "read_token_file", "token_of")

SECRET_FILE_BYTES_MAX = 64 << 10  # engines refuse longer headers, and a wrong path must not eat memory
_NAME_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")  # RFC 9110 5.6.2
# Ours to set (RFC 6455 4.1); a second one would break the upgrade or smuggle a body.
_OWN_HEADERS = frozenset({"host", "upgrade", "connection", "content-length", "transfer-encoding"})


def token_of(text: str, source: str) -> Secret:
    """The token in `text`, blanks around it ignored. Raises UsageProblem if no header can carry it."""
    token = text.strip()
    if not token:
        raise UsageProblem(f"{source} holds no token")
    if not all("!" <= character <= "~" for character in token):
        raise UsageProblem(
            f"{source} holds more than a token: blanks, or characters that a header cannot carry"
        )
    return Secret(token)


def read_token_file(path: str, source: str, notices: list[str]) -> Secret:
    """The token in a file, or on stdin for `-`. Raises UsageProblem and LocalProblem."""
    if path == "-":
        if source != "--token-file":
            raise UsageProblem(f"{source} names a file", hint="only --token-file reads stdin")
        return token_of(read_secret_stdin(), "stdin")
    return token_of(read_secret_file(path, source, notices), f"{source} {path!r}")


def read_secret_file(path: str, source: str, notices: list[str]) -> str:
    """The text of a file that others wrote for us: secret mounts are taken as they are, FIFOs too.

    A file that everyone may write adds a notice. Raises LocalProblem.
    """
    try:
        with open(path, "rb") as file:
            everyone_writes = os.fstat(file.fileno()).st_mode & stat.S_IWOTH
            data = file.read(SECRET_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        if isinstance(error, FileNotFoundError) and not _is_somewhere(path):  # perhaps the secret itself
            raise LocalProblem(
                f"cannot read {source.removesuffix(' in')}: there is no file of that name"
            ) from None
        raise LocalProblem(f"cannot read {source} {path!r}: {reason}") from None
    if everyone_writes:
        notices.append(f"{path!r} can be changed by everyone; chmod o-w it")
    if len(data) > SECRET_FILE_BYTES_MAX:
        raise LocalProblem(f"{source} {path!r} is too long to hold a secret")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise LocalProblem(f"{source} {path!r} is not text") from None


def _is_somewhere(path: str) -> bool:
    """Does it name a place, though nothing may be there?"""
    folder = os.path.dirname(path)
    return os.path.isabs(path) or (folder != "" and os.path.isdir(folder))


def read_headers(typed: Iterable[str], notices: list[str]) -> tuple[tuple[str, Secret], ...]:
    """`--header NAME=VALUE`, `NAME: VALUE`, or `@FILE` with one of these a line. Names come in lower case.

    Raises UsageProblem, which never repeats a value, and LocalProblem.
    """
    lines: list[str] = []
    for text in typed:
        if text.startswith("@"):
            lines += [
                line for line in read_secret_file(text[1:], "--header", notices).splitlines() if line.strip()
            ]
        else:
            lines.append(text)
    return tuple(_header(line) for line in lines)


def _header(line: str) -> tuple[str, Secret]:
    ends = [at for at in (line.find(":"), line.find("=")) if at > 0]
    name = line[: min(ends)].strip().lower() if ends else ""
    if not name or not _NAME_CHARACTERS.issuperset(name):
        raise UsageProblem(
            "a header is NAME=VALUE", hint="or @FILE with one a line, which keeps it out of `ps`"
        )
    if name in _OWN_HEADERS or name.startswith("sec-websocket-"):
        raise UsageProblem(f"the header {name} belongs to the connection and cannot be set")
    value = line[min(ends) + 1 :].strip()
    if not all(" " <= character <= "~" or character == "\t" for character in value):
        raise UsageProblem(f"the value of the header {name} holds characters that a header cannot carry")
    return name, Secret(value)


def read_secret_stdin() -> str:
    """What comes on stdin, to its end. Raises LocalProblem."""
    if sys.stdin is None:
        raise LocalProblem("cannot read a secret from stdin: it is closed")
    try:
        return sys.stdin.read(SECRET_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is closed, or not text"
        raise LocalProblem(f"cannot read a secret from stdin: {reason}") from None
