"""Text messages beside the bytes: to stderr, to a FILE, or nowhere (design.md section 3, "Modes")."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from iii_cli.errors import LocalProblem
from iii_cli.terminal.talk import talk
from iii_cli.wire.records import message_notice

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ("MessageDoor",)


class MessageDoor:
    """`--messages stderr|drop|FILE`. Raises LocalProblem when FILE cannot be opened or written."""

    def __init__(self, where: str | None, *, quiet: bool) -> None:
        self._where = where or "stderr"
        self._quiet = quiet and where is None
        self._file: IO[bytes] | None = None
        if self._where not in ("stderr", "drop"):
            try:
                self._file = open(self._where, "wb")  # noqa: SIM115 - closed by __exit__
            except OSError as error:
                raise LocalProblem(f"cannot write to {self._where}: {error.strerror}") from None

    def __enter__(self) -> MessageDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError as problem:
                raise LocalProblem(f"cannot write to {self._where}: {problem.strerror}") from None

    def show(self, message: bytes) -> None:
        """One message, one line."""
        if self._file is not None:
            try:
                self._file.write(message + b"\n")
                self._file.flush()
            except OSError as error:
                raise LocalProblem(f"cannot write to {self._where}: {error.strerror}") from None
        elif self._where == "stderr" and not self._quiet:
            talk.tell(message_notice(message))
