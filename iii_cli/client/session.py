"""What a worker has promised and what it waits for: its functions, the calls in flight. No I/O.

A worker outlives its connections. Functions are kept and announced on each new one; a call in flight is
answered, times out, or fails with the connection that carried it.
"""

from __future__ import annotations

import inspect
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from iii_cli.errors import NameTaken
from iii_cli.wire.unreadable import failure_of
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.errors import Failure
    from iii_cli.wire.messages import InvocationResult, RegisterFunction, RegistrationRejected

    Handler: TypeAlias = Callable[..., Awaitable[Any]]

__all__ = ("CALLER_KEY", "Call", "Calls", "Functions", "Handler", "Registration", "split_caller")

CALLER_KEY = "_caller_worker_id"  # the engine puts it into every payload that is an object (protocol.md 2.3)


class Call(Value):
    """What a handler may know of a call beside its payload."""

    function_id: str
    invocation_id: str | None  # None: nobody hears the result
    caller_worker_id: str | None
    metadata: Any = None
    traceparent: str | None = None
    baggage: str | None = None


@dataclass(slots=True)
class Registration:
    """A function of ours. `taken`: another worker of the namespace has the name."""

    message: RegisterFunction
    handler: Handler
    wants_call: bool
    live: bool = True
    keep_ends: bool = False
    taken: NameTaken | None = None


class Functions:
    """The functions of one worker, by id."""

    def __init__(self) -> None:
        self._registered: dict[str, Registration] = {}

    def __iter__(self) -> Any:
        return iter(list(self._registered.values()))

    def get(self, function_id: str) -> Registration | None:
        """The function that answers to `function_id`."""
        return self._registered.get(function_id)

    def add(
        self, message: RegisterFunction, handler: Handler, *, live: bool, keep_ends: bool
    ) -> Registration:
        """Keep a function. Raises ValueError for an id that is empty or already ours."""
        if not message.id.strip():
            raise ValueError("a function needs an id")
        if message.id in self._registered:
            raise ValueError(f"{message.id} is registered already")
        registration = Registration(message, handler, _takes_two(handler), live, keep_ends)
        self._registered[message.id] = registration
        return registration

    def remove(self, function_id: str) -> bool:
        """Forget a function. False: there was none."""
        return self._registered.pop(function_id, None) is not None

    def rejected(self, message: RegistrationRejected) -> NameTaken:
        """The engine gave the name to another worker (protocol.md 2.6)."""
        name = message.function_id or ""
        if message.owner_worker_id:
            reason = f"is taken in namespace {message.namespace} by worker {message.owner_worker_id}"
        else:
            reason = f"may not be registered in namespace {message.namespace}"
        failure = NameTaken(f"the function {name} {reason}")
        registration = self._registered.get(name)
        if registration is not None:
            registration.taken = failure
        return failure

    def forget_rejections(self) -> None:
        """A new connection, a new chance."""
        for registration in self._registered.values():
            registration.taken = None

    def first_rejection(self) -> NameTaken | None:
        """Why one of the functions is not callable; None where all are."""
        return next((entry.taken for entry in self._registered.values() if entry.taken), None)


@dataclass(slots=True)
class _Waiter:
    settled: anyio.Event = field(default_factory=anyio.Event)
    answer: InvocationResult | None = None
    failure: Failure | None = None


class Calls:
    """The calls of ours that are in flight on one connection."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, invocation_id: str) -> None:
        """Before the call is sent. Every `begin` has an `end`."""
        self._waiting[invocation_id] = _Waiter()

    def end(self, invocation_id: str) -> None:
        """Nobody waits for it any more; an answer that comes later is dropped."""
        self._waiting.pop(invocation_id, None)

    def settle(self, message: InvocationResult) -> bool:
        """An answer came. False: nobody waits for it."""
        waiter = self._waiting.get(message.invocation_id)
        if waiter is None:
            return False
        waiter.answer = message
        waiter.settled.set()
        return True

    def fail_all(self, failure: Failure) -> None:
        """The connection is gone, and with it every answer."""
        for waiter in self._waiting.values():
            if waiter.answer is None:
                waiter.failure = failure
                waiter.settled.set()

    async def outcome(self, invocation_id: str) -> Any:
        """Wait for the answer. Raises FunctionFailed, or what `fail_all` was given."""
        waiter = self._waiting[invocation_id]
        await waiter.settled.wait()
        if waiter.failure is not None:
            raise copy(waiter.failure)  # several tasks raise it
        assert waiter.answer is not None
        error = waiter.answer.error
        if error is not None:
            raise failure_of(error)
        return waiter.answer.result


def split_caller(data: Any) -> tuple[Any, str | None]:
    """A payload as the caller sent it, and who that was."""
    if isinstance(data, dict) and isinstance(data.get(CALLER_KEY), str):
        rest = {key: value for key, value in data.items() if key != CALLER_KEY}
        return rest, data[CALLER_KEY]
    return data, None


def _takes_two(handler: Handler) -> bool:
    """Does the handler want the Call beside the payload? Raises TypeError for what cannot be one."""
    try:
        signature = inspect.signature(handler)
    except ValueError:  # written in C, without a signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
    if len(required) > 2:
        raise TypeError("a handler takes the payload, or the payload and the Call")
    return len(required) == 2
