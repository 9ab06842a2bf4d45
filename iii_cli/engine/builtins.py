"""The engine's own functions (docs: protocol, "Built-in functions"). They live in the default namespace.

One function here for each: its input as a struct, which is also the schema that `functions info` shows, and
what it answers. To add one, write both and decorate the function with its id and description.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct, field, structs

import iii_cli
from iii_cli.engine.channels import TooManyChannels
from iii_cli.engine.model import (
    DEFAULT_NAMESPACE,
    LATER,
    Announcement,
    Binding,
    Call,
    Function,
    LogRecord,
    Refusal,
    TriggerType,
    Worker,
    worker_name,
)
from iii_cli.engine.registry import function_row
from iii_cli.engine.spans import SERVICE, context_of, read_baggage
from iii_cli.protocol.json_text import render
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iii_cli.engine.core import Core
    from iii_cli.engine.model import Span

__all__ = ("builtin_functions",)

ENGINE_NAME = "engine"  # the in-process worker that owns the built-ins
IDS_MAX = 32  # of one batch of functions::info
SUMMARY_MAX = 80  # characters of a config in a listing
SPANS_LISTED = 100  # where the caller does not say
NAME_MAX = 280  # characters of a worker's name or description
SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17}

Count = Annotated[int, Meta(ge=0)]


class _Builtin(NamedTuple):
    id: str
    description: str
    shape: type[Struct]
    answer: Callable[[Core, Call, Any], Any]


_BUILTINS: list[_Builtin] = []


def _builtin(
    function_id: str, description: str, shape: type[Struct]
) -> Callable[[Callable[[Core, Call, Any], Any]], Callable[[Core, Call, Any], Any]]:
    """Register what answers `engine::FUNCTION_ID`. It may raise Refusal, and return LATER."""

    def register(answer: Callable[[Core, Call, Any], Any]) -> Callable[[Core, Call, Any], Any]:
        _BUILTINS.append(_Builtin(f"engine::{function_id}", description, shape, answer))
        return answer

    return register


def builtin_functions(core: Core) -> Iterator[Function]:
    """All of them, for an engine's core."""
    for builtin in _BUILTINS:
        schema, run = _schema_of(builtin.shape), partial(_run, core, builtin)
        yield Function(builtin.id, description=builtin.description, request_schema=schema, run=run)


@cache
def _schema_of(shape: type[Struct]) -> dict[str, Any]:
    """Its JSON Schema. That an optional field may also be null goes without saying."""
    schema = msgspec.json.schema_components([shape])[1][shape.__name__]
    parts = {name: part.get("anyOf", [part])[0] for name, part in schema["properties"].items()}
    parts = {name: {"type": "object"} if "$ref" in part else part for name, part in parts.items()}
    return {"type": "object", "properties": parts, "required": schema["required"]}


def _run(core: Core, builtin: _Builtin, call: Call) -> Any:
    """Read the input strictly and answer. An array in the order of the fields is as good as an object."""
    data, names = call.data, builtin.shape.__struct_encode_fields__
    if isinstance(data, list):
        data = dict(zip(names, data, strict=False)) if len(data) <= len(names) else None
    try:
        given = msgspec.convert(data, builtin.shape)
    except msgspec.ValidationError as error:
        text = f"Failed to deserialize input for {builtin.id}: {error}"
        raise Refusal("deserialization_error", text) from None
    return builtin.answer(core, call, given)


class _Nothing(Struct):
    """No input."""


# Channels


class _CreateChannel(Struct):
    buffer_size: Count | None = None


@_builtin("channels::create", "Create a channel and return the refs of its two ends", _CreateChannel)
def _create_channel(core: Core, call: Call, given: _CreateChannel) -> Any:
    span = call.invocation.span
    trace = None if span is None else context_of(span)
    try:
        channel = core.channels.create(given.buffer_size, call.now, trace)
    except TooManyChannels as error:
        core.notice("channel refused", worker=call.caller.id, reason=str(error))
        raise Refusal("channel_limit_reached", str(error)) from None
    core.notice("channel created", channel=channel.id, buffer=channel.limit, worker=call.caller.id)
    return {
        "writer": channel.ref(Direction.WRITE).to_json(),
        "reader": channel.ref(Direction.READ).to_json(),
    }


