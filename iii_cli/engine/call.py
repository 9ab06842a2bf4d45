"""One call of a built-in function: who asks, for what, and how the answer is refused or put off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from iii_cli.protocol.messages import ErrorBody

if TYPE_CHECKING:
    from iii_cli.engine.invocation import Invocation
    from iii_cli.engine.worker import Worker

__all__ = ("LATER", "Call", "Refusal")


class Refusal(Exception):
    """The call ends with an error body."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = ErrorBody(code, message)


class _Later:
    """The type of LATER."""


LATER: Final = _Later()  # a built-in returns this when `router.answer` will be called in its time


@dataclass(frozen=True, slots=True)
class Call:
    """What a built-in gets to work with."""

    invocation: Invocation
    caller: Worker
    data: Any
    now: int
