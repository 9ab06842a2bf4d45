"""The engine's own certificate, for `wss://` without a proxy."""

from __future__ import annotations

import ssl

from iii_cli.errors import LocalProblem
from iii_cli.net.dialing import word_for

__all__ = ("server_context",)


def server_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """What sockets are secured with. `key` is None where the certificate's file holds it.

    Raises LocalProblem for files that cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options |= ssl.OP_NO_RENEGOTIATION  # or a send could have to wait for something to receive
    context.num_tickets = 0  # who leaves before it read them resets the connection, and loses what it sent
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # not asked for on the terminal
    except OSError as error:
        named = certificate if key is None else f"{certificate} or {key}"
        raise LocalProblem(
            f"cannot use the certificate file {named}: {word_for(error)}",
            hint="PEM, and the key without a passphrase",
        ) from None
    return context
