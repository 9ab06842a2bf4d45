"""The front door: what an HTTP request asks for, and why it is refused (protocol.md 0, 1.1, 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from iii_cli.protocol.handshake import BadRequest
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from iii_cli.engine.channels import ChannelTable
    from iii_cli.engine.guard import Guard
    from iii_cli.protocol.handshake import Request

__all__ = ("ForChannel", "ForTelemetry", "ForWorker", "Purpose", "purpose_of")


@dataclass(frozen=True, slots=True)
class ForWorker:
    """`GET /`"""


@dataclass(frozen=True, slots=True)
class ForTelemetry:
    """`GET /otel`"""


@dataclass(frozen=True, slots=True)
class ForChannel:
    """`GET /ws/channels/ID`, with a key that is right."""

    channel_id: str
    direction: Direction


Purpose: TypeAlias = ForWorker | ForTelemetry | ForChannel


def purpose_of(request: Request, channels: ChannelTable, guard: Guard) -> Purpose:
    """What the request wants: first whether it may, then in the order in which the real engine looks at it:
    the route, the query, the upgrade, the channel.

    Raises BadRequest.
    """
    guard.check_page(request)
    guard.check_token(request, needed=request.segments()[:2] != ["ws", "channels"])
    purpose: Purpose
    key = ""
    match request.segments():
        case [""]:
            purpose = ForWorker()
        case ["otel"]:
            purpose = ForTelemetry()
        case ["ws", "channels", channel_id] if channel_id:
            fault = request.upgrade_fault()
            if fault is not None and fault.status == 405:
                raise fault
            key, direction = _read_query(request)
            purpose = ForChannel(unquote(channel_id), direction)
        case _:
            raise BadRequest(404, "")
    fault = request.upgrade_fault()
    if fault is not None:
        raise fault
    if isinstance(purpose, ForChannel) and not channels.exists(purpose.channel_id, key):
        raise BadRequest(404, "Channel not found")
    return purpose


def _read_query(request: Request) -> tuple[str, Direction]:
    """4.1: unknown parameters are ignored, `dir` is lower-case only."""
    given: dict[str, str] = {}
    for name, value in request.query:
        if name not in ("key", "dir"):
            continue
        if name in given:
            raise _bad_query(f"duplicate field `{name}`")
        if name == "dir" and value not in ("read", "write"):
            raise _bad_query(f"dir: unknown variant `{value}`, expected `read` or `write`")
        given[name] = value
    for name in ("key", "dir"):
        if name not in given:
            raise _bad_query(f"missing field `{name}`")
    return given["key"], Direction(given["dir"])


def _bad_query(why: str) -> BadRequest:
    return BadRequest(400, f"Failed to deserialize query string: {why}")
