"""What workers can know about triggers, and the durable ones (protocol.md 3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.builtins.functions import function_detail
from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, may, must
from iii_cli.engine.call import LATER, Call, Refusal
from iii_cli.engine.triggers import Binding, TriggerType
from iii_cli.engine.worker import DEFAULT_NAMESPACE
from iii_cli.protocol.messages import render

if TYPE_CHECKING:
    from iii_cli.engine.state import EngineState
    from iii_cli.engine.triggers import TriggerTable

__all__ = ("TriggerBuiltins", "binding_row", "type_row")

SUMMARY_MAX = 80  # characters of a config in a listing


class TriggerBuiltins:
    """Types, bindings, and bindings that outlive their worker."""

    def __init__(self, state: EngineState, triggers: TriggerTable) -> None:
        self._state = state
        self._triggers = triggers

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        internal = may("include_internal", Kind.BOOL)
        return (
            Builtin(
                "engine::triggers::list",
                "List the trigger types",
                (may("search"), may("prefix"), may("worker"), internal),
                self._list_types,
            ),
            Builtin(
                "engine::triggers::info",
                "Describe a trigger type",
                (must("id"), may("namespace")),
                self._type_info,
            ),
            Builtin(
                "engine::registered-triggers::list",
                "List what is bound to triggers",
                (may("search"), may("trigger_type"), may("function_id"), may("worker"), internal),
                self._list_bindings,
            ),
            Builtin(
                "engine::registered-triggers::info",
                "Describe one registered trigger",
                (must("id"),),
                self._binding_info,
            ),
            Builtin(
                "engine::register_trigger",
                "Bind a function to a trigger, for as long as the engine runs",
                (
                    must("trigger_type"),
                    must("function_id"),
                    may("config", Kind.ANY),
                    may("metadata", Kind.ANY),
                    may("trigger_namespace"),
                ),
                self._register,
            ),
            Builtin(
                "engine::unregister_trigger",
                "Remove a registered trigger",
                (must("id"), may("trigger_type")),
                self._unregister,
            ),
        )

    def _list_types(self, call: Call, given: Given) -> Any:
        search = (given["search"] or "").lower()
        rows = [
            type_row(kind)
            for kind in self._triggers.types()
            if (given["include_internal"] or not kind.id.startswith("engine::"))
            and kind.id.startswith(given["prefix"] or "")
            and given["worker"] in (None, kind.worker_name)
            and (search in kind.id.lower() or search in kind.description.lower())
        ]
        return {"triggers": rows}

    def _type_info(self, call: Call, given: Given) -> Any:
        kind = self._triggers.find_type(given["namespace"] or DEFAULT_NAMESPACE, given["id"])
        if kind is None:
            raise Refusal("NOT_FOUND", f"Trigger type '{given['id']}' is not registered.")
        return self._type_detail(kind)

    def _type_detail(self, kind: TriggerType) -> dict[str, Any]:
        detail = type_row(kind)
        for name in ("configuration_schema", "request_schema", "response_schema"):
            schema = getattr(kind, name, None)
            if schema is not None:
                detail[name] = schema
        detail["instance_count"] = sum(1 for binding in self._triggers.bindings() if binding.type is kind)
        return detail

    def _list_bindings(self, call: Call, given: Given) -> Any:
        search = (given["search"] or "").lower()
        rows = [
            binding_row(binding, self._state)
            for binding in self._triggers.bindings()
            if given["trigger_type"] in (None, binding.type_id)
            and given["function_id"] in (None, binding.function_id)
            and (given["include_internal"] or not binding.function_id.startswith("engine::"))
            and any(search in text.lower() for text in (binding.id, binding.type_id, binding.function_id))
        ]
        return {"registered_triggers": [row for row in rows if given["worker"] in (None, row["worker_name"])]}

    def _binding_info(self, call: Call, given: Given) -> Any:
        binding = self._triggers.find_binding(given["id"])
        if binding is None:
            raise Refusal("NOT_FOUND", f"Trigger '{given['id']}' is not registered.")
        detail = binding_row(binding, self._state)
        del detail["config_summary"]  # the list has it, this has not (14.15)
        if binding.metadata is not None:
            detail["metadata"] = binding.metadata
        function = self._state.registry.find(binding.namespace, binding.function_id)
        detail["trigger"] = None if binding.type is None else self._type_detail(binding.type)
        detail["function"] = None if function is None else function_detail(function, self._triggers)
        return detail

    def _register(self, call: Call, given: Given) -> Any:
        namespace = given["trigger_namespace"]
        if namespace is not None and not namespace.strip():
            raise Refusal("INVALID_NAMESPACE", "namespace must not be blank")
        settings = self._state.settings
        if sum(1 for _ in self._triggers.bindings()) >= settings.max_registrations:
            raise Refusal("trigger_registration_failed", "the engine has as many triggers as it takes")
        homes = (call.caller.namespace, DEFAULT_NAMESPACE) if namespace is None else (namespace,)
        binding = Binding(
            self._state.new_id(),
            given["trigger_type"],
            given["function_id"],
            given["config"],
            given["metadata"],
            DEFAULT_NAMESPACE,
            homes,
            owner=None,
        )
        self._triggers.bind(binding)
        if binding.type is None or binding.type.provider is None:
            return {"id": binding.id}
        due_at = call.now + settings.trigger_answer_max
        self._triggers.wait_for_provider(binding, call.invocation, due_at)
        return LATER

    def _unregister(self, call: Call, given: Given) -> Any:
        binding = self._triggers.find_binding(given["id"])
        if binding is None or given["trigger_type"] not in (None, binding.type_id):
            return {"removed": False}
        self._triggers.unbind(binding)
        return {"removed": True}


def type_row(kind: TriggerType) -> dict[str, Any]:
    """A row of the types."""
    return {
        "id": kind.id,
        "namespace": kind.namespace,
        "worker_name": kind.worker_name,
        "description": kind.description,
    }


def binding_row(binding: Binding, state: EngineState) -> dict[str, Any]:
    """A row of the bindings. The worker is the one that has the function."""
    function = state.registry.find(binding.namespace, binding.function_id)
    config = render(binding.config)
    return {
        "id": binding.id,
        "trigger_type": binding.type_id,
        "function_id": binding.function_id,
        "worker_name": function.worker_name if function else binding.function_id.split("::", 1)[0],
        "config": binding.config,
        "config_summary": config if len(config) <= SUMMARY_MAX else f"{config[:SUMMARY_MAX]}…",
    }
