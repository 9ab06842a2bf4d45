"""Trigger types, who provides them, and what is bound to them (protocol.md 2.7, 3.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iii_cli.engine.worker import DEFAULT_NAMESPACE, Worker
from iii_cli.protocol.messages import (
    InvokeFunction,
    RegisterTrigger,
    UnregisterTrigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.engine.invocation import Invocation
    from iii_cli.engine.state import EngineState
    from iii_cli.protocol.messages import TriggerRegistrationResult

__all__ = ("FUNCTIONS_AVAILABLE", "WORKERS_AVAILABLE", "Binding", "TriggerTable", "TriggerType")

WORKERS_AVAILABLE = "engine::workers-available"
FUNCTIONS_AVAILABLE = "engine::functions-available"


@dataclass(slots=True, eq=False)
class TriggerType:
    """What a function can be bound to. `provider` is None for the engine's own."""

    id: str
    namespace: str
    provider: Worker | None
    description: str
    configuration_schema: Any = None
    request_schema: Any = None
    size: int = 0

    @property
    def worker_name(self) -> str:
        """The provider's name, as for functions."""
        name = self.provider.name if self.provider else None
        return name or self.id.split("::", 1)[0]


@dataclass(slots=True, eq=False)
class Binding:
    """A registered trigger. Without an `owner` it outlives the connection that made it."""

    id: str
    type_id: str
    function_id: str
    config: Any
    metadata: Any
    namespace: str  # of the function
    homes: tuple[str, ...]  # namespaces in which the type is looked for, in order
    owner: Worker | None
    type: TriggerType | None = None  # None: parked until somebody provides the type
    size: int = 0


@dataclass(slots=True, eq=False)
class _Confirmation:
    """A call of `engine::register_trigger` that waits for what the provider says."""

    invocation: Invocation
    binding: Binding
    due_at: int