# Functions


class _ListFunctions(Struct):
    search: str | None = None
    prefix: str | None = None
    worker: str | None = None
    workers: list[str] | None = None
    include_internal: bool | None = None


@_builtin("functions::list", "List the functions that can be invoked", _ListFunctions)
def _list_functions(core: Core, call: Call, given: _ListFunctions) -> Any:
    names = {*(given.workers or ()), *([] if given.worker is None else [given.worker])}
    search = (given.search or "").lower()
    found = [
        function
        for function in core.registry.functions()
        if (given.include_internal or not _is_internal(function))
        and function.id.startswith(given.prefix or "")
        and (not names or worker_name(function.owner, function.id) in names)
        and (not search or _rank(function, search) is not None)
    ]
    if search:
        found.sort(key=lambda function: _rank(function, search) or 0)
    return {"functions": [function_row(function) for function in found]}


def _is_internal(function: Function) -> bool:
    if function.id.startswith("engine::") and not function.id.startswith("engine::queue::"):
        return True
    return isinstance(function.metadata, dict) and function.metadata.get("internal") is True


def _rank(function: Function, search: str) -> int | None:
    """How well the function answers the search, 0 best; None: not at all."""
    function_id = function.id.lower()
    if function_id.startswith(search) or search in function_id.split("::"):
        return 0
    if search in function_id:
        return 1
    return 2 if search in (function.description or "").lower() else None


class _DescribeFunctions(Struct):
    function_id: str | None = None
    function_ids: list[str] | None = None
    namespace: str | None = None


@_builtin("functions::info", "Describe one function, or several", _DescribeFunctions)
def _describe_functions(core: Core, call: Call, given: _DescribeFunctions) -> Any:
    one, several = given.function_id, given.function_ids
    if (one is None) == (several is None):
        raise Refusal("INVALID_ARGUMENTS", "Provide exactly one of `function_id` or `function_ids`.")
    if one is not None:
        function = _find_function(core, one, given.namespace)
        if function is None:
            raise Refusal("NOT_FOUND", f"Function '{one}' is not registered.")
        return _function_detail(core, function)
    ids = list(dict.fromkeys(several or ()))
    if not 1 <= len(ids) <= IDS_MAX:
        raise Refusal("INVALID_ARGUMENTS", f"`function_ids` must hold 1 to {IDS_MAX} ids.")
    details = []
    for function_id in ids:
        function = _find_function(core, function_id, given.namespace)
        missing = {"function_id": function_id, "error": "not_found"}
        details.append(missing if function is None else _function_detail(core, function))
    return {"functions": details}


def _find_function(core: Core, function_id: str, namespace: str | None) -> Function | None:
    """Without a namespace: the default one first, else the only one that has it."""
    if namespace is None:
        homes = core.registry.namespaces_of(function_id)
        namespace = homes[0] if len(homes) == 1 else DEFAULT_NAMESPACE
    return core.registry.find(namespace, function_id)


def _function_detail(core: Core, function: Function) -> dict[str, Any]:
    detail = function_row(function)
    if function.request_schema is not None:
        detail["request_schema"] = function.request_schema
    if function.response_schema is not None:
        detail["response_schema"] = function.response_schema
    detail["registered_triggers"] = [
        {"id": binding.id, "trigger_type": binding.type_id, "config": binding.config}
        for binding in core.triggers.bindings()
        if binding.function_id == function.id and binding.namespace == function.namespace
    ]
    return detail


# Workers


class _ListWorkers(Struct):
    search: str | None = None
    runtime: str | None = None
    status: str | None = None


@_builtin("workers::list", "List the connected workers", _ListWorkers)
def _list_workers(core: Core, call: Call, given: _ListWorkers) -> Any:
    workers = core.registry.workers.values()
    rows = [_engine_row(core), *(_worker_row(worker) for worker in workers if worker.about.pid is not None)]
    search = (given.search or "").lower()
    chosen = [
        row
        for row in rows
        if search in (row["name"] or "").lower()
        and given.runtime in (None, row["runtime"])
        and given.status in (None, row["status"])
    ]
    return {"workers": sorted(chosen, key=lambda row: (row["name"] or "", row["id"]))}


