"""Text messages beside the bytes: to stderr, to a FILE, or nowhere (design.md section 3, "Modes")."""

from __future__ import annotations

import os
import stat
from typing import IO, TYPE_CHECKING

from iii_cli.errors import cannot_write
from iii_cli.io.console import talk
from iii_cli.protocol.records import message_notice

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ("NO_FILES", "MessageDoor")

NO_FILES = ("stderr", "drop")  # what `--messages` may say in place of a FILE


class MessageDoor:
    """`--messages stderr|drop|FILE`. FILE is emptied by the first message, or a good end.

    Raises LocalProblem when FILE cannot be opened or written.
    """

    def __init__(self, where: str | None, *, quiet: bool) -> None:
        self._where = where or "stderr"
        self._quiet = quiet and where is None
        self._file: IO[bytes] | None = None
        self._emptied = False
        if self._where not in NO_FILES:
            try:
                # Not emptied yet: what is there is lost only to a stream.
                fd = os.open(self._where, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
                self._file = open(fd, "wb")  # noqa: SIM115 - closed by __exit__
            except OSError as error:
                raise cannot_write(self._where, error) from None

    def __enter__(self) -> MessageDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                if kind is None:
                    self._empty(self._file)
                self._file.close()
            except OSError as problem:
                raise cannot_write(self._where, problem) from None

    def show(self, message: bytes) -> None:
        """One message, one line."""
        if self._file is not None:
            try:
                self._empty(self._file)
                self._file.write(message + b"\n")
                self._file.flush()
            except OSError as error:
                raise cannot_write(self._where, error) from None
        elif self._where == "stderr" and not self._quiet:
            talk.tell(message_notice(message))

    def _empty(self, file: IO[bytes]) -> None:
        """Once. A FIFO or a device has nothing to lose."""
        if not self._emptied and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        self._emptied = True
