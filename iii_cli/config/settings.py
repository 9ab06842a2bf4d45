"""Settings: flags, variables, contexts, and how quantities are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Protocol, cast

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.config.store import read_headers, read_token_file, token_of
from iii_cli.errors import UsageProblem
from iii_cli.protocol.refs import DEFAULT_URL, Endpoint, EngineAddress, MalformedAddress, TlsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii_cli.config.store import Context
    from iii_cli.protocol.refs import Secret

__all__ = (
    "ColorChoice",
    "ContextLookup",
    "GlobalFlags",
    "Settings",
    "byte_count",
    "color_choice",
    "engine_of",
    "format_bytes",
    "format_duration",
    "resolve",
    "seconds",
)


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SPAN = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|)")
_COUNT = re.compile(r"([0-9]{1,15})(?:([KMGT])(?:iB)?|B|)", re.IGNORECASE)
_SPAN_MAX = 10 * 365 * 86_400.0  # ten years: far beyond any use, far below what timers overflow at
_COUNT_MAX = 1 << 63  # what a file offset can hold


def seconds(text: str, source: str = "") -> float | None:
    """Read a time limit: `500ms`, `30s`, `5m`, `1h`; a bare number is seconds; 0 is no limit, hence None.

    `source` is the option that it was given to. Raises UsageProblem.
    """
    match = _SPAN.fullmatch(text.strip())
    span = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0.0 <= span <= _SPAN_MAX:
        raise UsageProblem(_refusal("a time span", text, source), hint="write it like 500ms, 30s, 5m or 1h")
    return span or None


def byte_count(text: str, source: str = "") -> int:
    """Read a size in bytes: `64`, `64K`, `1M`, `2GiB`. K, M, G and T are powers of 1024.

    `source` is the option that it was given to. Raises UsageProblem.
    """
    match = _COUNT.fullmatch(text.strip())
    count = int(match[1]) * _BINARY[(match[2] or "").upper()] if match else -1
    if not 0 <= count < _COUNT_MAX:
        raise UsageProblem(
            _refusal("a size in bytes", text, source), hint="write it like 4096, 64K, 1M or 2G"
        )
    return count


def format_bytes(count: float) -> str:
    """`0 B`, `1023 B`, `1.5 KiB`, `640 MiB`: three digits that count, in powers of 1024."""
    if count < 1023.5:
        return f"{count:.0f} B"
    value = float(count)
    unit = "B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - the last one reached is the one to show
        value /= 1024
        if value < 999.5:
            break
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def format_duration(span: float) -> str:
    """`12 ms`, `4.2 s`, `3 min 05 s`, `2 h 07 min`: what a person needs of a time span in seconds."""
    if span < 0.9995:
        return f"{span * 1000:.0f} ms"
    if span < 59.95:
        return f"{span:.1f} s"
    whole = round(span)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(span / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def _refusal(noun: str, text: str, source: str) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return (f"{source}: " if source else "") + f"not {noun}: {shown!r}"


ColorChoice = Literal["auto", "always", "never"]


class GlobalFlags(Struct, frozen=True):
    """The options that every command takes, as typed. None and empty: not typed."""

    url: str | None = None
    context: str | None = None
    namespace: str | None = None
    quiet: bool = False
    verbose: bool = False
    color: str | None = None
    connect_timeout: str | None = None
    wait_engine: str | None = None
    token_file: str | None = None
    cacert: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    headers: tuple[str, ...] = ()


class Settings(Struct, frozen=True):
    """What all that was typed, exported and saved comes to."""

    endpoint: Endpoint
    url_source: str  # for people: "--url", "III_URL", "context 'prod'", "the default"
    namespace: str | None = None
    namespace_source: str | None = None  # as `url_source`; None: nobody named one
    token_source: str | None = None
    token_variable: str | None = None  # that the context names, whether or not its token was needed
    context: str | None = None
    quiet: bool = False
    verbose: bool = False
    color: ColorChoice = "auto"
    notices: tuple[str, ...] = ()  # for stderr, once, unless quiet
    stdin_taken: bool = False  # `--token-file -` has read it to its end

    def use_color(self, stream_is_tty: bool) -> bool:
        """Should text on such a stream be coloured?"""
        return self.color == "always" or (self.color == "auto" and stream_is_tty)


class ContextLookup(Protocol):
    """Where contexts come from; `contexts.ContextStore` is one."""

    def load(self, name: str) -> Context:
        """The context of that name. Raises UsageProblem where there is none."""

    def in_use(self) -> str | None:
        """The name chosen with `context use`."""

    def for_url(self, address: EngineAddress) -> Context | None:
        """A context of exactly this engine."""


def resolve(
    flags: GlobalFlags,
    environ: Mapping[str, str],
    contexts: ContextLookup,
    *,
    engine_url: str | None = None,
    engine_tls: TlsFiles | None = None,
) -> Settings:
    """Settle every setting. Call it once a command: `--token-file -` reads stdin.

    `engine_url` and `engine_tls` are what a saved ref remembers. They beat everything but what was typed on
    this command line. Where it is another engine than the settings would give, only that and a context of
    that engine prove who we are. Raises UsageProblem for what cannot be meant and LocalProblem for files that
    cannot be read.
    """
    return _Resolution(flags, environ, contexts, engine_url, engine_tls).settings()


def engine_of(
    flags: GlobalFlags,
    environ: Mapping[str, str],
    contexts: ContextLookup,
    *,
    engine_url: str | None = None,
    engine_tls: TlsFiles | None = None,
) -> tuple[EngineAddress, TlsFiles]:
    """Only which engine and how it is trusted, as `resolve` settles it, for a command that does not connect.

    Reads no token.
    """
    resolution = _Resolution(flags, environ, contexts, engine_url, engine_tls)
    return resolution.address, resolution.tls()


def color_choice(flag: str | None, environ: Mapping[str, str]) -> ColorChoice:
    """`--color`, then NO_COLOR, FORCE_COLOR and CLICOLOR_FORCE, then TERM=dumb. Raises UsageProblem."""
    if flag is not None and flag not in ("auto", "always", "never"):
        raise UsageProblem("--color is auto, always or never")
    if flag in ("always", "never"):
        return cast(ColorChoice, flag)
    if environ.get("NO_COLOR"):
        return "never"
    if any(environ.get(name, "0") not in ("", "0", "false") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return "always"
    return "never" if environ.get("TERM") == "dumb" else "auto"


class _Resolution:
    """One run through the order of settings."""

    def __init__(
        self,
        flags: GlobalFlags,
        environ: Mapping[str, str],
        contexts: ContextLookup,
        engine_url: str | None,
        engine_tls: TlsFiles | None,
    ) -> None:
        self.flags = flags
        self.contexts = contexts
        # `--context` stands in for the environment. An empty variable counts as unset.
        hidden = (
            ("III_URL", "III_NAMESPACE", "III_TOKEN", "III_TOKEN_FILE") if flags.context is not None else ()
        )
        self.environ = {name: value for name, value in environ.items() if value and name not in hidden}
        self.notices: list[str] = []
        self.context = self._context(asked_for_engine=engine_url is not None)
        self.address, self.url_source = self._address()
        self._own_token = True  # may III_TOKEN go to the address?
        self._remembered_tls = TlsFiles()
        if engine_url is not None and flags.url is None:
            self._remembered_tls = engine_tls or TlsFiles()
            self._turn_to(_address(engine_url, "the saved ref"))

    def settings(self) -> Settings:
        flags = self.flags
        token, token_source = self._token()
        namespace, namespace_source = self._namespace()
        headers = read_headers(flags.headers, self.notices)
        self._warn_of_plain_text(token is not None or any(name == "authorization" for name, _ in headers))
        return Settings(
            endpoint=Endpoint(
                address=self.address,
                token=token,
                headers=headers,
                tls=self.tls(),
                **self._waits(),
            ),
            url_source=self.url_source,
            namespace=namespace,
            namespace_source=namespace_source,
            token_source=token_source,
            token_variable=self._token_variable(),
            context=self.context.name if self.context else None,
            quiet=flags.quiet,
            verbose=flags.verbose,
            color=color_choice(flags.color, self.environ),
            notices=tuple(self.notices),
            stdin_taken=flags.token_file == "-",
        )

    def _context(self, *, asked_for_engine: bool) -> Context | None:
        name = self.flags.context
        if name is None:
            name = self.environ.get("III_CONTEXT")
        if name is None and not (self.flags.url is not None or "III_URL" in self.environ):
            name = self.contexts.in_use()
        return None if name is None else self.contexts.load(name)

    def _address(self) -> tuple[EngineAddress, str]:
        if self.flags.url is not None:
            return _address(self.flags.url, "--url"), "--url"
        if "III_URL" in self.environ:
            return _address(self.environ["III_URL"], "III_URL"), "III_URL"
        if self.context is not None:
            return self.context.address, f"context {self.context.name!r}"
        return EngineAddress.parse(DEFAULT_URL), "the default"

    def _turn_to(self, address: EngineAddress) -> None:
        """Use the engine that a saved ref remembers, and nothing that was meant for another one."""
        if address != self.address:
            self._own_token = False
            if self.context is None or self.context.address != address:
                self.context = self.contexts.for_url(address)
        self.address, self.url_source = address, "the saved ref"

    def _own_context(self) -> Context | None:
        """The context, if the address is its own."""
        return self.context if self.context is not None and self.context.address == self.address else None

    def _token(self) -> tuple[Secret | None, str | None]:
        """The token, and where it comes from."""
        if self.flags.token_file is not None:
            source = "--token-file"
            return read_token_file(self.flags.token_file, source, self.notices), source
        if self._own_token and "III_TOKEN" in self.environ:
            return token_of(self.environ["III_TOKEN"], "III_TOKEN"), "III_TOKEN"
        if self._own_token and "III_TOKEN_FILE" in self.environ:
            source = "III_TOKEN_FILE"
            return read_token_file(self.environ[source], source, self.notices), source
        context = self._own_context()
        token = context.token(self.environ, self.notices) if context else None
        return token, f"context {context.name!r}" if context and token else None

    def _token_variable(self) -> str | None:
        kind, _, place = ((self.context and self.context.token_source) or "").partition(":")
        return place if kind == "env" else None

    def tls(self) -> TlsFiles:
        """Flags over what a saved ref remembers over the context of this engine. Raises UsageProblem."""
        flags = self.flags
        if flags.key is not None and flags.cert is None:
            raise UsageProblem("--key needs --cert")
        context = self._own_context()
        base = context.tls if context and self._remembered_tls == TlsFiles() else self._remembered_tls
        if flags.cert is not None:
            base = replace(base, certificate=flags.cert, key=flags.key)
        return replace(
            base,
            ca_file=base.ca_file if flags.cacert is None else flags.cacert,
            server_name=base.server_name if flags.server_name is None else flags.server_name,
        )

    def _namespace(self) -> tuple[str | None, str | None]:
        """The namespace, and where it comes from."""
        namespace, source = self.flags.namespace, "--namespace"
        if namespace is None:
            namespace, source = self.environ.get("III_NAMESPACE"), "III_NAMESPACE"
        if namespace is None:
            context = self.context
            named = context is not None and context.namespace is not None
            return (context.namespace, f"context {context.name!r}") if context and named else (None, None)
        if not namespace.strip():
            raise UsageProblem(f"{source} is blank", hint="name a namespace or leave it out")
        return namespace, source

    def _waits(self) -> dict[str, float | None]:
        waits: dict[str, float | None] = {}
        if self.flags.connect_timeout is not None:
            waits["connect_timeout"] = seconds(self.flags.connect_timeout, "--connect-timeout")
        if self.flags.wait_engine is not None:
            waits["wait_engine"] = seconds(self.flags.wait_engine, "--wait-engine")
            if waits["wait_engine"] is None:  # no limit, which is what a script waits for in vain
                raise UsageProblem("--wait-engine 0 would wait for ever", hint="give it a time, such as 2m")
        return waits

    def _warn_of_plain_text(self, secret_sent: bool) -> None:
        if secret_sent and not self.address.secure and not self.address.is_loopback:
            self.notices.append(f"the token goes to {self.address} without encryption; prefer wss://")


def _address(url: str, source: str) -> EngineAddress:
    try:
        return EngineAddress.parse(url)
    except MalformedAddress as error:
        raise UsageProblem(f"{source}: {error}") from None