class _DescribeWorker(Struct):
    name: str
    namespace: str | None = None


@_builtin("workers::info", "Describe a worker and what it offers", _DescribeWorker)
def _describe_worker(core: Core, call: Call, given: _DescribeWorker) -> Any:
    if given.name == ENGINE_NAME and given.namespace in (None, DEFAULT_NAMESPACE):
        return _worker_detail(core, None, _engine_row(core) | {"internal": True})
    called = {  # what a worker was called before is reserved, and nobody's
        home: worker for (home, _), worker in core.registry.names.items() if worker.about.name == given.name
    }
    # Without a namespace: the only one that has the name, else the default one.
    namespace = given.namespace
    if namespace is None:
        namespace = next(iter(called)) if len(called) == 1 else DEFAULT_NAMESPACE
    worker = called.get(namespace)
    if worker is None:
        raise Refusal("NOT_FOUND", f"Worker '{given.name}' is not connected.")
    pid = {} if worker.about.pid is None else {"pid": worker.about.pid}
    return _worker_detail(core, worker, _worker_row(worker) | pid | {"internal": False})


def _worker_detail(core: Core, owner: Worker | None, row: dict[str, Any]) -> dict[str, Any]:
    find = core.registry.find
    return {
        "worker": row,
        "functions": [function_row(each) for each in core.registry.functions() if each.owner is owner],
        "trigger_types": [_type_row(kind) for kind in core.triggers.types() if kind.provider is owner],
        "registered_triggers": [
            _binding_row(core, binding)
            for binding in core.triggers.bindings()
            if (target := find(binding.namespace, binding.function_id)) and target.owner is owner
        ],
    }


def _engine_row(core: Core) -> dict[str, Any]:
    return {
        "id": ENGINE_NAME,
        "name": ENGINE_NAME,
        "namespace": DEFAULT_NAMESPACE,
        "description": "The engine itself",
        "version": iii_cli.__version__,
        "runtime": "engine",
        "os": None,
        "status": "available",
        "function_count": len(_BUILTINS),
        "connected_at_ms": core.started_at // 1_000_000,
        "active_invocations": 0,
        "isolation": "in-process",
        "ip_address": None,
    }


def _worker_row(worker: Worker) -> dict[str, Any]:
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
        "active_invocations": len(worker.calling) + len(worker.executing),
        "isolation": about.isolation,
        "ip_address": worker.ip,
    }


class _Telemetry(Struct):
    language: str | None = None
    project_name: str | None = None
    framework: str | None = None


class _Register(Announcement, frozen=True, kw_only=True):
    # The engine itself puts it into every object, so an array lacks it.
    caller: str = field(name="_caller_worker_id")
    telemetry: _Telemetry | None = None
    pid: Count | None = None


@_builtin("workers::register", "Announce the calling worker", _Register)
def _register_worker(core: Core, call: Call, given: _Register) -> Any:
    if given.namespace is not None and not given.namespace.strip():
        raise Refusal("INVALID_NAMESPACE", "namespace must not be blank")
    name, description = _clean(given.name) or None, _clean(given.description)
    about = structs.replace(given, name=name, description=description, telemetry=None)  # read, but not kept
    return {"success": core.announce(call.caller, about, call.now)}


# Control and bidirectional characters: what could make a name look like another one in a terminal.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _clean(text: str | None) -> str | None:
    """A name or description as the engine keeps it."""
    return None if text is None else _UNWANTED.sub("", text)[:NAME_MAX]


# Triggers


class _ListTriggerTypes(Struct):
    search: str | None = None
    prefix: str | None = None
    worker: str | None = None
    include_internal: bool | None = None


@_builtin("triggers::list", "List the trigger types", _ListTriggerTypes)
def _list_trigger_types(core: Core, call: Call, given: _ListTriggerTypes) -> Any:
    search = (given.search or "").lower()
    rows = [
        _type_row(kind)
        for kind in core.triggers.types()
        if (given.include_internal or not kind.id.startswith("engine::"))
        and kind.id.startswith(given.prefix or "")
        and given.worker in (None, worker_name(kind.provider, kind.id))
        and (search in kind.id.lower() or search in kind.description.lower())
    ]
    return {"triggers": rows}


