"""`engine::functions::list` and `engine::functions::info` (protocol.md 3.2, 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, may
from iii_cli.engine.call import Call, Refusal
from iii_cli.engine.worker import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from iii_cli.engine.registry import Function
    from iii_cli.engine.state import EngineState
    from iii_cli.engine.triggers import TriggerTable

__all__ = ("FunctionBuiltins", "all_functions", "function_detail", "function_row")

IDS_MAX = 32  # of one batch


class FunctionBuiltins:
    """What workers can know about functions."""

    def __init__(self, state: EngineState, triggers: TriggerTable) -> None:
        self._state = state
        self._triggers = triggers

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        return (
            Builtin(
                "engine::functions::list",
                "List the functions that can be invoked",
                (
                    may("search"),
                    may("prefix"),
                    may("worker"),
                    may("workers", Kind.STRINGS),
                    may("include_internal", Kind.BOOL),
                ),
                self._list,
            ),
            Builtin(
                "engine::functions::info",
                "Describe one function, or several",
                (may("function_id"), may("function_ids", Kind.STRINGS), may("namespace")),
                self._info,
            ),
        )

    def _list(self, call: Call, given: Given) -> Any:
        names = set(given["workers"] or ())
        if given["worker"] is not None:
            names.add(given["worker"])
        search = (given["search"] or "").lower()
        found = [
            function
            for function in self._state.registry.functions()
            if (given["include_internal"] or not function.internal)
            and function.id.startswith(given["prefix"] or "")
            and (not names or function.worker_name in names)
            and (not search or _rank(function, search) is not None)
        ]
        if search:
            found.sort(key=lambda function: _rank(function, search) or 0)
        return {"functions": [function_row(function) for function in found]}

    def _info(self, call: Call, given: Given) -> Any:
        one, several = given["function_id"], given["function_ids"]
        if (one is None) == (several is None):
            raise Refusal("INVALID_ARGUMENTS", "Provide exactly one of `function_id` or `function_ids`.")
        if one is not None:
            function = self._find(one, given["namespace"])
            if function is None:
                raise Refusal("NOT_FOUND", f"Function '{one}' is not registered.")
            return function_detail(function, self._triggers)
        ids = list(dict.fromkeys(several))
        if not 1 <= len(ids) <= IDS_MAX:
            raise Refusal("INVALID_ARGUMENTS", f"`function_ids` must hold 1 to {IDS_MAX} ids.")
        return {"functions": [self._detail_or_error(each, given["namespace"]) for each in ids]}

    def _detail_or_error(self, function_id: str, namespace: str | None) -> dict[str, Any]:
        function = self._find(function_id, namespace)
        if function is None:
            return {"function_id": function_id, "error": "not_found"}
        return function_detail(function, self._triggers)

    def _find(self, function_id: str, namespace: str | None) -> Function | None:
        """Without a namespace: the default one first, else the only one that has it."""
        registry = self._state.registry
        if namespace is not None:
            return registry.find(namespace, function_id)
        homes = registry.namespaces_of(function_id)
        if DEFAULT_NAMESPACE in homes:
            return registry.find(DEFAULT_NAMESPACE, function_id)
        return registry.find(homes[0], function_id) if len(homes) == 1 else None


def all_functions(state: EngineState) -> list[dict[str, Any]]:
    """A row for every function there is, built-ins and internal ones too."""
    return [function_row(function) for function in state.registry.functions()]


def function_row(function: Function) -> dict[str, Any]:
    """A row of the list. Unset fields are left out."""
    row: dict[str, Any] = {
        "function_id": function.id,
        "namespace": function.namespace,
        "worker_name": function.worker_name,
    }
    if function.description is not None:
        row["description"] = function.description
    if function.metadata is not None:
        row["metadata"] = function.metadata
    return row


def function_detail(function: Function, triggers: TriggerTable) -> dict[str, Any]:
    """The object of `info`."""
    detail = function_row(function)
    if function.request_schema is not None:
        detail["request_schema"] = function.request_schema
    if function.response_schema is not None:
        detail["response_schema"] = function.response_schema
    detail["registered_triggers"] = [
        {"id": binding.id, "trigger_type": binding.type_id, "config": binding.config}
        for binding in triggers.bindings()
        if binding.function_id == function.id and binding.namespace == function.namespace
    ]
    return detail


def _rank(function: Function, search: str) -> int | None:
    """How well the function answers the search, 0 best; None: not at all."""
    function_id = function.id.lower()
    if function_id.startswith(search) or search in function_id.split("::"):
        return 0
    if search in function_id:
        return 1
    return 2 if search in (function.description or "").lower() else None
