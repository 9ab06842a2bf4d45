"""`engine::channels::create` (protocol.md 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, may
from iii_cli.engine.call import Call, Refusal
from iii_cli.engine.channels import TooManyChannels
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from iii_cli.engine.state import EngineState

__all__ = ("ChannelBuiltins",)


class ChannelBuiltins:
    """What workers can do about channels: make them. There is no other function."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        return (
            Builtin(
                "engine::channels::create",
                "Create a channel and return the refs of its two ends",
                (may("buffer_size", Kind.COUNT),),
                self._create,
            ),
        )

    def _create(self, call: Call, given: Given) -> Any:
        span = call.invocation.span
        try:
            channel = self._state.channels.create(
                given["buffer_size"], call.now, None if span is None else span.context
            )
        except TooManyChannels as error:
            self._state.notice("channel refused", worker=call.caller.id, reason=str(error))
            raise Refusal("channel_limit_reached", str(error)) from None
        self._state.notice("channel created", channel=channel.id, buffer=channel.limit, worker=call.caller.id)
        return {
            "writer": channel.ref(Direction.WRITE).to_json(),
            "reader": channel.ref(Direction.READ).to_json(),
        }