class _DescribeTriggerType(Struct):
    id: str
    namespace: str | None = None


@_builtin("triggers::info", "Describe a trigger type", _DescribeTriggerType)
def _describe_trigger_type(core: Core, call: Call, given: _DescribeTriggerType) -> Any:
    kind = core.triggers.find_type(given.namespace or DEFAULT_NAMESPACE, given.id)
    if kind is None:
        raise Refusal("NOT_FOUND", f"Trigger type '{given.id}' is not registered.")
    return _type_detail(core, kind)


def _type_row(kind: TriggerType) -> dict[str, Any]:
    return {
        "id": kind.id,
        "namespace": kind.namespace,
        "worker_name": worker_name(kind.provider, kind.id),
        "description": kind.description,
    }


def _type_detail(core: Core, kind: TriggerType) -> dict[str, Any]:
    detail = _type_row(kind)
    if kind.configuration_schema is not None:
        detail["configuration_schema"] = kind.configuration_schema
    if kind.request_schema is not None:
        detail["request_schema"] = kind.request_schema
    detail["instance_count"] = sum(1 for binding in core.triggers.bindings() if binding.type is kind)
    return detail


class _ListTriggers(Struct):
    search: str | None = None
    trigger_type: str | None = None
    function_id: str | None = None
    worker: str | None = None
    include_internal: bool | None = None


@_builtin("registered-triggers::list", "List what is bound to triggers", _ListTriggers)
def _list_triggers(core: Core, call: Call, given: _ListTriggers) -> Any:
    search = (given.search or "").lower()
    rows = [
        _binding_row(core, binding)
        for binding in core.triggers.bindings()
        if given.trigger_type in (None, binding.type_id)
        and given.function_id in (None, binding.function_id)
        and (given.include_internal or not binding.function_id.startswith("engine::"))
        and any(search in text.lower() for text in (binding.id, binding.type_id, binding.function_id))
    ]
    return {"registered_triggers": [row for row in rows if given.worker in (None, row["worker_name"])]}


class _DescribeTrigger(Struct):
    id: str


@_builtin("registered-triggers::info", "Describe one registered trigger", _DescribeTrigger)
def _describe_trigger(core: Core, call: Call, given: _DescribeTrigger) -> Any:
    binding = core.triggers.find_binding(given.id)
    if binding is None:
        raise Refusal("NOT_FOUND", f"Trigger '{given.id}' is not registered.")
    detail = _binding_row(core, binding)
    del detail["config_summary"]  # the list has it, this has not
    if binding.metadata is not None:
        detail["metadata"] = binding.metadata
    function = core.registry.find(binding.namespace, binding.function_id)
    detail["trigger"] = None if binding.type is None else _type_detail(core, binding.type)
    detail["function"] = None if function is None else _function_detail(core, function)
    return detail


def _binding_row(core: Core, binding: Binding) -> dict[str, Any]:
    """The worker is the one that has the function."""
    function = core.registry.find(binding.namespace, binding.function_id)
    config = render(binding.config)
    return {
        "id": binding.id,
        "trigger_type": binding.type_id,
        "function_id": binding.function_id,
        "worker_name": worker_name(function.owner if function else None, binding.function_id),
        "config": binding.config,
        "config_summary": config if len(config) <= SUMMARY_MAX else f"{config[:SUMMARY_MAX]}…",
    }


class _RegisterTrigger(Struct):
    trigger_type: str
    function_id: str
    config: Any = None
    metadata: Any = None
    trigger_namespace: str | None = None


@_builtin(
    "register_trigger", "Bind a function to a trigger, for as long as the engine runs", _RegisterTrigger
)
def _register_trigger(core: Core, call: Call, given: _RegisterTrigger) -> Any:
    home, settings = given.trigger_namespace, core.settings
    if home is not None and not home.strip():
        raise Refusal("INVALID_NAMESPACE", "namespace must not be blank")
    if len(core.triggers.bindings()) >= settings.max_registrations:
        raise Refusal("trigger_registration_failed", "the engine has as many triggers as it takes")
    binding = Binding(
        core.new_id(),
        given.trigger_type,
        given.function_id,
        given.config,
        given.metadata,
        DEFAULT_NAMESPACE,
        (call.caller.namespace, DEFAULT_NAMESPACE) if home is None else (home,),
        owner=None,
    )
    core.triggers.bind(binding)
    if binding.type is None or binding.type.provider is None:
        return {"id": binding.id}
    core.triggers.wait_for_provider(binding, call.invocation, call.now + settings.trigger_answer_max)
    return LATER


