"""Trigger types, who provides them, and what is bound to them (docs: protocol, "Triggers")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from iii_cli.engine.model import DEFAULT_NAMESPACE, Binding, TriggerType, Worker
from iii_cli.protocol.messages import RegisterTriggerType, UnregisterTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iii_cli.engine.model import Invocation
    from iii_cli.protocol.messages import Message, RegisterTrigger, TriggerRegistrationResult

__all__ = ("FUNCTIONS_AVAILABLE", "WORKERS_AVAILABLE", "TriggerTable")

WORKERS_AVAILABLE = "engine::workers-available"
FUNCTIONS_AVAILABLE = "engine::functions-available"


class TriggerTable:
    """Types and bindings, and the calls of `engine::register_trigger` that wait for a provider.

    `send` tells a worker something.
    """

    def __init__(self, send: Callable[[Worker, Message], None]) -> None:
        self._send = send
        self._types: dict[tuple[str, str], TriggerType] = {}
        self._bindings: dict[str, Binding] = {}
        self._waiting: dict[str, tuple[Invocation, Binding, int]] = {}  # by binding id; until when
        for type_id, description in (
            (WORKERS_AVAILABLE, "A worker connected, announced itself or left"),
            (FUNCTIONS_AVAILABLE, "The set of functions changed"),
        ):
            own = TriggerType(RegisterTriggerType(type_id, description))
            self._types[DEFAULT_NAMESPACE, type_id] = own

    def types(self) -> list[TriggerType]:
        """Every trigger type, sorted by id, then namespace."""
        return sorted(self._types.values(), key=lambda kind: (kind.about.id, kind.namespace))

    def bindings(self) -> list[Binding]:
        """Every binding, sorted by id."""
        return sorted(self._bindings.values(), key=lambda binding: binding.about.id)

    def find_type(self, namespace: str, type_id: str) -> TriggerType | None:
        """The type of that id in that namespace."""
        return self._types.get((namespace, type_id))

    def find_binding(self, binding_id: str) -> Binding | None:
        """The binding of that id."""
        return self._bindings.get(binding_id)

    def own_bindings(self, type_id: str) -> Iterator[Binding]:
        """The bindings to one of the engine's own types, which the engine fires itself."""
        for binding in self._bindings.values():
            kind = binding.type
            if kind is not None and kind.provider is None and kind.about.id == type_id:
                yield binding

    # Types

    def provide(self, kind: TriggerType) -> bool:
        """A worker provides a type, perhaps in place of another. Parked bindings reach it at once.

        False where it is one of the engine's own, which cannot be replaced.
        """
        known = self._types.get((kind.namespace, kind.about.id))
        if known is not None:
            if known.provider is None:
                return False
            known.provider.let_go(known.size)
        if kind.provider is not None:
            kind.provider.hold(kind.size)
        self._types[kind.namespace, kind.about.id] = kind
        for binding in self._bindings.values():
            fits = binding.about.trigger_type == kind.about.id
            if fits and (binding.type is None or binding.type is known):
                self._connect(binding)
        return True

    def withdraw(self, kind: TriggerType) -> None:
        """A type is no longer provided; what is bound to it is parked."""
        del self._types[kind.namespace, kind.about.id]
        if kind.provider is not None:
            kind.provider.let_go(kind.size)
        for binding in self._bindings.values():
            if binding.type is kind:
                self._connect(binding)

    # Bindings

    def bind(self, binding: Binding) -> bool:
        """Add or replace a binding of its owner. False where the id belongs to somebody else.

        A provider that hears of the new one does not hear that the old one is gone.
        """
        known = self._bindings.get(binding.about.id)
        if known is not None:
            if known.owner is not binding.owner:
                return False
            if known.type is self._type_for(binding):
                known.type = None
            self.unbind(known)
        self._bindings[binding.about.id] = binding
        if binding.owner is not None:
            binding.owner.hold(binding.size)
        self._connect(binding)
        return True

    def unbind(self, binding: Binding) -> None:
        """Remove a binding and tell its provider."""
        del self._bindings[binding.about.id]
        if binding.owner is not None:
            binding.owner.let_go(binding.size)
        if binding.type is not None and binding.type.provider is not None:
            self._send(binding.type.provider, UnregisterTrigger(binding.about.id, binding.about.trigger_type))

    def drop_worker(self, worker: Worker) -> None:
        """A worker is gone: its bindings, and the types that it provided."""
        for binding in [b for b in self._bindings.values() if b.owner is worker]:
            self.unbind(binding)
        for kind in [k for k in self._types.values() if k.provider is worker]:
            self.withdraw(kind)

    def _connect(self, binding: Binding) -> None:
        """Find the type of the binding, and tell its provider."""
        kind = binding.type = self._type_for(binding)
        if kind is not None and kind.provider is not None:
            self._send(kind.provider, _for_provider(binding, kind))

    def _type_for(self, binding: Binding) -> TriggerType | None:
        found = (self._types.get((home, binding.about.trigger_type)) for home in binding.homes)
        return next((kind for kind in found if kind is not None), None)

    # What providers say

    def wait_for_provider(self, binding: Binding, invocation: Invocation, due_at: int) -> None:
        """`invocation` is answered by `answered`, or is overdue at `due_at`."""
        self._waiting[binding.about.id] = (invocation, binding, due_at)

    def answered(self, worker: Worker, answer: TriggerRegistrationResult) -> Invocation | None:
        """A provider accepted or refused a binding. Returns the call that waited for it, if one did."""
        binding = self._bindings.get(answer.id)
        if binding is None or binding.type is None or binding.type.provider is not worker:
            return None
        if answer.error is not None:
            binding.type = None  # the provider refused it: there is nothing to unregister
            self.unbind(binding)
            if binding.owner is not None:
                self._send(binding.owner, answer)
        waiting = self._waiting.pop(answer.id, None)
        return None if waiting is None else waiting[0]

    @property
    def next_due(self) -> int | None:
        """When the first waiting call is overdue."""
        return min((due_at for _, _, due_at in self._waiting.values()), default=None)

    def overdue(self, now: int) -> list[tuple[Invocation, Binding]]:
        """The calls that have waited long enough. Their bindings are kept: silence is no refusal."""
        late = [(call, binding) for call, binding, due_at in self._waiting.values() if due_at <= now]
        for _, binding in late:
            del self._waiting[binding.about.id]
        return late


def _for_provider(binding: Binding, kind: TriggerType) -> RegisterTrigger:
    """Namespaces are said where they are not the default one: the provider's own as it was found."""
    namespace, home = (
        None if name == DEFAULT_NAMESPACE else name for name in (binding.namespace, kind.namespace)
    )
    return replace(binding.about, namespace=namespace, trigger_namespace=home)