class TriggerTable:
    """All of it, and the calls that wait for a provider."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._types: dict[tuple[str, str], TriggerType] = {}
        self._bindings: dict[str, Binding] = {}
        self._waiting: dict[str, _Confirmation] = {}  # by binding id
        for type_id, description in (
            (WORKERS_AVAILABLE, "A worker connected, announced itself or left"),
            (FUNCTIONS_AVAILABLE, "The set of functions changed"),
        ):
            self._types[DEFAULT_NAMESPACE, type_id] = TriggerType(
                type_id, DEFAULT_NAMESPACE, None, description
            )

    def types(self) -> Iterator[TriggerType]:
        """Every trigger type, sorted by id, then namespace."""
        return iter(sorted(self._types.values(), key=lambda kind: (kind.id, kind.namespace)))

    def bindings(self) -> Iterator[Binding]:
        """Every binding, sorted by id."""
        return (binding for _, binding in sorted(self._bindings.items()))

    def find_type(self, namespace: str, type_id: str) -> TriggerType | None:
        """The type of that id in that namespace."""
        return self._types.get((namespace, type_id))

    def find_binding(self, binding_id: str) -> Binding | None:
        """The binding of that id."""
        return self._bindings.get(binding_id)

    # Types

    def provide(self, kind: TriggerType) -> bool:
        """A worker provides a type, perhaps in place of another. Parked bindings reach it at once.

        False where it is one of the engine's own, which cannot be replaced.
        """
        known = self._types.get((kind.namespace, kind.id))
        if known is not None:
            if known.provider is None:
                return False
            known.provider.let_go(known.size)
        if kind.provider is not None:
            kind.provider.hold(kind.size)
        self._types[kind.namespace, kind.id] = kind
        for binding in self._bindings.values():
            if binding.type_id == kind.id and (binding.type is None or binding.type is known):
                binding.type = None
                self._connect(binding)
        return True

    def withdraw(self, kind: TriggerType) -> None:
        """A type is no longer provided; what is bound to it is parked."""
        del self._types[kind.namespace, kind.id]
        if kind.provider is not None:
            kind.provider.let_go(kind.size)
        for binding in self._bindings.values():
            if binding.type is kind:
                binding.type = None
                self._connect(binding)

    # Bindings

    def bind(self, binding: Binding) -> bool:
        """Add or replace a binding of its owner. False where the id belongs to somebody else.

        A provider that hears of the new one does not hear that the old one is gone (14.10).
        """
        known = self._bindings.get(binding.id)
        if known is not None:
            if known.owner is not binding.owner:
                return False
            if known.type is self._type_for(binding):
                known.type = None
            self.unbind(known)
        self._bindings[binding.id] = binding
        if binding.owner is not None:
            binding.owner.hold(binding.size)
        self._connect(binding)
        return True

    def unbind(self, binding: Binding) -> None:
        """Remove a binding and tell its provider."""
        del self._bindings[binding.id]
        if binding.owner is not None:
            binding.owner.let_go(binding.size)
        if binding.type is not None and binding.type.provider is not None:
            self._state.send(binding.type.provider, UnregisterTrigger(binding.id, binding.type_id))

    def _connect(self, binding: Binding) -> None:
        kind = binding.type = self._type_for(binding)
        if kind is not None and kind.provider is not None:
            self._state.send(kind.provider, _for_provider(binding, kind))

    def _type_for(self, binding: Binding) -> TriggerType | None:
        found = (self._types.get((home, binding.type_id)) for home in binding.homes)
        return next((kind for kind in found if kind is not None), None)

    # What providers say

    def wait_for_provider(self, binding: Binding, invocation: Invocation, due_at: int) -> None:
        """`invocation` is answered by `answered`, or is overdue at `due_at`."""
        self._waiting[binding.id] = _Confirmation(invocation, binding, due_at)

    def answered(
        self, worker: Worker, answer: TriggerRegistrationResult
    ) -> tuple[Invocation, Binding] | None:
        """A provider accepted or refused a binding. Returns the call that waited for it, if one did."""
        binding = self._bindings.get(answer.id)
        if binding is None or binding.type is None or binding.type.provider is not worker:
            return None
        if answer.error is not None:
            binding.type = None  # the provider refused it: there is nothing to unregister
            self.unbind(binding)
            if binding.owner is not None:
                self._state.send(binding.owner, answer)
        waiting = self._waiting.pop(answer.id, None)
        return None if waiting is None else (waiting.invocation, binding)

    @property
    def next_due(self) -> int | None:
        """When the first waiting call is overdue."""
        return min((waiting.due_at for waiting in self._waiting.values()), default=None)

    def overdue(self, now: int) -> list[tuple[Invocation, Binding]]:
        """The calls that have waited long enough. Their bindings are kept: silence is no refusal (14.12)."""
        late = [waiting for waiting in self._waiting.values() if waiting.due_at <= now]
        for waiting in late:
            del self._waiting[waiting.binding.id]
        return [(waiting.invocation, waiting.binding) for waiting in late]

    def drop_worker(self, worker: Worker) -> None:
        """A worker is gone: its bindings, and the types that it provided."""
        for binding in [b for b in self._bindings.values() if b.owner is worker]:
            self.unbind(binding)
        for kind in [k for k in self._types.values() if k.provider is worker]:
            self.withdraw(kind)

    # Firing

    def is_bound(self, type_id: str) -> bool:
        """Would anybody hear of it?"""
        return any(
            binding.type_id == type_id and binding.type is not None for binding in self._bindings.values()
        )

    def fire(self, type_id: str, payload: dict[str, Any]) -> None:
        """Invoke everything that is bound to one of the engine's own types. Answers are not waited for."""
        for binding in self._bindings.values():
            if binding.type is None or binding.type_id != type_id or binding.type.provider is not None:
                continue
            function = self._state.registry.find(binding.namespace, binding.function_id)
            if function is not None and function.owner is not None:
                call = InvokeFunction(function.id, payload, self._state.new_id(), metadata=binding.metadata)
                self._state.send(function.owner, call)


def _for_provider(binding: Binding, kind: TriggerType) -> RegisterTrigger:
    """Namespaces are said where they are not the default one: the provider's own as it was found (14.8)."""
    namespace, home = (
        None if name == DEFAULT_NAMESPACE else name for name in (binding.namespace, kind.namespace)
    )
    return RegisterTrigger(
        binding.id, binding.type_id, binding.function_id, binding.config, binding.metadata, namespace, home
    )