class _UnregisterTrigger(Struct):
    id: str
    trigger_type: str | None = None


@_builtin("unregister_trigger", "Remove a registered trigger", _UnregisterTrigger)
def _unregister_trigger(core: Core, call: Call, given: _UnregisterTrigger) -> Any:
    binding = core.triggers.find_binding(given.id)
    if binding is None or given.trigger_type not in (None, binding.type_id):
        return {"removed": False}
    core.triggers.unbind(binding)
    return {"removed": True}


# Logs


class _Log(Struct):
    message: str
    data: Any = None
    trace_id: str | None = None
    span_id: str | None = None
    service_name: str | None = None


def _log(level: str, core: Core, call: Call, given: _Log) -> None:
    data = given.data
    attributes = data if isinstance(data, dict) else {} if data is None else {"data": data}
    record = LogRecord(
        call.now,
        call.now,
        SEVERITIES[level],
        level.upper(),
        given.message,
        attributes,
        given.trace_id,
        given.span_id,
        given.service_name or "unknown",
        {"service.name": SERVICE},
    )
    core.logs.add(record, len(given.message) + len(render(attributes)))
    core.notice("log", level=level, message=given.message[:200], worker=call.caller.id)


for _level in SEVERITIES:
    _builtin(f"log::{_level}", f"Log a line at level {_level}", _Log)(partial(_log, _level))


class _ListLogs(Struct):
    trace_id: str | None = None
    span_id: str | None = None
    severity_min: Count | None = None
    severity_text: str | None = None
    start_time: Count | None = None
    end_time: Count | None = None
    offset: Count | None = None
    limit: Count | None = None


@_builtin("logs::list", "Look up log records", _ListLogs)
def _list_logs(core: Core, call: Call, given: _ListLogs) -> Any:
    found = [record for record in core.logs if _log_matches(record, given)]
    start = given.offset or 0
    stop = None if given.limit is None else start + given.limit
    return {
        "logs": found[start:stop],
        "total": len(found),
        "query": structs.asdict(given),
        "timestamp": call.now // 1_000_000,
    }


def _log_matches(record: LogRecord, given: _ListLogs) -> bool:
    moment = record.timestamp_unix_nano // 1_000_000
    return (
        given.trace_id in (None, record.trace_id)
        and given.span_id in (None, record.span_id)
        and record.severity_number >= (given.severity_min or 0)
        and (given.severity_text is None or given.severity_text.upper() == record.severity_text)
        and moment >= (given.start_time or 0)
        and (given.end_time is None or moment <= given.end_time)
    )


@_builtin("logs::clear", "Forget the log records", _Nothing)
def _clear_logs(core: Core, call: Call, given: _Nothing) -> Any:
    core.logs.clear()
    return {"success": True}


# Traces


class _ListSpans(Struct):
    trace_id: str | None = None
    trace_ids: list[str] | None = None
    service_name: str | None = None
    name: str | None = None
    status: str | None = None
    min_duration_ms: float | None = None
    max_duration_ms: float | None = None
    start_time: Count | None = None
    end_time: Count | None = None
    attributes: list[tuple[str, str]] | None = None
    exclude_attributes: list[tuple[str, str]] | None = None
    include_internal: bool | None = None
    search_all_spans: bool | None = None
    sort_by: str | None = None
    sort_order: str | None = None
    offset: Count | None = None
    limit: Count | None = None


