"""What is kept by name: `iii ref`, channels; `iii context`, engines."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from iii_cli.commands.common import AsJson, choice, flags_of, tell
from iii_cli.config.refspec import resolve_ref
from iii_cli.config.settings import ChosenEngine, GlobalFlags, address_of
from iii_cli.config.store import (
    CONTEXT_KEYS,
    Context,
    ContextStore,
    SavedRef,
    SavedRefs,
    absolute,
    checked_token_source,
    read_secret_stdin,
    token_of,
)
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.io.console import console, print_json, print_table
from iii_cli.protocol.refs import Direction, EngineAddress, Secret, TlsFiles
from iii_cli.quantities import format_duration

__all__ = ("context_app", "ref_app")

ref_app = typer.Typer(no_args_is_help=True, help="Keep the refs of channels by name.")
context_app = typer.Typer(no_args_is_help=True, help="Manage saved engines (contexts).")

RefName = Annotated[str, typer.Argument(metavar="NAME", help="The name, with or without its @.")]


@ref_app.command("save")
def ref_save(
    ctx: typer.Context,
    name: RefName,
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
    name, store = name.removeprefix("@"), SavedRefs()
    store.check_free(name, force=force)
    given = resolve_ref(ref, None, environ=os.environ, store=store, stdin_free=True)
    engine = ChosenEngine(flags_of(ctx), os.environ, ContextStore(), given)
    known = store.load(given.saved_name) if given.saved_name else None
    saved = SavedRef(
        name=name,
        channel_id=given.ref.channel_id,
        access_key=given.ref.access_key,
        engine_url=engine.address.full_url,
        created_at=known.created_at if known else store.now(),
        ends=(given.ref.direction,),
        buffer=known.buffer if known else None,
        tls=absolute(engine.tls()),
    )
    store.save(saved, force=force)
    if given.in_argv and sys.stderr.isatty():
        tell(f"this ref is visible in `ps`; next time: iii ref save {name} -")
    for notice in given.notices:
        tell(notice)


@ref_app.command("ls")
def ref_ls(as_json: AsJson = False) -> None:
    """List the saved refs: unused, used or expired. A day after its creation one is forgotten.

    \b
    Examples:
      iii ref ls
      iii ref ls --json | jq -r '.[] | select(.state == "unused").name'
    """
    store = SavedRefs()
    found, problems = store.ls()
    now = store.now()
    described = [_described_ref(saved, now) for saved in found]
    if as_json:
        print_json(described)
    else:
        header = ("NAME", "STATE", "WRITER", "READER", "AGE", "ENGINE")
        ages = {saved.name: format_duration(saved.age(now)) for saved in found}
        rows = [each | {"age": ages[each["name"]]} for each in described]
        print_table(header, [[row[key.lower()] or "-" for key in header] for row in rows])
    _report(problems)


@ref_app.command("show")
def ref_show(
    name: RefName,
    as_json: AsJson = False,
    end: Annotated[
        str | None, typer.Option("--end", metavar="writer|reader", help="Only the token of this end.")
    ] = None,
) -> None:
    """Print the tokens of a saved ref, to hand over. They are secrets: a holder of one can open both ends.

    \b
    Examples:
      iii ref show backup --end reader | ssh host iii channel read - -o db.sql
      iii ref show backup --json | jq .reader
    """
    store = SavedRefs()
    saved = store.load(name.removeprefix("@"))
    choice(end, "--end", ("reader", "writer"))
    wanted = [direction for direction in saved.ends if end in (None, direction.noun)]
    if not wanted:
        said = f"the saved ref {saved.name!r} has no {end}: only its {saved.ends[0].noun} was saved"
        raise UsageProblem(said)
    if as_json:
        refs = {direction.noun: saved.ref(direction).to_json() for direction in wanted}
        print_json(refs if end is None else refs[end])
    for direction in wanted if not as_json else ():
        label = f"{direction.noun}\t" if end is None else ""
        sys.stdout.write(f"{label}{saved.ref(direction).to_token()}\n")
    if (state := saved.state(store.now())) != "unused":
        how = "was used already" if state == "used" else "has expired"
        tell(f"this ref {how}; `iii channel create --save {saved.name}` makes a new one")


@ref_app.command("rm")
def ref_rm(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="With or without @.")]) -> None:
    """Forget saved refs. The channels themselves stay until the engine sweeps them away.

    \b
    Examples:
      iii ref rm backup
      iii ref ls --json | jq -r '.[] | select(.state != "unused").name' | xargs -r iii ref rm
    """
    SavedRefs().remove([name.removeprefix("@") for name in names])


@context_app.command("add")
def context_add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for --context and `use`.")],
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="ws://HOST:PORT or wss://HOST/PATH")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="SOURCE", help="Where the token is: env:NAME or file:PATH."),
    ] = None,
    use: Annotated[bool, typer.Option("--use", help="Make it the context in use.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a context of that name.")] = False,
) -> None:
    """Save an engine under a name, with the namespace, token source and TLS files given beside it.

    `--token-file FILE` remembers the file; `--token-file -` keeps the token itself in a 0600 file.

    \b
    Examples:
      iii context add local ws://localhost:49134 --use
      iii context add prod wss://engine.example --namespace orders --token env:PROD_TOKEN
    """
    flags, store = flags_of(ctx), ContextStore()
    source, secret = _token(flags, token)
    url = flags.url if url is None else url
    if url is None:
        raise UsageProblem("a context needs a URL", hint="iii context add NAME wss://HOST")
    if flags.namespace is not None and not flags.namespace.strip():
        raise UsageProblem("--namespace is blank", hint="name a namespace or leave it out")
    if flags.key is not None and flags.cert is None:
        raise UsageProblem("--key needs --cert")
    tls = absolute(TlsFiles(flags.cacert, flags.cert, flags.key, flags.server_name))
    store.save(Context(name, address_of(url), flags.namespace, source, tls), token=secret, force=force)
    if use:
        store.use(name)
        _tell_of_rivals()


@context_app.command("ls")
def context_ls(as_json: AsJson = False) -> None:
    """List the contexts; * marks the one in use.

    \b
    Examples:
      iii context ls
      iii context ls --json | jq -r '.[].name'
    """
    store = ContextStore()
    chosen = store.in_use()
    found, problems = store.ls()
    described = [_described_context(context, chosen) for context in found]
    if as_json:
        print_json(described)
    else:
        keys = ("name", "url", "namespace", "token")
        rows = [["*" if each["in_use"] else "", *(each[key] or "-" for key in keys)] for each in described]
        print_table(("", *map(str.upper, keys)), rows)
    _report(problems)


@context_app.command("use")
def context_use(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A saved context.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Use no context.")] = False,
) -> None:
    """Choose the context that commands use from now on.

    \b
    Examples:
      iii context use prod
      iii context use --none
    """
    if (name is None) is not none:
        raise UsageProblem("name a context, or --none", hint="`iii context ls` lists them")
    ContextStore().use(name)
    if name is not None:
        _tell_of_rivals()


@context_app.command("show")
def context_show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Default: the one in use.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one context. Its token is never shown, only where it is.

    \b
    Examples:
      iii context show
      iii context show prod --json | jq -r .url
    """
    store = ContextStore()
    chosen = store.in_use()
    wanted = chosen if name is None else name
    if wanted is None:
        raise UsageProblem("no context is in use", hint="name one; `iii context ls` lists them")
    described = _described_context(store.load(wanted), chosen)
    if as_json:
        print_json(described)
    else:
        shown = {key: value for key, value in described.items() if value is not None}
        shown["in_use"] = "yes" if shown["in_use"] else "no"
        print_table(("FIELD", "VALUE"), list(shown.items()))


