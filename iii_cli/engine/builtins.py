"""The engine's own functions (docs: protocol, "Built-in functions"). They live in the default namespace.

One function here for each. Its keyword arguments are the input, which is also the schema that `functions
info` shows. To add one, write it and decorate it with its id and description.
"""

# Without the annotations of the future, which are strings: the inputs are made of them.

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

import iii_cli
from iii_cli.engine.channels import TooManyChannels
from iii_cli.engine.core import LATER, Call, Core, Refusal
from iii_cli.engine.model import (
    BLANK_NAMESPACE,
    DEFAULT_NAMESPACE,
    Announcement,
    Binding,
    Function,
    Span,
    TriggerType,
    Worker,
    is_blank,
    worker_name,
)
from iii_cli.engine.registry import function_row
from iii_cli.engine.spans import SERVICE, context_of, read_baggage
from iii_cli.protocol.json_text import render
from iii_cli.protocol.messages import RegisterFunction, RegisterTrigger
from iii_cli.protocol.refs import Direction, Secret

__all__ = ("builtin_functions",)

ENGINE_NAME = "engine"  # the in-process worker that owns the built-ins
IDS_MAX = 32  # of one batch of functions::info
SUMMARY_MAX = 80  # characters of a config in a listing
SPANS_LISTED = 100  # where the caller does not say
NAME_MAX = 280  # characters of a worker's name or description
SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17}

Count = Annotated[int, Meta(ge=0)]
Answer = Callable[..., Any]  # of a call and its input; may raise Refusal, and return LATER

_BUILTINS: list[tuple[str, str, type[Struct], Answer]] = []


def _builtin(function_id: str, description: str) -> Callable[[Answer], Answer]:
    """Register what answers `engine::FUNCTION_ID`."""

    def register(answer: Answer) -> Answer:
        kinds, defaults = answer.__annotations__, answer.__kwdefaults__ or {}
        names = [name for name in kinds if name not in ("call", "return")]
        fields = [(name, kinds[name], *([defaults[name]] if name in defaults else [])) for name in names]
        shape = msgspec.defstruct("Input", fields, kw_only=True)
        _BUILTINS.append((f"engine::{function_id}", description, shape, answer))
        return answer

    return register


def builtin_functions() -> Iterator[Function]:
    """All of them, for an engine's core."""
    for function_id, description, shape, answer in _BUILTINS:
        schema, run = _schema_of(shape), partial(_run, function_id, shape, answer)
        yield Function(RegisterFunction(function_id, description, request_format=schema), run=run)


def _schema_of(shape: type[Struct]) -> dict[str, Any]:
    """Its JSON Schema. That an optional field may also be null goes without saying."""
    schema = msgspec.json.schema_components([shape])[1]["Input"]
    parts = {name: part.get("anyOf", [part])[0] for name, part in schema["properties"].items()}
    parts = {name: {"type": "object"} if "$ref" in part else part for name, part in parts.items()}
    return {"type": "object", "properties": parts, "required": schema["required"]}


def _run(function_id: str, shape: type[Struct], answer: Answer, call: Call) -> Any:
    """Read the input strictly and answer. An array in the order of the fields is as good as an object."""
    data, names = call.data, shape.__struct_fields__
    if isinstance(data, list):
        data = dict(zip(names, data, strict=False)) if len(data) <= len(names) else None
    try:
        given = msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        text = f"Failed to deserialize input for {function_id}: {error}"
        raise Refusal("deserialization_error", text) from None
    call.data = fields = msgspec.structs.asdict(given)
    return answer(call, **fields)


def _known(**fields: Any) -> dict[str, Any]:
    """The fields that are set: an answer leaves the others out."""
    return {name: value for name, value in fields.items() if value is not None}


# Channels


@_builtin("channels::create", "Create a channel and return the refs of its two ends")
def _create_channel(call: Call, *, buffer_size: Count | None = None) -> Any:
    core, span = call.core, call.invocation.span
    trace = None if span is None else context_of(span)
    try:
        channel = core.channels.create(buffer_size, call.now, trace)
    except TooManyChannels as error:
        core.notice("channel refused", worker=call.caller.id, reason=str(error))
        raise Refusal("channel_limit_reached", str(error)) from None
    core.notice("channel created", channel=channel.id, buffer=channel.limit, worker=call.caller.id)
    return {end.noun: channel.ref(end).to_json() for end in (Direction.WRITE, Direction.READ)}


# Functions


