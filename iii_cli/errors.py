"""The tree of errors. Each says whose fault it is, what to do next, and how the process ends.

A failure is never edited: who knows more about it makes a new one (`with_hint`, `about`, `with_message`).
`cli.main` is the one place that prints a Failure and exits (docs: design, "Exit codes").
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

__all__ = (
    "CommandFailed",
    "CommandNotFound",
    "CommandNotRunnable",
    "ContentDiffers",
    "EngineUnreachable",
    "ExitStatus",
    "Failure",
    "FunctionFailed",
    "FunctionForbidden",
    "FunctionNotFound",
    "Interrupted",
    "LocalProblem",
    "NameTaken",
    "NotAuthorised",
    "NotConfirmed",
    "NothingArrived",
    "PeerLeft",
    "PeerMisbehaved",
    "ProducerFailed",
    "RefSpent",
    "StageFailed",
    "StreamAborted",
    "StreamTruncated",
    "TimedOut",
    "UnknownTarget",
    "UsageProblem",
    "Where",
    "WorkerLost",
    "cannot_read",
    "cannot_write",
    "gravest",
    "reason_of",
    "sole_cause",
)

Where = Literal["local", "engine", "peer"]


class ExitStatus(IntEnum):
    """How a process of ours ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_AUTHORISED = 4
    UNKNOWN = 5
    SPENT = 6
    TRUNCATED = 7
    DIFFERS = 8
    UNCONFIRMED = 9
    LOCAL = 10
    COMMAND = 11
    TIMED_OUT = 124
    NOT_RUNNABLE = 126
    NOT_FOUND = 127
    PIPE_CLOSED = 141


