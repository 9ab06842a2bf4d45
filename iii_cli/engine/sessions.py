"""From a worker's connecting to its leaving: announce, registrations, reattach (1.2-1.8, 2.1-2.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from iii_cli.engine.registry import Function
from iii_cli.engine.triggers import WORKERS_AVAILABLE, Binding, TriggerType
from iii_cli.engine.worker import DEFAULT_NAMESPACE, Worker
from iii_cli.protocol.messages import (
    ErrorBody,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    WorkerRegistered,
)

if TYPE_CHECKING:
    from iii_cli.engine.router import Router
    from iii_cli.engine.state import EngineState
    from iii_cli.engine.triggers import TriggerTable
    from iii_cli.engine.worker import Announcement
    from iii_cli.protocol.messages import Reattach

__all__ = ("Registration", "Sessions")

Registration: TypeAlias = (
    RegisterFunction
    | UnregisterFunction
    | RegisterTrigger
    | UnregisterTrigger
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterService
)


class Sessions:
    """What a worker socket means to the engine, from the first frame to the last."""

    def __init__(self, state: EngineState, router: Router, triggers: TriggerTable) -> None:
        self._state = state
        self._registry = state.registry
        self._router = router
        self._triggers = triggers

    def connect(self, connection: int, ip: str, now: int) -> None:
        """A worker socket is open."""
        worker = Worker(connection, self._state.new_id(), self._state.new_id(), ip, now)
        self._registry.add(worker)
        self._state.send(worker, WorkerRegistered(worker.id, worker.reattach_token))
        self._state.notice("worker connected", worker=worker.id, ip=ip)
        self._tell("worker_connected", worker)

    def leave(self, worker: Worker, now: int) -> None:
        """The worker is gone, whatever the reason: everything that was its is free (1.8)."""
        if worker.gone:
            return
        self._registry.remove(worker)
        self._router.halt(worker, now)
        self._triggers.drop_worker(worker)
        self._state.notice("worker left", worker=worker.id, name=worker.name)
        self._tell("worker_disconnected", worker)

    def reattach(self, worker: Worker, message: Reattach, now: int) -> None:
        """1.7, 14.5: a worker that was here before evicts what is left of it, whatever it said before."""
        old = self._registry.workers_by_id.get(message.previous_worker_id)
        if old is None or old is worker or old.reattach_token != message.reattach_token:
            return
        self._state.drop(old)
        self.leave(old, now)

    # Namespaces and the announce

    def announce(self, worker: Worker, about: Announcement, now: int) -> bool:
        """1.3: take the namespace and the name, then replay what was registered before.

        False where somebody else has the name: the worker is told and closed.
        """
        namespace = worker.namespace if worker.settled else about.namespace or DEFAULT_NAMESPACE
        if about.name is not None:
            owner = self._registry.owner_of_name(namespace, about.name)
            if owner is not None and owner is not worker:
                rejection = RegistrationRejected(
                    "WORKER_NAMESPACE_CONFLICT", namespace, owner.id, worker_name=about.name
                )
                self._state.send(worker, rejection)
                self._state.close(worker)
                self.leave(worker, now)
                return False
        worker.about = about
        self._settle(worker, namespace, now)
        if about.name is not None:
            self._registry.claim_name(worker, about.name)
        self._state.notice("worker announced", worker=worker.id, name=about.name, namespace=namespace)
        self._tell("worker_metadata_updated", worker)
        self._drop_if_greedy(worker, now)
        return True

    @property
    def next_grace(self) -> int | None:
        """When the first worker without an announce falls into the default namespace."""
        for worker in self._registry.unsettled.values():
            return worker.connected_at + self._state.settings.grace
        return None

    def settle_late(self, now: int) -> None:
        """1.4: workers whose grace is over live in the default namespace."""
        grace = self._state.settings.grace
        for worker in list(self._registry.unsettled.values()):
            if worker.connected_at + grace > now:
                return
            self._settle(worker, DEFAULT_NAMESPACE, now)

    def _settle(self, worker: Worker, namespace: str, now: int) -> None:
        if worker.settled:
            return
        self._registry.settle(worker, namespace)
        parked, worker.parked = worker.parked, []
        for message, size in parked:
            worker.let_go(size)
            self._apply(worker, message, size)

    def _tell(self, event: str, worker: Worker) -> None:
        self._triggers.fire(WORKERS_AVAILABLE, {"event": event, "worker_id": worker.id})

    # Registrations

    def register(self, worker: Worker, message: Registration, size: int, now: int) -> None:
        """Apply a registration, or park it until the namespace is known.

        A worker beyond its bounds is dropped.
        """
        if worker.settled:
            self._apply(worker, message, size)
        else:
            worker.parked.append((message, size))
            worker.hold(size)
        self._drop_if_greedy(worker, now)

    def _drop_if_greedy(self, worker: Worker, now: int) -> None:
        settings = self._state.settings
        if worker.held_bytes > settings.max_held_bytes or worker.held_count > settings.max_registrations:
            self._state.notice("worker dropped", worker=worker.id, reason="too many registrations")
            self._state.drop(worker)
            self.leave(worker, now)

    def _apply(self, worker: Worker, message: Registration, size: int) -> None:
        match message:
            case RegisterFunction():
                self._register_function(worker, message, size)
            case UnregisterFunction():
                self._registry.unregister(worker, message.id)
            case RegisterTrigger():
                self._register_trigger(worker, message, size)
            case UnregisterTrigger():
                binding = self._triggers.find_binding(message.id)
                if binding is not None and binding.owner is worker:
                    self._triggers.unbind(binding)
            case RegisterTriggerType():
                self._register_trigger_type(worker, message, size)
            case UnregisterTriggerType():
                kind = self._triggers.find_type(message.namespace or worker.namespace, message.id)
                if kind is not None and kind.provider is worker:
                    self._triggers.withdraw(kind)
            case RegisterService():
                pass  # 2.8: bookkeeping for a dashboard that we do not have

    def _register_function(self, worker: Worker, message: RegisterFunction, size: int) -> None:
        owner_id: str | None = None
        if worker.namespace != DEFAULT_NAMESPACE and message.id.startswith("engine::"):
            owner_id = ""
        else:
            function = Function(
                message.id,
                worker.namespace,
                worker,
                message.description,
                message.request_format,
                message.response_format,
                message.metadata,
                size=size,
            )
            taken = self._registry.register(function)
            if taken is not None:
                owner_id = taken.owner.id if taken.owner else ""
        if owner_id is not None:
            rejection = RegistrationRejected(
                "FUNCTION_NAMESPACE_CONFLICT", worker.namespace, owner_id, function_id=message.id
            )
            self._state.send(worker, rejection)

    def _register_trigger(self, worker: Worker, message: RegisterTrigger, size: int) -> None:
        for namespace in (message.namespace, message.trigger_namespace):
            if namespace is not None and not namespace.strip():
                self._refuse_trigger(worker, message, "INVALID_NAMESPACE", "namespace must not be blank")
                return
        homes = (worker.namespace, DEFAULT_NAMESPACE)
        binding = Binding(
            message.id,
            message.trigger_type,
            message.function_id,
            message.config,
            message.metadata,
            message.namespace or DEFAULT_NAMESPACE,
            homes if message.trigger_namespace is None else (message.trigger_namespace,),
            worker,
            size=size,
        )
        if not self._triggers.bind(binding):
            self._refuse_trigger(worker, message, "trigger_registration_failed", "the id is another worker's")

    def _refuse_trigger(self, worker: Worker, message: RegisterTrigger, code: str, text: str) -> None:
        error = ErrorBody(code, text)
        answer = TriggerRegistrationResult(message.id, message.trigger_type, message.function_id, error)
        self._state.send(worker, answer)

    def _register_trigger_type(self, worker: Worker, message: RegisterTriggerType, size: int) -> None:
        if message.namespace is not None and not message.namespace.strip():
            return  # 14.9: there is no answer to it that could refuse
        self._triggers.provide(
            TriggerType(
                message.id,
                message.namespace or worker.namespace,
                worker,
                message.description,
                message.trigger_request_format,
                message.call_request_format,
                size,
            )
        )
