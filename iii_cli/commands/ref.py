"""`iii ref`: channels saved by name."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from iii_cli.commands.common import flags_of, tell
from iii_cli.config.refspec import resolve_ref
from iii_cli.config.settings import GlobalFlags, engine_of
from iii_cli.config.store import ContextStore, SavedRef, SavedRefs, absolute
from iii_cli.errors import UsageProblem
from iii_cli.io.console import print_json, print_table, talk
from iii_cli.protocol.refs import Direction, EngineAddress
from iii_cli.quantities import format_duration

__all__ = ("ref_app",)

ref_app = typer.Typer(
    name="ref", no_args_is_help=True, rich_markup_mode=None, help="Keep the refs of channels by name."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name, with or without its @.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@ref_app.command()
def save(
    ctx: typer.Context,
    name: Name,
    ref: Annotated[
        str, typer.Argument(metavar="REF|-", help="A token, JSON, env:NAME, file:PATH, or - for stdin.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an unused one of that name.")] = False,
) -> None:
    """Save a ref that somebody handed over, with the engine that it belongs to.

    \b
    Examples:
      pbpaste | iii ref save backup -
      iii ref save backup file:/run/secrets/ref --url wss://engine.example
    """
    flags, store = flags_of(ctx), SavedRefs()
    store.check_free(_bare(name), force=force)
    given = resolve_ref(ref, None, environ=os.environ, store=store, stdin_free=True)
    engine, tls = engine_of(
        flags, os.environ, ContextStore(), engine_url=given.engine_url, engine_tls=given.engine_tls
    )
    known = store.load(given.saved_name) if given.saved_name else None
    store.save(
        SavedRef(
            name=_bare(name),
            channel_id=given.ref.channel_id,
            access_key=given.ref.access_key,
            engine_url=engine.full_url,
            created_at=known.created_at if known else store.now(),
            ends=(given.ref.direction,),
            buffer=known.buffer if known else None,
            tls=absolute(tls),
        ),
        force=force,
    )
    if given.in_argv and sys.stderr.isatty():
        _tell(flags, f"others can see that ref in `ps`; next time: iii ref save {_bare(name)} -")
    for notice in given.notices:
        _tell(flags, notice)


@ref_app.command()
def ls(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the saved refs: unused, used or expired. A day after its creation one is forgotten.

    \b
    Examples:
      iii ref ls
      iii ref ls --json | jq -r '.[] | select(.state == "unused").name'
    """
    store = SavedRefs()
    found, problems = store.ls()
    now = store.now()
    if as_json:
        print_json([_described(saved, now) for saved in found])
    else:
        header = ("NAME", "STATE", "WRITER", "READER", "AGE", "ENGINE")
        print_table(header, [_row(saved, now) for saved in found])
    for problem in problems[1:]:
        talk.problem(problem)
    if problems:
        raise problems[0]


@ref_app.command()
def show(
    ctx: typer.Context,
    name: Name,
    as_json: AsJson = False,
    end: Annotated[
        str | None, typer.Option("--end", metavar="writer|reader", help="Only this end's token.")
    ] = None,
) -> None:
    """Print the tokens of a saved ref, to hand over. They are secrets: whoever has one can open both ends.

    \b
    Examples:
      iii ref show backup --end reader | ssh host iii channel read - -o db.sql
      iii ref show backup --json | jq .reader
    """
    store = SavedRefs()
    saved = store.load(_bare(name))
    wanted = saved.ends if end is None else (_end(saved, end),)
    if as_json:
        refs = {direction.noun: saved.ref(direction).to_json() for direction in wanted}
        print_json(refs if end is None else refs[wanted[0].noun])
    elif end is not None:
        sys.stdout.write(saved.ref(wanted[0]).to_token() + "\n")
    else:
        for direction in wanted:
            sys.stdout.write(f"{direction.noun}\t{saved.ref(direction).to_token()}\n")
    if (state := saved.state(store.now())) != "unused":
        how = "was used already" if state == "used" else "has expired"
        _tell(flags_of(ctx), f"this ref {how}; `iii channel create --save {saved.name}` makes a new one")


@ref_app.command()
def rm(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="With or without @.")]) -> None:
    """Forget saved refs. The channels themselves stay until the engine sweeps them away.

    \b
    Examples:
      iii ref rm backup
      iii ref ls --json | jq -r '.[] | select(.state != "unused").name' | xargs -r iii ref rm
    """
    SavedRefs().remove([_bare(name) for name in names])


def _tell(flags: GlobalFlags, notice: str) -> None:
    if not flags.quiet:
        tell(notice)


def _bare(name: str) -> str:
    return name.removeprefix("@")


def _end(saved: SavedRef, noun: str) -> Direction:
    for direction in Direction:
        if direction.noun == noun:
            if direction in saved.ends:
                return direction
            raise UsageProblem(
                f"the saved ref {saved.name!r} has no {noun}: only its {saved.ends[0].noun} was saved"
            )
    raise UsageProblem("--end is reader or writer")


def _described(saved: SavedRef, now: float) -> dict[str, Any]:
    """What `ls --json` says of one. No key."""
    ends = {
        direction.noun: saved.state(now, direction) if direction in saved.ends else None
        for direction in (Direction.WRITE, Direction.READ)
    }
    return {
        "name": saved.name,
        "state": saved.state(now),
        **ends,
        "channel_id": saved.channel_id,
        "buffer": saved.buffer,
        "created_at": datetime.fromtimestamp(saved.created_at, UTC).isoformat(timespec="seconds"),
        "engine": EngineAddress.parse(saved.engine_url).url,
    }


def _row(saved: SavedRef, now: float) -> tuple[str, ...]:
    told = _described(saved, now)
    age = format_duration(saved.age(now))
    return (saved.name, told["state"], told["writer"] or "-", told["reader"] or "-", age, told["engine"])
