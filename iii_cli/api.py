"""The Python library: `connect()` to an engine, with the settings that the command line has, too."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec.structs import replace

from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.connection import Identity, unique_name
from iii_cli.client.function import Call
from iii_cli.client.worker import CALLS_MAX, Channel, Worker, open_worker
from iii_cli.config.settings import GlobalFlags, resolve
from iii_cli.config.store import ContextStore, token_of
from iii_cli.errors import Failure, FunctionFailed, StageFailed, StreamTruncated, UsageProblem
from iii_cli.protocol.refs import ChannelRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "Call",
    "Channel",
    "ChannelReader",
    "ChannelRef",
    "ChannelWriter",
    "Failure",
    "FunctionFailed",
    "StageFailed",
    "StreamTruncated",
    "Worker",
    "connect",
)

log = logging.getLogger("iii_cli")


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    context: str | None = None,
    namespace: str | None = None,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    name: str | None = None,
    description: str | None = None,
    seal: bool = True,
    reconnect: bool = True,
    max_calls: int = CALLS_MAX,
    connect_timeout: float | None = 10.0,
    wait_engine: float | None = None,
    on_lost: Callable[[Failure], None] | None = None,
    on_back: Callable[[], None] | None = None,
) -> AsyncIterator[Worker]:
    """Connect to the engine as a worker, on asyncio or trio.

        async with connect() as worker:
            print(await worker.trigger("text::upper", {"text": "hello"}))

    What is not given comes from where the command line has it: III_URL, III_NAMESPACE, III_TOKEN, a saved
    context. `namespace` is where the worker's functions are registered and its calls go. `name` is how
    `iii workers ls` shows it, and must be unique in the namespace; without one it gets a unique one.

    `seal`: writers tell their readers whether the stream is whole. `max_calls` are answered at once, what
    comes beyond is refused. `connect_timeout` and `wait_engine` (how long a refused connection is tried again
    at the start) are in seconds, None is no limit and not at all.

    A lost connection is won back, with pauses of 1 to 30 seconds, and the functions with it; `on_lost` and
    `on_back` hear of it, else the log `iii_cli` does. Without `reconnect`, calls fail from then on. Leaving
    the body drops the connection, cancels handlers that run, and raises what the body raised, as it is.

    Raises EngineUnreachable, NotAuthorised, NameTaken, UsageProblem, LocalProblem; all are Failures.
    """
    flags = GlobalFlags(url=url, context=context, namespace=namespace, headers=_header_lines(headers or {}))
    settings = resolve(flags, os.environ, ContextStore())
    for notice in settings.notices:
        log.warning("%s", notice)
    endpoint = replace(settings.endpoint, connect_timeout=connect_timeout, wait_engine=wait_engine)
    worker = Worker(
        _with_token(endpoint, token),
        Identity(name or unique_name(), settings.namespace, description),
        seal=seal,
        reconnect=reconnect,
        max_calls=max_calls,
        on_lost=on_lost or (lambda failure: log.warning("%s; trying again", failure.message)),
        on_back=on_back or (lambda: log.info("connected again")),
    )
    async with open_worker(worker):
        yield worker


def _header_lines(headers: Mapping[str, str]) -> tuple[str, ...]:
    if any(name.startswith("@") for name in headers):
        raise UsageProblem("a header's name cannot begin with @")
    return tuple(f"{name}: {value}" for name, value in headers.items())


def _with_token(endpoint: Endpoint, token: str | None) -> Endpoint:
    if token is None:
        return endpoint
    address = endpoint.address
    if not address.secure and not address.is_loopback:
        log.warning("the token goes to %s without encryption; prefer wss://", address)
    return replace(endpoint, token=token_of(token, "token"))