@context_app.command("rm")
def context_rm(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Saved contexts.")],
) -> None:
    """Forget contexts, and the tokens that were kept for them.

    \b
    Examples:
      iii context rm staging
      iii context rm old older
    """
    ContextStore().remove(names)


def _report(problems: list[LocalProblem]) -> None:
    """Say every problem; the last word, and the exit status, is main's. Raises the first."""
    for other in problems[1:]:
        console.problem(other)
    if problems:
        raise problems[0]


def _described_ref(saved: SavedRef, now: float) -> dict[str, Any]:
    """What `ls --json` says of a saved ref. No key."""
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


def _described_context(context: Context, chosen: str | None) -> dict[str, Any]:
    """What `--json` says of a context. No token, and no query of the URL, which may hold one."""
    fields = context.fields() | {"url": context.address.url}
    return {"name": context.name, "in_use": context.name == chosen} | {k: fields.get(k) for k in CONTEXT_KEYS}


def _token(flags: GlobalFlags, source: str | None) -> tuple[str | None, Secret | None]:
    """Where the token is, and the token itself if it came on stdin."""
    if flags.headers:
        raise UsageProblem("a context keeps no headers", hint="give --header with each command")
    if source is not None and flags.token_file is not None:
        raise UsageProblem("--token and --token-file cannot be given together")
    if flags.token_file == "-":
        return None, token_of(read_secret_stdin(), "stdin")
    if flags.token_file is not None:
        return f"file:{os.path.abspath(flags.token_file)}", None
    if source is None:
        return None, None
    kind, _, place = checked_token_source(source).partition(":")
    return (f"file:{os.path.abspath(place)}" if kind == "file" else source), None


def _tell_of_rivals() -> None:
    """A person who chooses a context wonders why it is not used."""
    rivals = [name for name in ("III_URL", "III_CONTEXT") if os.environ.get(name)]
    if rivals:
        win = "win" if len(rivals) > 1 else "wins"
        tell(f"{' and '.join(rivals)} in the environment still {win} over the context in use")
