"""Who is connected, what they are called, and who owns which function (docs: protocol, "Namespaces")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.model import Function, Worker, worker_name

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Registry", "function_row")


class Registry:
    """Live workers, names and functions. The first live owner wins; a loser is never promoted."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}  # by connection
        self.workers_by_id: dict[str, Worker] = {}
        self.names: dict[tuple[str, str], Worker] = {}  # by namespace and name, also names of before
        # Those whose namespace is not final: they did not announce themselves, and the grace is not over.
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
        for function_id in list(worker.functions):
            self.unregister(worker, function_id)
        worker.parked.clear()

    def claim_name(self, worker: Worker, name: str) -> None:
        """The name is the worker's for as long as it lives, even if it takes another. It must be free."""
        if name not in worker.reserved:
            worker.reserved.add(name)
            worker.hold(len(name))
            self.names[worker.namespace, name] = worker

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

    def unregister(self, worker: Worker, function_id: str) -> None:
        """Remove a function, if the worker owns one of that id."""
        function = worker.functions.pop(function_id, None)
        if function is None:
            return
        worker.let_go(function.size)
        homes = self._functions[function.id]
        del homes[function.namespace]
        if not homes:
            del self._functions[function.id]
        self.changed = True


def function_row(function: Function) -> dict[str, Any]:
    """A row of `engine::functions::list`. Unset fields are left out."""
    row: dict[str, Any] = {
        "function_id": function.id,
        "namespace": function.namespace,
        "worker_name": worker_name(function.owner, function.id),
    }
    if function.about.description is not None:
        row["description"] = function.about.description
    if function.about.metadata is not None:
        row["metadata"] = function.about.metadata
    return row
