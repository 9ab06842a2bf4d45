"""Who may use the engine of `iii engine run`, from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.commands.common import tell
from iii_cli.config.store import read_token_file
from iii_cli.engine.door import Guard, MalformedOrigin, host_name, origin_of
from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ("TOKEN_CHARACTERS_MIN", "guard_of", "tls_of")

TOKEN_CHARACTERS_MIN = (
    16  # 96 bits where they are base64 of random bytes; fewer can be guessed over a network
)


def guard_of(host: str, token_file: str | None, origins: Iterable[str], hosts: Iterable[str]) -> Guard:
    """The guard that the options describe. Raises UsageProblem and LocalProblem."""
    notices: list[str] = []
    token = None
    if token_file is not None:
        token = read_token_file(token_file, "--token-file", notices)
        if len(token.reveal()) < TOKEN_CHARACTERS_MIN:
            notices.append("that token is short enough to guess; make one with: openssl rand -hex 32")
    for notice in notices:
        tell(notice)
    return Guard(token, frozenset(map(_origin, origins)), frozenset([host_name(host), *map(_host, hosts)]))


def tls_of(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """What the engine's sockets are secured with, None for nothing. Raises UsageProblem and LocalProblem."""
    if certificate is None:
        if key is not None:
            raise UsageProblem("--tls-key needs --tls-cert")
        return None
    from iii_cli.engine.server import server_context

    return server_context(certificate, key)


def _origin(text: str) -> str:
    try:
        return origin_of(text)
    except MalformedOrigin as error:
        raise UsageProblem(f"--allow-origin: {error}") from None


def _host(text: str) -> str:
    name = host_name(text)
    if not name or name != text.lower().removesuffix("."):
        raise UsageProblem("--allow-host is a name without a port, as in --allow-host engine")
    return name
