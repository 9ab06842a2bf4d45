"""`iii doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import flags_of

__all__ = ("doctor_app",)

doctor_app = typer.Typer()


@doctor_app.command(name="doctor")
def doctor_command(
    ctx: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Look at the engine, the settings and this machine, and say what to do about what is not fine.

    Which engine and where its URL comes from, its version, latency and clock, the namespace, where the token
    is kept, TLS, which `iii` comes first on PATH, limits, saved files, shell completion. Changes nothing.
    Takes five seconds at most, whatever --connect-timeout and --wait-engine say.

    Piped, it is a line for each finding: level, check, what was found, and what to do, between tabs. The exit
    status is that of the gravest problem: 3 without an engine, 4 where it does not let us in, 10 for a
    damaged file; notes and warnings are 0.

    \b
    Examples:
      iii doctor
      iii doctor --json | jq -r '.findings[] | select(.level != "ok").advice'
    """
    from iii_cli.commands.doctor.checkup import examine_everything

    examine_everything(flags_of(ctx), as_json=json)