@_builtin("functions::list", "List the functions that can be invoked")
def _list_functions(
    call: Call,
    *,
    search: str | None = None,
    prefix: str | None = None,
    worker: str | None = None,
    workers: list[str] | None = None,
    include_internal: bool | None = None,
) -> Any:
    names = {*(workers or ()), *([] if worker is None else [worker])}
    search = (search or "").lower()
    found = [
        function
        for function in call.core.registry.functions()
        if (include_internal or not _is_internal(function))
        and function.id.startswith(prefix or "")
        and (not names or worker_name(function.owner, function.id) in names)
        and (not search or _rank(function, search) is not None)
    ]
    if search:
        found.sort(key=lambda function: _rank(function, search) or 0)
    return {"functions": [function_row(function) for function in found]}


def _is_internal(function: Function) -> bool:
    if function.id.startswith("engine::") and not function.id.startswith("engine::queue::"):
        return True
    return isinstance(function.about.metadata, dict) and function.about.metadata.get("internal") is True


def _rank(function: Function, search: str) -> int | None:
    """How well the function answers the search, 0 best; None: not at all."""
    function_id = function.id.lower()
    if function_id.startswith(search) or search in function_id.split("::"):
        return 0
    if search in function_id:
        return 1
    return 2 if search in (function.about.description or "").lower() else None


@_builtin("functions::info", "Describe one function, or several")
def _describe_functions(
    call: Call,
    *,
    function_id: str | None = None,
    function_ids: list[str] | None = None,
    namespace: str | None = None,
) -> Any:
    if (function_id is None) == (function_ids is None):
        raise Refusal("INVALID_ARGUMENTS", "Provide exactly one of `function_id` or `function_ids`.")
    ids = [function_id] if function_id is not None else list(dict.fromkeys(function_ids or ()))
    if not 1 <= len(ids) <= IDS_MAX:
        raise Refusal("INVALID_ARGUMENTS", f"`function_ids` must hold 1 to {IDS_MAX} ids.")
    details: list[dict[str, Any]] = []
    for each in ids:
        # Without a namespace: the only one that has it, else the default one.
        homes = call.core.registry.namespaces_of(each)
        home = homes[0] if len(homes) == 1 else DEFAULT_NAMESPACE
        function = call.core.registry.find(home if namespace is None else namespace, each)
        if function is not None:
            details.append(_function_detail(call.core, function))
        elif function_id is not None:
            raise Refusal("NOT_FOUND", f"Function '{each}' is not registered.")
        else:
            details.append({"function_id": each, "error": "not_found"})
    return {"functions": details} if function_id is None else details[0]


def _function_detail(core: Core, function: Function) -> dict[str, Any]:
    about = function.about
    schemas = _known(request_schema=about.request_format, response_schema=about.response_format)
    keys = ("id", "trigger_type", "config")
    triggers = [
        {key: getattr(binding.about, key) for key in keys}
        for binding in core.triggers.bindings()
        if binding.about.function_id == function.id and binding.namespace == function.namespace
    ]
    return function_row(function) | schemas | {"registered_triggers": triggers}


# Workers


@_builtin("workers::list", "List the connected workers")
def _list_workers(
    call: Call, *, search: str | None = None, runtime: str | None = None, status: str | None = None
) -> Any:
    workers = call.core.registry.workers.values()
    rows = [_engine_row(call.core), *(_worker_row(each) for each in workers if each.about.pid is not None)]
    search = (search or "").lower()
    chosen = [
        row
        for row in rows
        if search in (row["name"] or "").lower()
        and runtime in (None, row["runtime"])
        and status in (None, row["status"])
    ]
    return {"workers": sorted(chosen, key=lambda row: (row["name"] or "", row["id"]))}


@_builtin("workers::info", "Describe a worker and what it offers")
def _describe_worker(call: Call, *, name: str, namespace: str | None = None) -> Any:
    core = call.core
    if name == ENGINE_NAME and namespace in (None, DEFAULT_NAMESPACE):
        return _worker_detail(core, None, _engine_row(core) | {"internal": True})
    called = {  # what a worker was called before is reserved, and nobody's
        home: worker for (home, _), worker in core.registry.names.items() if worker.about.name == name
    }
    # Without a namespace: the only one that has the name, else the default one.
    if namespace is None:
        namespace = next(iter(called)) if len(called) == 1 else DEFAULT_NAMESPACE
    worker = called.get(namespace)
    if worker is None:
        raise Refusal("NOT_FOUND", f"Worker '{name}' is not connected.")
    row = _worker_row(worker) | _known(pid=worker.about.pid) | {"internal": False}
    return _worker_detail(core, worker, row)


