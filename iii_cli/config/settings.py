"""Settings: what flags, variables, contexts and saved refs come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.config.store import read_headers, read_token_file, token_of
from iii_cli.errors import UsageProblem
from iii_cli.protocol.refs import DEFAULT_URL, Endpoint, EngineAddress, MalformedAddress, TlsFiles
from iii_cli.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.store import Context, ContextStore
    from iii_cli.protocol.refs import Secret

__all__ = ("ChosenEngine", "ColorChoice", "GlobalFlags", "Settings", "address_of", "color_choice", "resolve")

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


def resolve(
    flags: GlobalFlags,
    environ: Mapping[str, str],
    contexts: ContextStore,
    ref: ResolvedRef | None = None,
) -> Settings:
    """Settle every setting. Call it once a command: `--token-file -` reads stdin.

    The engine that a saved `ref` remembers beats everything but what was typed on this command line. Where it
    is another engine than the settings would give, only that and a context of that engine prove who we are.
    Raises UsageProblem for what cannot be meant and LocalProblem for files that cannot be read.
    """
    engine = ChosenEngine(flags, environ, contexts, ref)
    environ, context = engine.environ, engine.context
    notices: list[str] = []
    token, token_source = engine.token(notices)
    namespace, namespace_source = _namespace(flags, environ, context)
    headers = read_headers(flags.headers, notices)
    sends_secret = token is not None or any(name == "authorization" for name, _ in headers)
    if sends_secret and not engine.address.secure and not engine.address.is_loopback:
        notices.append(f"the token goes to {engine.address} without encryption; prefer wss://")
    endpoint = Endpoint(address=engine.address, token=token, headers=headers, tls=engine.tls())
    if flags.connect_timeout is not None:
        endpoint = replace(endpoint, connect_timeout=seconds(flags.connect_timeout, "--connect-timeout"))
    if flags.wait_engine is not None:
        endpoint = replace(endpoint, wait_engine=seconds(flags.wait_engine, "--wait-engine"))
        if endpoint.wait_engine is None:  # no limit, which is what a script waits for in vain
            raise UsageProblem("--wait-engine 0 would wait for ever", hint="give it a time, such as 2m")
    kind, _, variable = ((context and context.token_source) or "").partition(":")
    return Settings(
        endpoint=endpoint,
        url_source=engine.url_source,
        namespace=namespace,
        namespace_source=namespace_source,
        token_source=token_source,
        token_variable=variable if kind == "env" else None,
        context=context.name if context else None,
        quiet=flags.quiet,
        verbose=flags.verbose,
        color=color_choice(flags.color, environ),
        notices=tuple(notices),
        stdin_taken=flags.token_file == "-",
    )


class ChosenEngine:
    """Which engine it is, by whose word, and what belongs to it alone: as `resolve` settles it, which reads
    tokens too.
    """

    def __init__(
        self,
        flags: GlobalFlags,
        environ: Mapping[str, str],
        contexts: ContextStore,
        ref: ResolvedRef | None = None,
    ) -> None:
        self.flags = flags
        # `--context` stands in for the environment. An empty variable counts as unset.
        hidden = (
            ("III_URL", "III_NAMESPACE", "III_TOKEN", "III_TOKEN_FILE") if flags.context is not None else ()
        )
        self.environ = {name: value for name, value in environ.items() if value and name not in hidden}
        self._saved_tls = TlsFiles()
        self._is_meant = True  # is the environment's token for this engine?
        name = self.environ.get("III_CONTEXT") if flags.context is None else flags.context
        if name is None and flags.url is None and "III_URL" not in self.environ:
            name = contexts.in_use()
        self.context = None if name is None else contexts.load(name)

        if flags.url is not None:
            self.address, self.url_source = address_of(flags.url, "--url"), "--url"
        elif "III_URL" in self.environ:
            self.address, self.url_source = address_of(self.environ["III_URL"], "III_URL"), "III_URL"
        elif self.context is not None:
            self.address, self.url_source = self.context.address, f"context {self.context.name!r}"
        else:
            self.address, self.url_source = EngineAddress.parse(DEFAULT_URL), "the default"
        if ref is None or ref.engine_url is None or flags.url is not None:
            return

        # The engine that a saved ref remembers, and nothing that was meant for another one.
        saved = address_of(ref.engine_url, "the saved ref")
        self._saved_tls = ref.engine_tls
        if saved != self.address:
            self._is_meant = False
            if self.context is None or self.context.address != saved:
                self.context = contexts.for_url(saved)
        self.address, self.url_source = saved, "the saved ref"

    def _own_context(self) -> Context | None:
        """The context, if the address is its own."""
        return self.context if self.context is not None and self.context.address == self.address else None

    def token(self, notices: list[str]) -> tuple[Secret | None, str | None]:
        """The token, and where it comes from."""
        if self.flags.token_file is not None:
            return read_token_file(self.flags.token_file, "--token-file", notices), "--token-file"
        if self._is_meant and "III_TOKEN" in self.environ:
            return token_of(self.environ["III_TOKEN"], "III_TOKEN"), "III_TOKEN"
        if self._is_meant and "III_TOKEN_FILE" in self.environ:
            source = "III_TOKEN_FILE"
            return read_token_file(self.environ[source], source, notices), source
        context = self._own_context()
        token = context.token(self.environ, notices) if context else None
        return token, f"context {context.name!r}" if context and token else None

    def tls(self) -> TlsFiles:
        """Flags over what a saved ref remembers over the context of this engine. Raises UsageProblem."""
        flags, context = self.flags, self._own_context()
        if flags.key is not None and flags.cert is None:
            raise UsageProblem("--key needs --cert")
        base = context.tls if context and self._saved_tls == TlsFiles() else self._saved_tls
        if flags.cert is not None:
            base = replace(base, certificate=flags.cert, key=flags.key)
        return replace(
            base,
            ca_file=base.ca_file if flags.cacert is None else flags.cacert,
            server_name=base.server_name if flags.server_name is None else flags.server_name,
        )


def _namespace(
    flags: GlobalFlags, environ: Mapping[str, str], context: Context | None
) -> tuple[str | None, str | None]:
    """The namespace, and where it comes from."""
    if flags.namespace is not None:
        namespace, source = flags.namespace, "--namespace"
    elif "III_NAMESPACE" in environ:
        namespace, source = environ["III_NAMESPACE"], "III_NAMESPACE"
    elif context is not None and context.namespace is not None:
        return context.namespace, f"context {context.name!r}"
    else:
        return None, None
    if not namespace.strip():
        raise UsageProblem(f"{source} is blank", hint="name a namespace or leave it out")
    return namespace, source


def address_of(url: str, source: str = "") -> EngineAddress:
    """The address in a URL. `source` is what gave it. Raises UsageProblem."""
    try:
        return EngineAddress.parse(url)
    except MalformedAddress as error:
        raise UsageProblem(f"{source}: {error}" if source else str(error)) from None


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
