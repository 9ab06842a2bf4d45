"""What `iii trigger` does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iii_cli.client.call import call, send_void
from iii_cli.commands.common import mark_used
from iii_cli.commands.outcome import print_document
from iii_cli.commands.trigger.order import check_each, prepare
from iii_cli.commands.trigger.trace import say_trace
from iii_cli.errors import ContentDiffers, ExitStatus, Failure, FunctionFailed, Interrupted, UsageProblem
from iii_cli.protocol.messages import InvokeFunction, Void
from iii_cli.protocol.payload import masked, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from iii_cli.commands.trigger.order import Invocation, TriggerOptions

__all__ = ("trigger",)

REGISTERED_IN = " It is registered in namespace(s): "  # the engine's words (protocol.md 2.5)


def trigger(ctx: typer.Context, options: TriggerOptions) -> int:
    """Make the call that was typed, or say what it would be, or what the function is for.

    Returns 0, or with `--exit-code` the `exit_code` of the result.
    """
    if options.help_wanted:
        from iii_cli.commands.trigger.help import show_function_help

        show_function_help(ctx, options)
        return ExitStatus.DONE
    if options.void:
        _check_void(options)
    check_each(options)
    invocation = prepare(ctx, options)
    if options.dry_run:
        print_document(masked(_payload(invocation, options)))
        return ExitStatus.DONE
    if not options.trace:
        return _make(invocation, options)
    assert invocation.traceparent is not None
    try:
        status = _make(invocation, options)
    except Interrupted:
        raise
    except Failure:
        say_trace(invocation.settings, invocation.traceparent)
        raise
    say_trace(invocation.settings, invocation.traceparent)
    return status


def _make(invocation: Invocation, options: TriggerOptions) -> int:
    if options.each:
        from iii_cli.commands.trigger.each import call_for_each

        call_for_each(invocation, options)
        return ExitStatus.DONE
    if options.void:
        _send(invocation)
        return ExitStatus.DONE
    with_streams = options.streams.wanted or options.streams.result is not None
    result = _stream(invocation, options) if with_streams else _call(invocation, options.form)
    return _exit_code(result) if options.exit_code else ExitStatus.DONE


def _check_void(options: TriggerOptions) -> None:
    if options.form != "pretty" or options.exit_code or options.streams.result is not None:
        raise UsageProblem("--void has no result, so --format, --result and --exit-code say nothing")
    if options.streams.wanted:
        raise UsageProblem("--void does not wait, so nothing can be streamed")


def _payload(invocation: Invocation, options: TriggerOptions) -> Any:
    if not options.streams.wanted:
        return invocation.payload
    from iii_cli.commands.trigger.streams import stream_payload

    return stream_payload(invocation, options)


def _stream(invocation: Invocation, options: TriggerOptions) -> Any:
    from iii_cli.commands.trigger.streams import call_with_streams

    with _spending(invocation):
        return call_with_streams(invocation, options)


def _send(invocation: Invocation) -> None:
    request = InvokeFunction.of(
        invocation.function_id,
        invocation.payload,
        action=Void(),
        metadata=invocation.metadata,
        namespace=invocation.namespace,
        traceparent=invocation.traceparent,
    )
    send_void(invocation.settings.endpoint, request, timeout=invocation.timeout, whole=invocation.whole)
    _spend(invocation)


def _call(invocation: Invocation, form: str) -> Any:
    with _spending(invocation), _redacting(invocation.payload):
        result = call(
            invocation.settings.endpoint,
            invocation.function_id,
            invocation.payload,
            namespace=invocation.namespace,
            timeout=invocation.timeout,
            whole=invocation.whole,
            metadata=invocation.metadata,
            traceparent=invocation.traceparent,
        )
    print_document(result, form)
    return result


@contextmanager
def _redacting(payload: Any) -> Iterator[None]:
    try:
        yield
    except FunctionFailed as failure:
        raise redacted(failure, payload) from None


@contextmanager
def _spending(invocation: Invocation) -> Iterator[None]:
    """The refs are spent when the function had them in its hands: it answered, good or bad."""
    try:
        yield
    except FunctionFailed as failure:
        if failure.exit_status in (ExitStatus.FAILED, ExitStatus.UNCONFIRMED):
            _spend(invocation)
        if failure.exit_status == ExitStatus.UNKNOWN:
            raise failure.with_hint(_meant(invocation, failure)) from None
        raise
    _spend(invocation)


def _meant(invocation: Invocation, failure: FunctionFailed) -> str | None:
    """What to do about a name that the engine does not know. An extra call, on the way to an error only."""
    _, _, elsewhere = failure.remote_message.partition(REGISTERED_IN)
    if elsewhere:
        from shlex import quote

        namespace, *more = elsewhere.rstrip(".").split(", ")
        return f"try `-n {quote(namespace)}`" + (", or another of those" if more else "")
    from iii_cli.commands.common import meant_function
    from iii_cli.config.store import did_you_mean

    return did_you_mean(meant_function(invocation.settings, invocation.function_id))


def _spend(invocation: Invocation) -> None:
    for given in invocation.given:
        mark_used(given)


def _exit_code(result: Any) -> int:
    """The `exit_code` of a result that has one, as programs run by functions leave it.

    Raises ContentDiffers for a number that no program ends with: it must not look like a success.
    """
    code = result.get("exit_code") if isinstance(result, dict) else None
    if not isinstance(code, (int, float)) or isinstance(code, bool):
        return ExitStatus.DONE
    if code not in range(256):
        raise ContentDiffers("the `exit_code` of the result is not an exit code from 0 to 255")
    return int(code)