def _worker_detail(core: Core, owner: Worker | None, row: dict[str, Any]) -> dict[str, Any]:
    find = core.registry.find
    return {
        "worker": row,
        "functions": [function_row(each) for each in core.registry.functions() if each.owner is owner],
        "trigger_types": [_type_row(kind) for kind in core.triggers.types() if kind.provider is owner],
        "registered_triggers": [
            _binding_row(core, binding)
            for binding in core.triggers.bindings()
            if (target := find(binding.namespace, binding.about.function_id)) and target.owner is owner
        ],
    }


def _engine_row(core: Core) -> dict[str, Any]:
    about = Announcement(
        ENGINE_NAME,
        runtime="engine",
        version=iii_cli.__version__,
        description="The engine itself",
        isolation="in-process",
    )
    engine = Worker(0, ENGINE_NAME, Secret(""), "", core.started_at, about=about)
    own = {"status": "available", "function_count": len(_BUILTINS), "ip_address": None}
    return _worker_row(engine) | own


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


@_builtin("workers::register", "Announce the calling worker")
def _register_worker(
    call: Call,
    *,
    name: str | None = None,
    namespace: str | None = None,
    runtime: str | None = None,
    version: str | None = None,
    description: str | None = None,
    os: str | None = None,
    pid: Count | None = None,
    isolation: str | None = None,
    _caller_worker_id: str,  # the engine itself puts it into every object, so an array lacks it
    telemetry: _Telemetry | None = None,  # read, but not kept
) -> Any:
    if is_blank(namespace):
        raise Refusal(*BLANK_NAMESPACE)
    name, description = _clean(name) or None, _clean(description)
    about = Announcement(name, namespace, runtime, version, description, os, pid, isolation)
    return {"success": call.core.announce(call.caller, about, call.now)}


# Control and bidirectional characters: what could make a name look like another one in a terminal.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _clean(text: str | None) -> str | None:
    """A name or description as the engine keeps it."""
    return None if text is None else _UNWANTED.sub("", text)[:NAME_MAX]


# Triggers


@_builtin("triggers::list", "List the trigger types")
def _list_trigger_types(
    call: Call,
    *,
    search: str | None = None,
    prefix: str | None = None,
    worker: str | None = None,
    include_internal: bool | None = None,
) -> Any:
    search = (search or "").lower()
    rows = [
        _type_row(kind)
        for kind in call.core.triggers.types()
        if (include_internal or not kind.about.id.startswith("engine::"))
        and kind.about.id.startswith(prefix or "")
        and worker in (None, worker_name(kind.provider, kind.about.id))
        and (search in kind.about.id.lower() or search in kind.about.description.lower())
    ]
    return {"triggers": rows}


@_builtin("triggers::info", "Describe a trigger type")
def _describe_trigger_type(call: Call, *, id: str, namespace: str | None = None) -> Any:
    kind = call.core.triggers.find_type(namespace or DEFAULT_NAMESPACE, id)
    if kind is None:
        raise Refusal("NOT_FOUND", f"Trigger type '{id}' is not registered.")
    return _type_detail(call.core, kind)


def _type_row(kind: TriggerType) -> dict[str, Any]:
    return {
        "id": kind.about.id,
        "namespace": kind.namespace,
        "worker_name": worker_name(kind.provider, kind.about.id),
        "description": kind.about.description,
    }


def _type_detail(core: Core, kind: TriggerType) -> dict[str, Any]:
    about = kind.about
    schemas = _known(
        configuration_schema=about.trigger_request_format, request_schema=about.call_request_format
    )
    count = sum(1 for binding in core.triggers.bindings() if binding.type is kind)
    return _type_row(kind) | schemas | {"instance_count": count}


@_builtin("registered-triggers::list", "List what is bound to triggers")
def _list_triggers(
    call: Call,
    *,
    search: str | None = None,
    trigger_type: str | None = None,
    function_id: str | None = None,
    worker: str | None = None,
    include_internal: bool | None = None,
) -> Any:
    search = (search or "").lower()
    rows = [
        row
        for row in (_binding_row(call.core, binding) for binding in call.core.triggers.bindings())
        if trigger_type in (None, row["trigger_type"])
        and function_id in (None, row["function_id"])
        and worker in (None, row["worker_name"])
        and (include_internal or not row["function_id"].startswith("engine::"))
        and any(search in row[key].lower() for key in ("id", "trigger_type", "function_id"))
    ]
    return {"registered_triggers": rows}


