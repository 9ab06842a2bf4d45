"""`iii context`: engines by name."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from iii_cli.commands.common import flags_of, tell
from iii_cli.config.settings import GlobalFlags
from iii_cli.config.store import Context, ContextStore, checked_token_source, read_secret_stdin, token_of
from iii_cli.errors import UsageProblem
from iii_cli.io.console import print_json, print_table, talk
from iii_cli.protocol.refs import EngineAddress, MalformedAddress, Secret, TlsFiles

__all__ = ("context_app",)

context_app = typer.Typer(
    name="context", no_args_is_help=True, rich_markup_mode=None, help="Keep engines by name and choose one."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@context_app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For --context and `use`.")],
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
    context = Context(name, _address(url, flags), _namespace(flags), source, _tls(flags))
    store.save(context, token=secret, force=force)
    if use:
        store.use(name)
        _tell_of_rivals(flags)


@context_app.command()
def ls(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the contexts; * marks the one in use.

    \b
    Examples:
      iii context ls
      iii context ls --json | jq -r '.[].name'
    """
    store = ContextStore()
    chosen = store.in_use()
    found, problems = store.ls()
    if as_json:
        print_json([_described(context, chosen) for context in found])
    else:
        print_table(("", "NAME", "URL", "NAMESPACE", "TOKEN"), [_row(context, chosen) for context in found])
    for other in problems[1:]:
        talk.problem(other)
    if problems:
        raise problems[0]


@context_app.command()
def use(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One that is saved.")] = None,
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
        _tell_of_rivals(flags_of(ctx))


@context_app.command()
def show(
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
    told = _described(store.load(wanted), chosen)
    if as_json:
        print_json(told)
    else:
        shown = {key: value for key, value in told.items() if value is not None}
        shown["in_use"] = "yes" if told["in_use"] else "no"
        print_table(("FIELD", "VALUE"), list(shown.items()))


@context_app.command()
def rm(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Which ones.")]) -> None:
    """Forget contexts, and the tokens that were kept for them.

    \b
    Examples:
      iii context rm staging
      iii context rm old older
    """
    ContextStore().remove(names)


def _tell(flags: GlobalFlags, notice: str) -> None:
    if not flags.quiet:
        tell(notice)


def _tell_of_rivals(flags: GlobalFlags) -> None:
    """Somebody who chooses a context wonders why it is not used."""
    rivals = [name for name in ("III_URL", "III_CONTEXT") if os.environ.get(name)]
    if rivals:
        win = "win" if len(rivals) > 1 else "wins"
        _tell(flags, f"{' and '.join(rivals)} in the environment still {win} over the context in use")


def _address(url: str | None, flags: GlobalFlags) -> EngineAddress:
    text = flags.url if url is None else url
    if text is None:
        raise UsageProblem("a context needs a URL", hint="iii context add NAME wss://HOST")
    try:
        return EngineAddress.parse(text)
    except MalformedAddress as error:
        raise UsageProblem(str(error)) from None


def _namespace(flags: GlobalFlags) -> str | None:
    if flags.namespace is not None and not flags.namespace.strip():
        raise UsageProblem("--namespace is blank", hint="name a namespace or leave it out")
    return flags.namespace


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


def _tls(flags: GlobalFlags) -> TlsFiles:
    if flags.key is not None and flags.cert is None:
        raise UsageProblem("--key needs --cert")
    ca, certificate, key = (path and os.path.abspath(path) for path in (flags.cacert, flags.cert, flags.key))
    return TlsFiles(ca, certificate, key, flags.server_name)


def _described(context: Context, chosen: str | None) -> dict[str, Any]:
    """What `--json` says of one. No token, and no query of the URL, which may hold one."""
    fields = context.fields() | {"url": context.address.url}
    keys = ("url", "namespace", "token", "cacert", "cert", "key", "server_name")
    return {"name": context.name, "in_use": context.name == chosen} | {key: fields.get(key) for key in keys}


def _row(context: Context, chosen: str | None) -> tuple[str, ...]:
    mark = "*" if context.name == chosen else ""
    return (mark, context.name, context.address.url, context.namespace or "-", context.token_source or "-")