@_builtin("traces::list", "Look up spans", _ListSpans)
def _list_spans(core: Core, call: Call, given: _ListSpans) -> Any:
    spans = list(core.spans)
    if not given.search_all_spans:
        known = {span.span_id for span in spans}
        spans = [span for span in spans if span.parent_span_id not in known]
    found = [span for span in spans if _span_matches(span, given)]
    key = _SORT_KEYS.get(given.sort_by or "start_time", _SORT_KEYS["start_time"])
    found.sort(key=key, reverse=(given.sort_order or "desc") == "desc")
    offset = given.offset or 0
    limit = SPANS_LISTED if given.limit is None else given.limit
    return {
        "spans": found[offset : offset + limit],
        "total": len(found),
        "offset": offset,
        "limit": limit,
        "storage": _storage(core),
    }


_SORT_KEYS: dict[str, Callable[[Span], Any]] = {
    "start_time": lambda span: span.start_time_unix_nano,
    "duration": lambda span: span.end_time_unix_nano - span.start_time_unix_nano,
    "name": lambda span: span.name,
}


def _span_matches(span: Span, given: _ListSpans) -> bool:
    duration = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    moment = span.start_time_unix_nano // 1_000_000
    return (
        given.trace_id in (None, span.trace_id)
        and (not given.trace_ids or span.trace_id in given.trace_ids)
        and given.service_name in (None, SERVICE)
        and (given.name or "").lower() in span.name.lower()
        and (given.status is None or given.status.lower() == span.status)
        and duration >= (given.min_duration_ms or 0)
        and (given.max_duration_ms is None or duration <= given.max_duration_ms)
        and moment >= (given.start_time or 0)
        and (given.end_time is None or moment <= given.end_time)
        and all(pair in span.attributes for pair in given.attributes or ())
        and not any(pair in span.attributes for pair in given.exclude_attributes or ())
    )


class _ShowTrace(Struct):
    trace_id: str


@_builtin("traces::tree", "The spans of one trace, nested", _ShowTrace)
def _show_trace(core: Core, call: Call, given: _ShowTrace) -> Any:
    return {"roots": core.spans.tree(given.trace_id), "storage": _storage(core)}


@_builtin("traces::clear", "Forget the finished spans", _Nothing)
def _clear_spans(core: Core, call: Call, given: _Nothing) -> Any:
    core.spans.finished.clear()
    return {"success": True}


def _storage(core: Core) -> dict[str, Any]:
    dropped = core.spans.finished.dropped
    return {
        "archive": "disabled",
        "completeness": "partial" if dropped else "complete",
        "known_dropped_spans": dropped,
        "last_error": None,
        "max_disk_bytes": 0,
        "physical_bytes": 0,
    }


# Health and baggage


@_builtin("health::check", "Say how the engine is", _Nothing)
def _check_health(core: Core, call: Call, given: _Nothing) -> Any:
    limits = {  # what only this engine has, and `iii doctor` shows
        "open_channels": len(core.channels),
        "max_channels": core.settings.max_channels,
        "buffered_bytes": core.channels.buffered_bytes,
        "max_buffer_bytes": core.settings.max_buffer_bytes,
        "max_connections": core.settings.max_connections,
    }
    components: dict[str, Any] = dict.fromkeys(("otel", "metrics", "logs", "spans"), _healthy({}))
    return {
        "status": "healthy",
        "version": iii_cli.__version__,
        "timestamp": call.now // 1_000_000,
        "components": components | {"embedded": _healthy(limits)},
    }


def _healthy(details: dict[str, int]) -> dict[str, Any]:
    return {"status": "healthy", "details": details}


class _GetBaggage(Struct):
    key: str


@_builtin("baggage::get", "Read one baggage entry", _GetBaggage)
def _get_baggage(core: Core, call: Call, given: _GetBaggage) -> Any:
    return {"value": read_baggage(call.invocation.baggage).get(given.key)}


class _SetBaggage(Struct):
    key: str
    value: str


@_builtin("baggage::set", "Set a baggage entry", _SetBaggage)
def _set_baggage(core: Core, call: Call, given: _SetBaggage) -> Any:
    return {"success": True, "note": "baggage is set for this call only; pass it on with your invocations"}


@_builtin("baggage::get_all", "Read all baggage", _Nothing)
def _get_all_baggage(core: Core, call: Call, given: _Nothing) -> Any:
    return {"baggage": read_baggage(call.invocation.baggage)}