@_builtin("registered-triggers::info", "Describe one registered trigger")
def _describe_trigger(call: Call, *, id: str) -> Any:
    core = call.core
    binding = core.triggers.find_binding(id)
    if binding is None:
        raise Refusal("NOT_FOUND", f"Trigger '{id}' is not registered.")
    detail = _binding_row(core, binding) | _known(metadata=binding.about.metadata)
    del detail["config_summary"]  # the list has it, this has not
    function = core.registry.find(binding.namespace, binding.about.function_id)
    detail["trigger"] = None if binding.type is None else _type_detail(core, binding.type)
    detail["function"] = None if function is None else _function_detail(core, function)
    return detail


def _binding_row(core: Core, binding: Binding) -> dict[str, Any]:
    """The worker is the one that has the function."""
    about = binding.about
    function = core.registry.find(binding.namespace, about.function_id)
    config = render(about.config)
    return {
        "id": about.id,
        "trigger_type": about.trigger_type,
        "function_id": about.function_id,
        "worker_name": worker_name(function.owner if function else None, about.function_id),
        "config": about.config,
        "config_summary": config if len(config) <= SUMMARY_MAX else f"{config[:SUMMARY_MAX]}…",
    }


@_builtin("register_trigger", "Bind a function to a trigger, for as long as the engine runs")
def _register_trigger(
    call: Call,
    *,
    trigger_type: str,
    function_id: str,
    config: Any = None,
    metadata: Any = None,
    trigger_namespace: str | None = None,
) -> Any:
    core = call.core
    if is_blank(trigger_namespace):
        raise Refusal(*BLANK_NAMESPACE)
    if len(core.triggers.bindings()) >= core.settings.max_registrations:
        raise Refusal("trigger_registration_failed", "the engine has as many triggers as it takes")
    about = RegisterTrigger(core.new_id(), trigger_type, function_id, config, metadata)
    binding = Binding(about, call.caller.homes(trigger_namespace))
    core.triggers.bind(binding)
    if binding.type is None or binding.type.provider is None:
        return {"id": about.id}
    core.triggers.wait_for_provider(binding, call.invocation, call.now + core.settings.trigger_answer_max)
    return LATER


@_builtin("unregister_trigger", "Remove a registered trigger")
def _unregister_trigger(call: Call, *, id: str, trigger_type: str | None = None) -> Any:
    binding = call.core.triggers.find_binding(id)
    if binding is None or trigger_type not in (None, binding.about.trigger_type):
        return {"removed": False}
    call.core.triggers.unbind(binding)
    return {"removed": True}


# Logs


def _logs_at(level: str) -> None:
    @_builtin(f"log::{level}", f"Log a line at level {level}")
    def log(
        call: Call,
        *,
        message: str,
        data: Any = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        service_name: str | None = None,
    ) -> None:
        attributes = data if isinstance(data, dict) else _known(data=data)
        record = {
            "timestamp_unix_nano": call.now,
            "observed_timestamp_unix_nano": call.now,
            "severity_number": SEVERITIES[level],
            "severity_text": level.upper(),
            "body": message,
            "attributes": attributes,
            "trace_id": trace_id,
            "span_id": span_id,
            "service_name": service_name or "unknown",
            "resource": {"service.name": SERVICE},
        }
        call.core.logs.add(record, len(message) + len(render(attributes)))
        call.core.notice("log", level=level, message=message[:200], worker=call.caller.id)


for _level in SEVERITIES:
    _logs_at(_level)


@_builtin("logs::list", "Look up log records")
def _list_logs(
    call: Call,
    *,
    trace_id: str | None = None,
    span_id: str | None = None,
    severity_min: Count | None = None,
    severity_text: str | None = None,
    start_time: Count | None = None,
    end_time: Count | None = None,
    offset: Count | None = None,
    limit: Count | None = None,
) -> Any:
    found = [
        record
        for record in call.core.logs
        if trace_id in (None, record["trace_id"])
        and span_id in (None, record["span_id"])
        and record["severity_number"] >= (severity_min or 0)
        and (severity_text is None or severity_text.upper() == record["severity_text"])
        and _within(record["timestamp_unix_nano"], start_time, end_time)
    ]
    start = offset or 0
    stop = None if limit is None else start + limit
    return {
        "logs": found[start:stop],
        "total": len(found),
        "query": call.data,
        "timestamp": call.now // 1_000_000,
    }


