"""Who is connected, what they are called, and who owns which function (protocol.md 1.4, 2.1, 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iii_cli.engine.worker import DEFAULT_NAMESPACE, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iii_cli.engine.call import Call

__all__ = ("Function", "Registry")


@dataclass(slots=True, eq=False)
class Function:
    """Something that can be invoked. `owner` is None and `run` is set for the engine's own."""

    id: str
    namespace: str = DEFAULT_NAMESPACE
    owner: Worker | None = None
    description: str | None = None
    request_schema: Any = None
    response_schema: Any = None
    metadata: Any = None
    run: Callable[[Call], Any] | None = None
    size: int = 0  # bytes of the message that registered it

    @property
    def worker_name(self) -> str:
        """The owner's name, or the first segment of the id where it has none (3.2)."""
        name = self.owner.name if self.owner else None
        return name or self.id.split("::", 1)[0]

    @property
    def internal(self) -> bool:
        """Is it left out of listings unless asked for (3.2)?"""
        if self.id.startswith("engine::") and not self.id.startswith("engine::queue::"):
            return True
        return isinstance(self.metadata, dict) and self.metadata.get("internal") is True


class Registry:
    """Live workers, names and functions. The first live owner wins; a loser is never promoted."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self.workers_by_id: dict[str, Worker] = {}
        self.names: dict[tuple[str, str], Worker] = {}
        self.unsettled: dict[int, Worker] = {}  # in the order of their connecting
        self.changed = False  # were there changes of the functions since somebody said False
        self._functions: dict[str, dict[str, Function]] = {}  # id -> namespace -> function

    def add(self, worker: Worker) -> None:
        """A worker connected."""
        self.workers[worker.connection] = worker
        self.workers_by_id[worker.id] = worker
        self.unsettled[worker.connection] = worker

    def remove(self, worker: Worker) -> None:
        """A worker is gone: its names and functions are free."""
        worker.gone = True
        del self.workers[worker.connection]
        del self.workers_by_id[worker.id]
        self.unsettled.pop(worker.connection, None)
        for name in worker.reserved:
            del self.names[worker.namespace, name]
        for function in list(worker.functions.values()):
            self._forget(function)
        worker.functions.clear()
        worker.parked.clear()

    def owner_of_name(self, namespace: str, name: str) -> Worker | None:
        """The live worker that is called so, or was."""
        return self.names.get((namespace, name))

    def claim_name(self, worker: Worker, name: str) -> None:
        """The name is the worker's for as long as it lives, even if it takes another. It must be free."""
        if name not in worker.reserved:
            worker.reserved.add(name)
            worker.hold(len(name))
            self.names[worker.namespace, name] = worker

    def settle(self, worker: Worker, namespace: str) -> None:
        """The worker's namespace is final."""
        worker.namespace = namespace
        worker.settled = True
        self.unsettled.pop(worker.connection, None)

    def find(self, namespace: str, function_id: str) -> Function | None:
        """The function that a call means. Routing is strict: no other namespace is looked into."""
        homes = self._functions.get(function_id)
        return None if homes is None else homes.get(namespace)

    def namespaces_of(self, function_id: str) -> list[str]:
        """Where a function of that id exists, sorted."""
        return sorted(self._functions.get(function_id, ()))

    def functions(self) -> Iterator[Function]:
        """Every function, sorted by id, then namespace."""
        for _, homes in sorted(self._functions.items()):
            for _, function in sorted(homes.items()):
                yield function

    def register(self, function: Function) -> Function | None:
        """Add or replace a function of its owner. Returns the one that is in the way, if any."""
        taken = self.find(function.namespace, function.id)
        if taken is not None and taken.owner is not function.owner:
            return taken
        self._functions.setdefault(function.id, {})[function.namespace] = function
        if function.owner is not None:
            if taken is not None:
                function.owner.let_go(taken.size)
            function.owner.hold(function.size)
            function.owner.functions[function.id] = function
        self.changed = True
        return None

    def unregister(self, worker: Worker, function_id: str) -> bool:
        """Remove a function of the worker; False where it owns none of that id."""
        function = worker.functions.pop(function_id, None)
        if function is None:
            return False
        worker.let_go(function.size)
        self._forget(function)
        return True

    def _forget(self, function: Function) -> None:
        homes = self._functions[function.id]
        del homes[function.namespace]
        if not homes:
            del self._functions[function.id]
        self.changed = True
