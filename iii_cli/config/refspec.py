"""How a ref is given on the command line (docs: design, "Refs are secrets").

    @name  @name/reader  @name/writer     saved
    iii:read:ID:KEY  iii:write:ID:KEY     a token
    {"channel_id": …}                     the JSON that the SDKs print
    env:NAME  file:PATH  -                where a token or the JSON is

A ref is a secret: no error here repeats what was given where that may be a key.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from iii_cli.config.store import nearest, read_secret_file, read_secret_stdin
from iii_cli.errors import LocalProblem, RefSpent, UnknownTarget, UsageProblem
from iii_cli.protocol.json_text import MalformedJson, parse_once
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii_cli.config.store import SavedRefs

__all__ = ("DEFAULT_VARIABLE", "ResolvedRef", "resolve_ref")


DEFAULT_VARIABLE = {Direction.WRITE: "III_WRITER", Direction.READ: "III_READER"}
_ENDS = {"reader": Direction.READ, "writer": Direction.WRITE}
_FORMS = "expected @NAME, iii:read:ID:KEY, iii:write:ID:KEY, its JSON, env:NAME, file:PATH or -"


class ResolvedRef(Struct, frozen=True):
    """The ref that was meant, and where it came from."""

    ref: ChannelRef
    engine_url: str | None = None  # in full, of a saved ref: it goes there (settings.resolve)
    saved_name: str | None = None  # to mark it used once its end is open
    engine_tls: TlsFiles = TlsFiles()  # how that engine is trusted
    in_argv: bool = False  # the key itself stood on the command line, where `ps` shows it
    from_stdin: bool = False  # stdin was read to its end for it
    notices: tuple[str, ...] = ()


def resolve_ref(
    text: str | None,
    needed: Direction | None,
    *,
    environ: Mapping[str, str],
    store: SavedRefs,
    stdin_free: bool = False,
    option: str = "",
) -> ResolvedRef:
    """Find the ref that `text` names; None: what III_WRITER or III_READER names.

    `needed` is the end that the place wants, which a bare `@name` then takes; None: any, so `@name` must name
    its end. `option` is what stands before the text on the command line, such as `--in reader=`. Raises
    UsageProblem, UnknownTarget for a ref that is not there or expired, RefSpent, and LocalProblem.
    """
    subject, typed = "the ref", text is not None
    if text is None:
        if needed is None:
            raise UsageProblem("a ref is missing", hint=_FORMS)
        subject = DEFAULT_VARIABLE[needed]
        text = environ.get(subject, "").strip()
        if not text:
            raise UsageProblem("a ref is missing", hint=f"name one or set {subject}")
        if text == "-":
            raise UsageProblem(f"{subject} cannot be `-`", hint="only the command line can give stdin away")
    text = text.strip()
    kind, colon, place = text.partition(":")
    notices: list[str] = []

    if text.startswith("@"):
        return _saved(text[1:], needed, store, option)
    if text == "-":
        if not stdin_free:
            raise UsageProblem(
                "`-` cannot be the ref here: stdin carries data", hint="use file:PATH or env:NAME"
            )
        return ResolvedRef(_literal(read_secret_stdin(), "stdin", needed), from_stdin=True)
    if colon and kind == "env":
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", place, re.ASCII):
            raise UsageProblem("env: needs the name of a variable")
        if not environ.get(place):
            raise UsageProblem(f"no ref in the variable {place!r}: it is not set")
        return ResolvedRef(_literal(environ[place], f"the variable {place!r}", needed))
    if colon and kind == "file":
        if not place or _may_hold_key(place):
            raise UsageProblem("file: needs a path" + (", and that looks like a ref" if place else ""))
        content = read_secret_file(place, "the ref in", notices)
        return ResolvedRef(_literal(content, f"the file {place!r}", needed), notices=tuple(notices))
    if typed and (match := _without_its_mark(text, store)) is not None:
        raise UsageProblem("not a channel ref", hint=f"did you mean @{match}?")
    return ResolvedRef(_literal(text, subject, needed), in_argv=typed)


def _literal(text: str, subject: str, needed: Direction | None) -> ChannelRef:
    """A token or a ref's JSON; of the object of `create --json`, which has both ends, the `needed` one.

    Raises UsageProblem, which does not repeat the text.
    """
    text = text.strip()
    try:
        if text.startswith("{"):
            body = parse_once(text)
            if isinstance(body, dict) and body.keys() == {"writer", "reader"}:
                if needed is None:
                    raise UsageProblem(
                        f"{subject} holds both ends of a channel", hint="take .writer or .reader"
                    )
                body = body[needed.noun]
            ref = ChannelRef.from_json(body)
        elif text.startswith("iii:"):
            ref = ChannelRef.from_token(text)
        elif text:
            is_typed = subject == "the ref"
            raise UsageProblem(f"{'' if is_typed else f'{subject} is '}not a channel ref", hint=_FORMS)
        else:
            raise UsageProblem(f"{subject} is empty", hint="is a variable not set?")
    except MalformedRef as error:
        raise UsageProblem(f"{subject} is malformed: {error}") from None
    except MalformedJson:
        raise UsageProblem(f"{subject} is not valid JSON") from None
    _check_direction(ref.direction, needed)
    return ref


def _saved(text: str, needed: Direction | None, store: SavedRefs, option: str) -> ResolvedRef:
    """The end of a saved ref: the one that is named, needed, or the only one."""
    if ":" in text or _may_hold_key(text):
        raise UsageProblem("no saved ref has such a name", hint="a token or JSON is given without the @")
    name, slash, end = text.partition("/")
    if slash and end not in _ENDS:
        if name in store.names():
            raise UsageProblem(f"a channel has two ends: @{name}/reader and @{name}/writer")
        raise _no_such(text, store, option)
    if not name:
        raise UsageProblem("`@` needs the name of a saved ref", hint="`iii ref ls` lists them")
    try:
        saved = store.load(name)
    except (UnknownTarget, UsageProblem):
        raise _no_such(name, store, option) from None
    if slash:
        direction = _ENDS[end]
    elif needed is not None:
        direction = needed
    elif len(saved.ends) == 1:
        direction = saved.ends[0]
    else:
        hint = f"write {option}@{name}/reader or {option}@{name}/writer"
        raise UsageProblem(f"which end of @{name}?", hint=hint)
    _check_direction(direction, needed)
    if direction not in saved.ends:
        raise UsageProblem(
            f"the saved ref {name!r} is a {saved.ends[0].noun}, and a {direction.noun} is needed here"
        )
    end, anew = direction.noun, f"`iii channel create --save {name}` makes a new one"
    state = saved.state(store.now(), direction)
    if state == "used":
        raise RefSpent(f"the {end} of saved ref {name!r} was used already", hint=anew, where="local")
    if state == "expired":
        said = f"the {end} of saved ref {name!r} expired: it was not used within 5 minutes"
        raise UnknownTarget(said, hint=anew, where="local")
    return ResolvedRef(saved.ref(direction), saved.engine_url, name, saved.tls)


def _check_direction(direction: Direction, needed: Direction | None) -> None:
    if needed not in (None, direction):
        raise UsageProblem(f"that ref is a {direction.noun}, and a {needed.noun} is needed here")


def _without_its_mark(text: str, store: SavedRefs) -> str | None:
    """The saved ref of which a person forgot the @; None for what may be a ref itself."""
    if ":" in text or text.startswith("{") or not text:
        return None
    name, slash, end = text.partition("/")
    try:
        match = nearest(name, store.names())
    except LocalProblem:
        return None
    return f"{match}/{end}" if match and slash and end in _ENDS else match


def _no_such(name: str, store: SavedRefs, option: str) -> UnknownTarget:
    """No saved ref of that name. People who know curl write @ before the name of a file."""
    match = nearest(name, store.names())
    is_there = "\0" not in name and os.path.exists(name)
    if match is not None and not is_there:
        hint = f"did you mean @{match}?"
    elif is_there or "/" in name or "." in name:
        hint = f"did you mean the file? {option}{name}" if option else "did you mean the file?"
    else:
        hint = "`iii ref ls` lists them"
    shown = name if len(name) <= 60 else name[:57] + "..."
    return UnknownTarget(f"no saved ref {shown!r}", hint=hint, where="local")


def _may_hold_key(text: str) -> bool:
    """Is a token or a ref's JSON in it, so that no error may show it?"""
    return any(part in text for part in ("iii:", "read:", "write:", "{", "access_key"))