def _within(moment: int, start_ms: int | None, end_ms: int | None) -> bool:
    ms = moment // 1_000_000
    return ms >= (start_ms or 0) and (end_ms is None or ms <= end_ms)


@_builtin("logs::clear", "Forget the log records")
def _clear_logs(call: Call) -> Any:
    call.core.logs.clear()
    return {"success": True}


# Traces

_SORT_KEYS: dict[str | None, Callable[[Span], Any]] = {
    "start_time": lambda span: span.start_time_unix_nano,
    "duration": lambda span: span.end_time_unix_nano - span.start_time_unix_nano,
    "name": lambda span: span.name,
}


@_builtin("traces::list", "Look up spans")
def _list_spans(
    call: Call,
    *,
    trace_id: str | None = None,
    trace_ids: list[str] | None = None,
    service_name: str | None = None,
    name: str | None = None,
    status: str | None = None,
    min_duration_ms: float | None = None,
    max_duration_ms: float | None = None,
    start_time: Count | None = None,
    end_time: Count | None = None,
    attributes: list[tuple[str, str]] | None = None,
    exclude_attributes: list[tuple[str, str]] | None = None,
    include_internal: bool | None = None,
    search_all_spans: bool | None = None,
    sort_by: str | None = None,
    sort_order: str | None = None,
    offset: Count | None = None,
    limit: Count | None = None,
) -> Any:
    spans = list(call.core.spans)
    known = set() if search_all_spans else {span.span_id for span in spans}
    found = [
        span
        for span in spans
        if span.parent_span_id not in known
        and trace_id in (None, span.trace_id)
        and (not trace_ids or span.trace_id in trace_ids)
        and service_name in (None, SERVICE)
        and (name or "").lower() in span.name.lower()
        and (status is None or status.lower() == span.status)
        and (min_duration_ms or 0) <= (ms := _SORT_KEYS["duration"](span) / 1e6)
        and (max_duration_ms is None or ms <= max_duration_ms)
        and _within(span.start_time_unix_nano, start_time, end_time)
        and all(pair in span.attributes for pair in attributes or ())
        and not any(pair in span.attributes for pair in exclude_attributes or ())
    ]
    key = _SORT_KEYS.get(sort_by, _SORT_KEYS["start_time"])
    found.sort(key=key, reverse=(sort_order or "desc") == "desc")
    start, count = offset or 0, SPANS_LISTED if limit is None else limit
    return {
        "spans": found[start : start + count],
        "total": len(found),
        "offset": start,
        "limit": count,
        "storage": _storage(call.core),
    }


@_builtin("traces::tree", "The spans of one trace, nested")
def _show_trace(call: Call, *, trace_id: str) -> Any:
    return {"roots": call.core.spans.tree(trace_id), "storage": _storage(call.core)}


@_builtin("traces::clear", "Forget the finished spans")
def _clear_spans(call: Call) -> Any:
    call.core.spans.finished.clear()
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


@_builtin("health::check", "Say how the engine is")
def _check_health(call: Call) -> Any:
    channels, settings = call.core.channels, call.core.settings
    limits = {  # what only this engine has
        "open_channels": len(channels),
        "max_channels": settings.max_channels,
        "buffered_bytes": channels.buffered_bytes,
        "max_buffer_bytes": settings.max_buffer_bytes,
        "max_connections": settings.max_connections,
    }
    details = {"otel": {}, "metrics": {}, "logs": {}, "spans": {}, "embedded": limits}
    return {
        "status": "healthy",
        "version": iii_cli.__version__,
        "timestamp": call.now // 1_000_000,
        "components": {name: {"status": "healthy", "details": each} for name, each in details.items()},
    }


@_builtin("baggage::get", "Read one baggage entry")
def _get_baggage(call: Call, *, key: str) -> Any:
    return {"value": read_baggage(call.invocation.baggage).get(key)}


@_builtin("baggage::set", "Set a baggage entry")
def _set_baggage(call: Call, *, key: str, value: str) -> Any:
    return {"success": True, "note": "baggage is set for this call only; pass it on with your invocations"}


@_builtin("baggage::get_all", "Read all baggage")
def _get_all_baggage(call: Call) -> Any:
    return {"baggage": read_baggage(call.invocation.baggage)}
