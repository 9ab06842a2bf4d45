"""Opening an end once more tells what became of it (design.md section 4, "what the wire can tell")."""

from __future__ import annotations

import os
from enum import Enum, auto
from typing import TYPE_CHECKING

import anyio

from iii_cli.errors import EngineUnreachable, Failure, UnknownTarget
from iii_cli.transport.sockets import ConnectionLost
from iii_cli.transport.websocket import open_websocket
from iii_cli.wire.frames import Opcode, close_payload, parse_close
from iii_cli.wire.ref import Direction

if TYPE_CHECKING:
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.ref import ChannelRef

__all__ = ("PROBE_SECONDS", "EndState", "probe")

PROBE_SECONDS = 3.0  # an engine that is there answers in milliseconds


class EndState(Enum):
    """What one more opening of an end found."""

    TAKEN = auto()  # it is or was in use: 101, then a Close without a code
    UNTAKEN = auto()  # nobody ever opened it; the probe has, and used it up
    GONE = auto()  # the engine does not know the channel: swept, or the engine was restarted
    UNREACHABLE = auto()  # no engine there
    UNCLEAR = auto()  # something else, such as a gateway's refusal


async def probe(endpoint: Endpoint, ref: ChannelRef) -> EndState:
    """Open the end that `ref` names once more and say what it was. Bounded in time, never raises a Failure.

    It disturbs nothing that is in use; an end that nobody had taken is used up.
    """
    quick = endpoint.replace(wait_engine=None, connect_timeout=PROBE_SECONDS)
    try:
        ws = await open_websocket(quick, endpoint.address.channel_target(ref), what="channel")
    except UnknownTarget:
        return EndState.GONE
    except EngineUnreachable:
        return EndState.UNREACHABLE
    except Failure:
        return EndState.UNCLEAR
    try:
        with anyio.move_on_after(PROBE_SECONDS):
            goodbye = close_payload(1000, os.urandom(8).hex())
            if ref.direction is Direction.WRITE:
                await ws.send(Opcode.CLOSE, goodbye)
            opcode, payload, _ = (await ws.receive())[0]
            taken = opcode == Opcode.CLOSE and parse_close(payload)[0] is None
            return EndState.TAKEN if taken else EndState.UNTAKEN
    except (ConnectionLost, Failure):
        return EndState.UNCLEAR
    finally:
        ws.socket.close()
    return EndState.UNTAKEN  # an open end on which nothing happens
