"""Global options are for clients: an engine that took one in silence would not be the one that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    from iii_cli.config.settings import GlobalFlags

__all__ = ("refuse_client_options",)

_WHERE = "--host HOST and --port PORT say where the engine listens"
_DIALS = "the engine connects to nothing"
_CHECKS = "the engine checks no certificate; --tls-cert FILE is the one that it shows"
_OF_RUN = {
    "url": _WHERE,
    "context": _WHERE,
    "namespace": "functions and calls name their namespaces themselves",
    "connect_timeout": _DIALS,
    "wait_engine": _DIALS,
    "cacert": _CHECKS,
    "cert": "--tls-cert FILE is the certificate that the engine shows",
    "key": "--tls-key FILE is the key of the engine's certificate",
    "server_name": _CHECKS,
    "headers": "--token-file FILE is what the engine asks of clients",
}
_OF_EXEC = "COMMAND finds its engine by III_URL, and options for it stand behind `--`"


def refuse_client_options(flags: GlobalFlags, command: str) -> None:
    """Raises UsageProblem where an option was typed that `engine run` or `engine exec` has no use for."""
    beside = command == "exec"
    for name in (*_OF_RUN, "token_file") if beside else _OF_RUN:
        if getattr(flags, name) not in (None, ()):
            option = "--header" if name == "headers" else f"--{name.replace('_', '-')}"
            hint = _OF_EXEC if beside else _OF_RUN[name]
            raise UsageProblem(f"`iii engine {command}` takes no {option}", hint=hint)