class Failure(Exception):
    """Something a person must hear about, in one line, with the exit status that scripts see.

    `where` says whose side it is on. `hint` says what to do next and is printed after the message.
    """

    status: ClassVar[int] = ExitStatus.FAILED
    where: Where = "local"

    def __init_subclass__(cls, status: ExitStatus | None = None, where: Where | None = None) -> None:
        cls.status = cls.status if status is None else status
        cls.where = where or cls.where

    def __init__(self, message: str, *, hint: str | None = None, where: Where | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if where is not None:
            self.where = where

    @property
    def exit_status(self) -> int:
        """What the process ends with. Same as `status` unless the error carries its own number."""
        return self.status

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def with_message(self, message: str) -> Self:
        """The same failure in other words."""
        return self._changed(message=message)

    def with_hint(self, hint: str | None) -> Self:
        """The same failure with another hint."""
        return self._changed(hint=hint)

    def about(self, subject: str) -> Self:
        """The same failure, of one among several: `SUBJECT: message`."""
        return self.with_message(f"{subject}: {self.message}")

    def _changed(self, **fields: str | None) -> Self:
        changed = type(self).__new__(type(self), self.message)
        vars(changed).update(vars(self) | fields)
        return changed


class UsageProblem(Failure, status=ExitStatus.USAGE):
    """What was typed cannot be meant."""


class EngineUnreachable(Failure, status=ExitStatus.UNREACHABLE, where="engine"):
    """Nothing listens at the address, or the engine was lost while we were connected.

    `has_cause`: more is known than that, and the hint is about it: it helps whatever the address came from.
    """

    has_cause = False


class NotAuthorised(Failure, status=ExitStatus.NOT_AUTHORISED, where="engine"):
    """401, 403, or the engine's in-band AUTH_ERROR."""


class UnknownTarget(Failure, status=ExitStatus.UNKNOWN, where="engine"):
    """A ref or a function that the engine does not know, or does not know any more."""


class RefSpent(Failure, status=ExitStatus.SPENT, where="peer"):
    """The end was already taken: refs are single-use."""


class NothingArrived(Failure, status=ExitStatus.SPENT, where="peer"):
    """A clean end without a byte: a used or expired ref, or an empty stream."""


class StreamTruncated(Failure, status=ExitStatus.TRUNCATED, where="peer"):
    """The stream ended before its end: its writer died or vanished."""


class StreamAborted(StreamTruncated):
    """The writer said that it failed. `code` is the exit status it gave."""

    def __init__(self, message: str, *, code: int = 1, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ContentDiffers(Failure, status=ExitStatus.DIFFERS, where="peer"):
    """What came is not what was promised: a digest, a count, the shape of the seal."""


class PeerLeft(Failure, status=ExitStatus.UNCONFIRMED, where="peer"):
    """The reader went away while we were writing."""


class NotConfirmed(Failure, status=ExitStatus.UNCONFIRMED, where="peer"):
    """The reader did not confirm that it has the data, or a worker that it ran what was called."""


class LocalProblem(Failure, status=ExitStatus.LOCAL):
    """A local read or write failed: a file, a disk, a descriptor."""


class CommandFailed(Failure, status=ExitStatus.COMMAND):
    """The COMMAND failed. `code` is its own exit status, 128+n for a signal; `pass_on` makes it ours."""

    def __init__(self, message: str, *, code: int, hint: str | None = None, pass_on: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.pass_on = pass_on

    @property
    def exit_status(self) -> int:
        return self.code if self.pass_on else self.status


class ProducerFailed(CommandFailed):
    """A program before our pipe failed. `reason` is what the reader hears."""

    def __init__(self, reason: str, *, code: int, hint: str | None = None) -> None:
        super().__init__(f"stream aborted: {reason}", code=code, hint=hint)
        self.reason = reason


class CommandNotRunnable(Failure, status=ExitStatus.NOT_RUNNABLE):
    """The COMMAND exists but cannot be run."""


class CommandNotFound(Failure, status=ExitStatus.NOT_FOUND):
    """The COMMAND does not exist."""


class TimedOut(Failure, status=ExitStatus.TIMED_OUT):
    """A time limit that the person set has passed."""


class NameTaken(Failure, where="engine"):
    """Another worker has the name of our worker, or of a function that we want to serve."""


class FunctionFailed(Failure, where="peer"):
    """The function, or the engine on its behalf, answered with an error body."""

    def __init__(self, code: str, message: str, stacktrace: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.remote_message = message
        self.stacktrace = stacktrace

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> FunctionFailed:
        """The error that an `invocationresult` carries. Tolerates a body without the required strings."""
        stacktrace = body.get("stacktrace")
        return cls.of(
            str(body.get("code", "unknown")),
            str(body.get("message", "")),
            None if stacktrace is None else str(stacktrace),
        )

    @staticmethod
    def of(code: str, message: str, stacktrace: str | None = None) -> FunctionFailed:
        """The class that ends the process as the code deserves."""
        return _BY_CODE.get(code, FunctionFailed)(code, message, stacktrace)

    def body(self) -> dict[str, Any]:
        """As the engine's own CLI prints it, keys in its order."""
        return {"code": self.code, "message": self.remote_message, "stacktrace": self.stacktrace}


class FunctionNotFound(FunctionFailed, status=ExitStatus.UNKNOWN, where="engine"):
    """The engine knows no such function in that namespace."""


class FunctionForbidden(FunctionFailed, status=ExitStatus.NOT_AUTHORISED, where="engine"):
    """The engine does not let us call it, or does not say whether it is there."""


class WorkerLost(FunctionFailed, status=ExitStatus.UNCONFIRMED):
    """The worker was lost during the call."""

    CODE = "invocation_stopped"

    def __init__(self, code: str, message: str, stacktrace: str | None = None) -> None:
        super().__init__(code, message, stacktrace)
        self.hint = "the worker was lost during the call; it may have run"


_BY_CODE: dict[str, type[FunctionFailed]] = {
    "function_not_found": FunctionNotFound,
    "FORBIDDEN": FunctionForbidden,
    WorkerLost.CODE: WorkerLost,
}


class StageFailed(Failure):
    """A stage of a pipeline failed, as `failure` says. Stages count from 1."""

    def __init__(self, number: int, function_id: str, failure: Failure) -> None:
        message = f"stage {number}, {function_id}: {failure.message}"
        super().__init__(message, hint=failure.hint, where=failure.where)
        self.number = number
        self.function_id = function_id
        self.failure = failure

    @property
    def exit_status(self) -> int:
        return self.failure.exit_status


class Interrupted(Failure):
    """A signal asked us to stop."""

    def __init__(self, signum: int, message: str = "interrupted") -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def exit_status(self) -> int:
        return 128 + self.signum


class PeerMisbehaved(Failure, status=ExitStatus.DIFFERS, where="engine"):
    """The other side of a socket broke the protocol. `close_code` is what RFC 6455 7.4.1 calls it."""

    def __init__(self, message: str, *, close_code: int = 1002) -> None:
        super().__init__(message)
        self.close_code = close_code


def cannot_read(name: str, reason: OSError | ValueError | str, *, hint: str | None = None) -> LocalProblem:
    """`cannot read NAME: reason`."""
    return LocalProblem(f"cannot read {name}: {reason_of(reason)}", hint=hint)


def cannot_write(name: str, reason: OSError | ValueError | str, *, hint: str | None = None) -> LocalProblem:
    """`cannot write to NAME: reason`."""
    return LocalProblem(f"cannot write to {name}: {reason_of(reason)}", hint=hint)


def reason_of(error: OSError | ValueError | str) -> str:
    """What the system says, without the number and the name of the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# Where several things failed (docs: design, "Exit codes"). A call's statuses rank together.
_OF_A_CALL = 3
_GRAVITY: dict[int, int] = {
    status: rank
    for rank, group in enumerate(
        ((10,), (11, 126, 127), (1, 2, 3, 4, 5, 124), (8,), (7,), (9,), (6,)), start=1
    )
    for status in group
}


def gravest(failures: Iterable[Failure]) -> Failure:
    """The one to report when several things failed: signal, 10, 11, the call, 8, 7, 9, 6.

    Raises ValueError when there is none.
    """
    return min(failures, key=_gravity)


def _gravity(failure: Failure) -> int:
    if isinstance(failure, Interrupted):
        return 0
    if isinstance(failure, FunctionFailed):  # a lost worker, too: its streams are cut by the same loss
        return _OF_A_CALL
    return _GRAVITY.get(failure.status, _OF_A_CALL)


def sole_cause(error: BaseException) -> BaseException:
    """The one exception that a group comes down to: a bug if there is one, else the gravest failure."""
    leaves = list(_leaves(error))
    failures = [leaf for leaf in leaves if isinstance(leaf, Failure)]
    others = [leaf for leaf in leaves if not isinstance(leaf, (Failure, BrokenPipeError))]
    if others:
        return others[0]
    return gravest(failures) if failures else leaves[0]


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]
