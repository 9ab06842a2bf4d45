"""Contexts: engines by name, a TOML file each in the config folder.

contexts/prod.toml     url, namespace, token (where it is: env:NAME or file:PATH), TLS files
contexts/prod.token    a token that `context add --token-file -` was given
contexts/in-use        the name that `context use` chose
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.config.credentials import read_token_file, token_of
from iii_cli.config.folder import PrivateFolder, checked_name, user_folder
from iii_cli.config.nearest import unknown_name
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.wire.address import EngineAddress, MalformedAddress, TlsFiles
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii_cli.wire.secret import Secret

__all__ = ("Context", "ContextStore", "checked_token_source")

SUFFIX = ".toml"
IN_USE = "in-use"
_KEYS = ("url", "namespace", "token", "cacert", "cert", "key", "server_name")


class Context(Value):
    """An engine by name, and how to be somebody there. `token_source` is env:NAME or file:PATH."""

    name: str
    address: EngineAddress
    namespace: str | None = None
    token_source: str | None = None
    tls: TlsFiles = TlsFiles()

    def token(self, environ: Mapping[str, str], notices: list[str]) -> Secret | None:
        """The token from its source. Raises UsageProblem or LocalProblem where there is none."""
        if self.token_source is None:
            return None
        source = f"the token of context {self.name!r}"
        kind, _, place = self.token_source.partition(":")
        if kind == "file":
            return read_token_file(place, source, notices)
        if not environ.get(place):
            raise UsageProblem(f"{source} is in ${place}, which is not set", hint="set it")
        return token_of(environ[place], f"${place}")

    def fields(self) -> dict[str, str]:
        """What the file holds: no secret but the URL's query."""
        values = (
            self.address.full_url,
            self.namespace,
            self.token_source,
            self.tls.ca_file,
            self.tls.certificate,
            self.tls.key,
            self.tls.server_name,
        )
        return {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}


class ContextStore:
    """The contexts of this user, or of `folder`. Concurrent changes lose nothing; foreign files stay."""

    def __init__(self, folder: PrivateFolder | None = None) -> None:
        self._folder = folder or PrivateFolder(lambda: user_folder("config", "contexts"))

    def names(self) -> list[str]:
        """All names, sorted. Raises LocalProblem."""
        return self._folder.names(SUFFIX)

    def load(self, name: str) -> Context:
        """The context of that name.

        Raises UsageProblem where there is none and LocalProblem for a file that cannot be understood.
        """
        text = self._folder.read(checked_name(name, "context") + SUFFIX)
        if text is None:
            raise unknown_name("context", name, self.names(), "`iii context ls` lists them")
        return self._parsed(name, text)

    def in_use(self) -> str | None:
        """The name that `use` chose. One attempt to open a file where nothing was chosen."""
        text = self._folder.read(IN_USE)
        if text is None:
            return None
        name = text.strip()
        try:
            return checked_name(name, "context")
        except UsageProblem:
            raise self._foreign(IN_USE, "no name in it") from None

    def for_url(self, address: EngineAddress) -> Context | None:
        """The context of exactly this engine, the one in use first. Skips files that cannot be understood."""
        found = []
        for name in self.names():
            try:
                context = self.load(name)
            except (LocalProblem, UsageProblem):
                continue
            if context.address == address:
                found.append(context)
        if len(found) > 1:
            chosen = self.in_use()
            found.sort(key=lambda context: context.name != chosen)
        return found[0] if found else None

    def save(self, context: Context, *, token: Secret | None = None, force: bool = False) -> Context:
        """Keep the context; a `token` goes to a 0600 file beside it, and the context comes back naming that.

        Raises UsageProblem if the name is taken and not `force`, LocalProblem if its file is not ours.
        """
        name = checked_name(context.name, "context")
        with self._folder.changing():
            text = self._folder.read(name + SUFFIX)
            if text is not None:
                self._parsed(name, text)
                if not force:
                    raise UsageProblem(f"there is a context {name!r} already", hint="--force replaces it")
            if token is not None:
                self._folder.write(f"{name}.token", token.reveal() + "\n")
                path = str(self._folder.path / f"{name}.token")
                context = Context(name, context.address, context.namespace, f"file:{path}", context.tls)
            else:
                self._folder.remove(f"{name}.token")
            self._folder.write(name + SUFFIX, _toml(context.fields()))
        return context

    def use(self, name: str | None) -> None:
        """Make `name` the context in use; None: none is. Raises UsageProblem and LocalProblem."""
        if name is not None:
            self.load(name)
        with self._folder.changing():
            if name is None:
                self._folder.remove(IN_USE)
            else:
                self._folder.write(IN_USE, name + "\n")

    def remove(self, name: str) -> None:
        """Forget a context, its token and, if it was in use, that. Raises UsageProblem and LocalProblem."""
        self.load(name)
        with self._folder.changing():
            self._folder.remove(name + SUFFIX)
            self._folder.remove(f"{name}.token")
            if (self._folder.read(IN_USE) or "").strip() == name:
                self._folder.remove(IN_USE)

    def _parsed(self, name: str, text: str) -> Context:
        import tomllib  # 2 ms that a command without a context does not need

        file = name + SUFFIX
        try:
            fields = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError):
            raise self._foreign(file, "not TOML") from None
        for key, value in fields.items():
            if key not in _KEYS:
                raise self._foreign(file, f"{key[:40]!r} is not a setting of a context")
            if not isinstance(value, str):
                raise self._foreign(file, f"{key!r} is not a text in quotes")
        try:
            return _context(name, fields)
        except (UsageProblem, MalformedAddress) as error:
            raise self._foreign(file, str(error)) from None

    def _foreign(self, file: str, reason: str) -> LocalProblem:
        return LocalProblem(
            f"{str(self._folder.path / file)!r} is damaged or not ours: {reason}", hint="mend or remove it"
        )


def checked_token_source(text: str) -> str:
    """`env:NAME` or `file:PATH`. Raises UsageProblem, which does not repeat the text: it may be a token."""
    kind, _, place = text.partition(":")
    if kind not in ("env", "file") or not place or any(character < " " for character in place):
        raise UsageProblem("a token source is env:NAME or file:PATH, never the token itself")
    return text


def _context(name: str, fields: Mapping[str, str]) -> Context:
    if "url" not in fields:
        raise UsageProblem("it has no url")
    source = fields.get("token")
    return Context(
        name=name,
        address=EngineAddress.parse(fields["url"]),
        namespace=fields.get("namespace"),
        token_source=None if source is None else checked_token_source(source),
        tls=TlsFiles(fields.get("cacert"), fields.get("cert"), fields.get("key"), fields.get("server_name")),
    )


def _toml(fields: Mapping[str, str]) -> str:
    """TOML of plain keys and strings (toml.io, basic strings)."""
    lines = ["# A context of iii; see `iii context`. A token never stands here, only where it is."]
    lines += [f"{key} = {_quoted(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'
