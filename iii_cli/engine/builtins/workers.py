"""`engine::workers::list`, `info` and `register` (protocol.md 3.4-3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import iii_cli
from iii_cli.engine.builtins.functions import function_row
from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, Struct, may, must
from iii_cli.engine.builtins.triggers import binding_row, type_row
from iii_cli.engine.call import Call, Refusal
from iii_cli.engine.worker import DEFAULT_NAMESPACE, Announcement, Worker, clean

if TYPE_CHECKING:
    from iii_cli.engine.sessions import Sessions
    from iii_cli.engine.state import EngineState
    from iii_cli.engine.triggers import TriggerTable

__all__ = ("ENGINE_NAME", "WorkerBuiltins")

ENGINE_NAME = "engine"  # the in-process worker that owns the built-ins
CALLER = "_caller_worker_id"  # which the engine itself puts into every object, so an array lacks it (14.11)

_TELEMETRY = Struct("WorkerConnectionTelemetryMeta", (may("language"), may("project_name"), may("framework")))


class WorkerBuiltins:
    """What workers can know about workers, and how they say who they are."""

    def __init__(self, state: EngineState, triggers: TriggerTable, sessions: Sessions) -> None:
        self._state = state
        self._triggers = triggers
        self._sessions = sessions

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        return (
            Builtin(
                "engine::workers::list",
                "List the connected workers",
                (may("search"), may("runtime"), may("status")),
                self._list,
            ),
            Builtin(
                "engine::workers::info",
                "Describe a worker and what it offers",
                (must("name"), may("namespace")),
                self._info,
            ),
            Builtin(
                "engine::workers::register",
                "Announce the calling worker",
                (
                    must(CALLER),
                    may("runtime"),
                    may("version"),
                    may("name"),
                    may("description"),
                    may("os"),
                    may("telemetry", _TELEMETRY),
                    may("pid", Kind.COUNT),
                    may("isolation"),
                    may("namespace"),
                ),
                self._register,
            ),
        )

    def _register(self, call: Call, given: Given) -> Any:
        namespace = given["namespace"]
        if namespace is not None and not namespace.strip():
            raise Refusal("INVALID_NAMESPACE", "namespace must not be blank")
        del given[CALLER]
        given["name"] = clean(given["name"]) or None
        given["description"] = clean(given["description"])
        return {"success": self._sessions.announce(call.caller, Announcement(**given), call.now)}

    def _list(self, call: Call, given: Given) -> Any:
        rows = [self._engine_row()]
        rows += [
            _row(worker) for worker in self._state.registry.workers.values() if worker.about.pid is not None
        ]
        search = (given["search"] or "").lower()
        chosen = [
            row
            for row in rows
            if search in (row["name"] or "").lower()
            and given["runtime"] in (None, row["runtime"])
            and given["status"] in (None, row["status"])
        ]
        return {"workers": sorted(chosen, key=lambda row: (row["name"] or "", row["id"]))}

    def _info(self, call: Call, given: Given) -> Any:
        name, namespace = given["name"], given["namespace"]
        if name == ENGINE_NAME and namespace in (None, DEFAULT_NAMESPACE):
            return self._detail(None, self._engine_row() | {"internal": True})
        worker = self._find(name, namespace)
        if worker is None:
            raise Refusal("NOT_FOUND", f"Worker '{name}' is not connected.")
        row = _row(worker)
        if worker.about.pid is not None:
            row["pid"] = worker.about.pid
        return self._detail(worker, row | {"internal": False})

    def _find(self, name: str, namespace: str | None) -> Worker | None:
        """Without a namespace: the default one first, else the only one that has the name."""
        registry = self._state.registry
        called = {
            home: worker for (home, _), worker in registry.names.items() if worker.name == name
        }  # what it was called before is reserved, and nobody's
        if namespace is None:
            namespace = next(iter(called)) if len(called) == 1 else DEFAULT_NAMESPACE
        return called.get(namespace)

    def _detail(self, owner: Worker | None, row: dict[str, Any]) -> dict[str, Any]:
        find = self._state.registry.find
        return {
            "worker": row,
            "functions": [
                function_row(function)
                for function in self._state.registry.functions()
                if function.owner is owner
            ],
            "trigger_types": [type_row(kind) for kind in self._triggers.types() if kind.provider is owner],
            "registered_triggers": [
                binding_row(binding, self._state)
                for binding in self._triggers.bindings()
                if (target := find(binding.namespace, binding.function_id)) and target.owner is owner
            ],
        }

    def _engine_row(self) -> dict[str, Any]:
        own = sum(1 for function in self._state.registry.functions() if function.owner is None)
        return {
            "id": ENGINE_NAME,
            "name": ENGINE_NAME,
            "namespace": DEFAULT_NAMESPACE,
            "description": "The engine itself",
            "version": iii_cli.__version__,
            "runtime": "engine",
            "os": None,
            "status": "available",
            "function_count": own,
            "connected_at_ms": self._state.started_at // 1_000_000,
            "active_invocations": 0,
            "isolation": "in-process",
            "ip_address": None,
        }


def _row(worker: Worker) -> dict[str, Any]:
    about = worker.about
    return {
        "id": worker.id,
        "name": about.name,
        "namespace": worker.namespace,
        "description": about.description,
        "version": about.version,
        "runtime": about.runtime,
        "os": about.os,
        "status": "connected",
        "function_count": len(worker.functions),
        "connected_at_ms": worker.connected_at // 1_000_000,
        "active_invocations": worker.active_invocations,
        "isolation": about.isolation,
        "ip_address": worker.ip,
    }
