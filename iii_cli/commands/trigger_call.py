"""What `iii trigger` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.client.call import call, send_void
from iii_cli.commands.given_ref import mark_used
from iii_cli.commands.outcome import print_document
from iii_cli.commands.trigger_order import prepare
from iii_cli.errors import ExitStatus, FunctionFailed, UsageProblem
from iii_cli.wire.messages import InvokeFunction, Void
from iii_cli.wire.payload import masked

if TYPE_CHECKING:
    import typer

    from iii_cli.commands.trigger_order import Invocation, TriggerOptions

__all__ = ("trigger",)


def trigger(ctx: typer.Context, options: TriggerOptions) -> None:
    """Make the call that was typed, or say what it would be, or what the function is for."""
    if options.help_wanted:
        from iii_cli.commands.trigger_help import show_function_help

        return show_function_help(ctx, options)
    if options.void and options.form != "pretty":
        raise UsageProblem("--void has no result, so there is no --format for it")
    invocation = prepare(ctx, options)
    if options.dry_run:
        print_document(masked(invocation.payload))
    elif options.void:
        _send(invocation)
    else:
        _call(invocation, options.form)
    return None


def _send(invocation: Invocation) -> None:
    request = InvokeFunction(
        function_id=invocation.function_id,
        data=invocation.payload,
        action=Void(),
        metadata=invocation.metadata,
        namespace=invocation.namespace,
    )
    send_void(invocation.settings.endpoint, request, timeout=invocation.timeout)
    _spend(invocation)


def _call(invocation: Invocation, form: str) -> None:
    try:
        result = call(
            invocation.settings.endpoint,
            invocation.function_id,
            invocation.payload,
            namespace=invocation.namespace,
            timeout=invocation.timeout,
            metadata=invocation.metadata,
        )
    except FunctionFailed as failure:
        if failure.exit_status == ExitStatus.FAILED:
            _spend(invocation)
        if failure.exit_status == ExitStatus.UNKNOWN:
            failure.hint = _meant(invocation)
        raise
    _spend(invocation)
    print_document(result, form)


def _meant(invocation: Invocation) -> str | None:
    """What to do about a name that the engine does not know. An extra call, on the way to an error only."""
    from iii_cli.commands.suggesting import meant_function

    meant = meant_function(invocation.settings, invocation.function_id)
    return f"did you mean {meant!r}?" if meant else None


def _spend(invocation: Invocation) -> None:
    """The function had the refs in its hands."""
    for given in invocation.given:
        mark_used(given)
