"""Channels of the iii engine, for the shell and for Python programs.

    async with iii_cli.connect() as worker:
        print(await worker.trigger("text::upper", {"text": "hello"}))

Names are loaded when they are first used: the command line must not pay for the library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_cli.client.channels import ChannelReader, ChannelWriter
    from iii_cli.client.connection import Call
    from iii_cli.client.worker import Channel, Worker
    from iii_cli.errors import Failure, FunctionFailed, StreamTruncated
    from iii_cli.library import connect
    from iii_cli.protocol.refs import ChannelRef

__all__ = (
    "Call",
    "Channel",
    "ChannelReader",
    "ChannelRef",
    "ChannelWriter",
    "Failure",
    "FunctionFailed",
    "StreamTruncated",
    "Worker",
    "__version__",
    "connect",
)

__version__ = "0.1.0"

_HOMES = {
    "Call": "iii_cli.client.connection",
    "Channel": "iii_cli.client.worker",
    "ChannelReader": "iii_cli.client.channels",
    "ChannelRef": "iii_cli.protocol.refs",
    "ChannelWriter": "iii_cli.client.channels",
    "Failure": "iii_cli.errors",
    "FunctionFailed": "iii_cli.errors",
    "StreamTruncated": "iii_cli.errors",
    "Worker": "iii_cli.client.worker",
    "connect": "iii_cli.library",
}


def __getattr__(name: str) -> Any:
    """PEP 562."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
