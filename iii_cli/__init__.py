"""Channels of the iii engine, for the shell and for Python programs.

    async with iii_cli.connect() as worker:
        print(await worker.trigger("text::upper", {"text": "hello"}))

The library is `iii_cli.api`, loaded at the first use of a name: the command line must not pay for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from iii_cli.version import __version__

if TYPE_CHECKING:
    from iii_cli.api import (
        Call,
        Channel,
        ChannelReader,
        ChannelRef,
        ChannelWriter,
        Failure,
        FunctionFailed,
        StageFailed,
        StreamTruncated,
        Worker,
        connect,
    )

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
    "__version__",
    "connect",
)


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("iii_cli.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
