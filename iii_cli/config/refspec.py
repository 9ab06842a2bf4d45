"""How a ref is given on the command line (design.md section 3, "Refs on the command line").

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
from iii_cli.protocol.messages import MalformedJson, parse
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from iii_cli.config.store import SavedRef, SavedRefs

__all__ = ("DEFAULT_VARIABLE", "ResolvedRef", "resolve_ref")


DEFAULT_VARIABLE = {Direction.WRITE: "III_WRITER", Direction.READ: "III_READER"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ENDS = {"reader": Direction.READ, "writer": Direction.WRITE}
_TYPED = "the ref"  # that stood on the command line
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
    read_stdin: Callable[[], str] | None = None,
) -> ResolvedRef:
    """Find the ref that `text` names; None: what III_WRITER or III_READER names.

    `needed` is the end that the place wants, which a bare `@name` then takes; None: any, so `@name` must name
    its end. `option` is what stands before the text on the command line, such as `--in reader=`. Raises
    UsageProblem, UnknownTarget for a ref that is not there or expired, RefSpent, and LocalProblem.
    """
    return _Place(needed, environ, store, stdin_free, option, read_stdin or read_secret_stdin).find(text)


class _Place:
    """A place on the command line that wants a ref."""

    def __init__(
        self,
        needed: Direction | None,
        environ: Mapping[str, str],
        store: SavedRefs,
        stdin_free: bool,
        option: str,
        read_stdin: Callable[[], str],
    ) -> None:
        self.needed = needed
        self.environ = environ
        self.store = store
        self.stdin_free = stdin_free
        self.option = option
        self.read_stdin = read_stdin
        self.notices: list[str] = []

    def find(self, text: str | None) -> ResolvedRef:
        if text is not None:
            return self._form(text.strip(), _TYPED, in_argv=True)
        if self.needed is None:
            raise UsageProblem("a ref is missing", hint=_FORMS)
        variable = DEFAULT_VARIABLE[self.needed]
        value = self.environ.get(variable, "").strip()
        if not value:
            raise UsageProblem("a ref is missing", hint=f"name one or set {variable}")
        if value == "-":
            raise UsageProblem(f"{variable} cannot be `-`", hint="only the command line can give stdin away")
        return self._form(value, variable, in_argv=False)

    def _form(self, text: str, source: str, *, in_argv: bool) -> ResolvedRef:
        if text.startswith("@"):
            return self._saved(text[1:])
        if text == "-":
            return self._from_stdin()
        kind, colon, place = text.partition(":")
        if colon and kind == "env":
            return self._from_variable(place)
        if colon and kind == "file":
            return self._from_file(place)
        if in_argv and (match := self._meant(text)) is not None:
            raise UsageProblem("not a channel ref", hint=f"did you mean @{match}?")
        return self._literal(text, source, in_argv=in_argv)

    def _meant(self, text: str) -> str | None:
        """The saved ref of which a person forgot the @; None for what may be a ref itself."""
        if ":" in text or text.startswith("{") or not text:
            return None
        try:
            name, slash, end = text.partition("/")
            match = nearest(name, self.store.names())
        except LocalProblem:
            return None
        return f"{match}/{end}" if match and slash and end in _ENDS else match

    def _from_stdin(self) -> ResolvedRef:
        if not self.stdin_free:
            raise UsageProblem(
                "`-` cannot be the ref here: stdin carries data", hint="use file:PATH or env:NAME"
            )
        return self._literal(self.read_stdin(), "stdin", from_stdin=True)

    def _from_variable(self, name: str) -> ResolvedRef:
        if not _VARIABLE.fullmatch(name):
            raise UsageProblem("env: needs the name of a variable")
        value = self.environ.get(name)
        if not value:
            raise UsageProblem(f"no ref in the variable {name!r}: it is not set")
        return self._literal(value, f"the variable {name!r}")

    def _from_file(self, path: str) -> ResolvedRef:
        if not path or _may_hold_key(path):
            raise UsageProblem("file: needs a path" + (", and that looks like a ref" if path else ""))
        return self._literal(read_secret_file(path, "the ref in", self.notices), f"the file {path!r}")

    def _literal(
        self, text: str, source: str, *, in_argv: bool = False, from_stdin: bool = False
    ) -> ResolvedRef:
        ref = _parsed(text.strip(), source, self.needed)
        self._check_direction(ref.direction)
        return ResolvedRef(ref, in_argv=in_argv, from_stdin=from_stdin, notices=tuple(self.notices))

    def _saved(self, text: str) -> ResolvedRef:
        if ":" in text or _may_hold_key(text):
            raise UsageProblem("no saved ref has such a name", hint="a token or JSON is given without the @")
        name, slash, end = text.partition("/")
        if slash and end not in _ENDS:
            raise self._no_such_end(name) if name in self.store.names() else self._no_such(text)
        if not name:
            raise UsageProblem("`@` needs the name of a saved ref", hint="`iii ref ls` lists them")
        saved = self._load(name)
        direction = _ENDS[end] if slash else self._end_of(saved)
        self._check_direction(direction)
        if direction not in saved.ends:
            raise UsageProblem(
                f"the saved ref {name!r} is a {saved.ends[0].noun}, and a {direction.noun} is needed here"
            )
        self._check_unspent(saved, direction)
        return ResolvedRef(saved.ref(direction), saved.engine_url, name, saved.tls)

    def _load(self, name: str) -> SavedRef:
        try:
            return self.store.load(name)
        except (UnknownTarget, UsageProblem):
            raise self._no_such(name) from None

    def _end_of(self, saved: SavedRef) -> Direction:
        if self.needed is not None:
            return self.needed
        if len(saved.ends) == 1:
            return saved.ends[0]
        raise UsageProblem(
            f"which end of @{saved.name}?",
            hint=f"write {self.option}@{saved.name}/reader or {self.option}@{saved.name}/writer",
        )

    def _check_direction(self, direction: Direction) -> None:
        if self.needed is not None and self.needed is not direction:
            raise UsageProblem(f"that ref is a {direction.noun}, and a {self.needed.noun} is needed here")

    def _check_unspent(self, saved: SavedRef, direction: Direction) -> None:
        state = saved.state(self.store.now(), direction)
        anew = f"`iii channel create --save {saved.name}` makes a new one"
        if state == "used":
            raise RefSpent(
                f"the {direction.noun} of saved ref {saved.name!r} was used already", hint=anew, where="local"
            )
        if state == "expired":
            raise UnknownTarget(
                f"the {direction.noun} of saved ref {saved.name!r} expired: it was not used within 5 minutes",
                hint=anew,
                where="local",
            )

    def _no_such_end(self, name: str) -> UsageProblem:
        return UsageProblem(f"a channel has two ends: @{name}/reader and @{name}/writer")

    def _no_such(self, name: str) -> UnknownTarget:
        """No saved ref of that name. Whoever knows curl writes @ before the name of a file."""
        match = nearest(name, self.store.names())
        if match is not None and not _is_there(name):
            hint = f"did you mean @{match}?"
        elif _is_path(name):
            hint = f"did you mean the file? {self.option}{name}" if self.option else "did you mean the file?"
        else:
            hint = "`iii ref ls` lists them"
        return UnknownTarget(f"no saved ref {_shown(name)}", hint=hint, where="local")


def _parsed(text: str, source: str, needed: Direction | None) -> ChannelRef:
    """A token or a ref's JSON; of the object of `create --json`, which has both ends, the `needed` one.

    Raises UsageProblem, which does not repeat the text.
    """
    try:
        if text.startswith("{"):
            body = parse(text)
            if isinstance(body, dict) and body.keys() == {"writer", "reader"}:
                if needed is None:
                    raise UsageProblem(
                        f"{source} holds both ends of a channel", hint="take .writer or .reader"
                    )
                body = body[needed.noun]
            return ChannelRef.from_json(body)
        if text.startswith("iii:"):
            return ChannelRef.from_token(text)
    except MalformedRef as error:
        raise UsageProblem(f"{source} is malformed: {error}") from None
    except MalformedJson:
        raise UsageProblem(f"{source} is not valid JSON") from None
    if not text.strip():
        raise UsageProblem(f"{source} is empty", hint="is a variable not set?")
    subject = "" if source == _TYPED else f"{source} is "
    raise UsageProblem(f"{subject}not a channel ref", hint=_FORMS)


def _is_path(text: str) -> bool:
    """Does it look like the name of a file: a path, a name with a suffix, or one that is there?"""
    return "/" in text or "." in text or _is_there(text)


def _is_there(path: str) -> bool:
    return "\0" not in path and os.path.exists(path)


def _may_hold_key(text: str) -> bool:
    """Is a token or a ref's JSON in it, so that no error may show it?"""
    return any(part in text for part in ("iii:", "read:", "write:", "{", "access_key"))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
