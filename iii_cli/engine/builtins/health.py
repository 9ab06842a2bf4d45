"""`engine::health::check` and `engine::baggage::*` (protocol.md 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import iii_cli
from iii_cli.engine.baggage import read_baggage
from iii_cli.engine.builtins.inputs import Builtin, Given, must

if TYPE_CHECKING:
    from iii_cli.engine.call import Call
    from iii_cli.engine.state import EngineState

__all__ = ("HealthBuiltins",)


class HealthBuiltins:
    """Is the engine well, and what baggage came with the call? A caller sets its own with the call."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        return (
            Builtin("engine::health::check", "Say how the engine is", (), self._check),
            Builtin("engine::baggage::get", "Read one baggage entry", (must("key"),), self._get),
            Builtin("engine::baggage::set", "Set a baggage entry", (must("key"), must("value")), self._set),
            Builtin("engine::baggage::get_all", "Read all baggage", (), self._get_all),
        )

    def _check(self, call: Call, given: Given) -> Any:
        healthy: dict[str, Any] = {"status": "healthy", "details": {}}
        components = dict.fromkeys(("otel", "metrics", "logs", "spans"), healthy)
        return {
            "status": "healthy",
            "version": iii_cli.__version__,
            "timestamp": call.now // 1_000_000,
            "components": components | {"embedded": {"status": "healthy", "details": self._limits()}},
        }

    def _limits(self) -> dict[str, int]:
        """What only this engine has, and `iii doctor` shows."""
        settings, channels = self._state.settings, self._state.channels
        return {
            "open_channels": len(channels),
            "max_channels": settings.max_channels,
            "buffered_bytes": channels.buffered_bytes,
            "max_buffer_bytes": settings.max_buffer_bytes,
            "max_connections": settings.max_connections,
        }

    def _get(self, call: Call, given: Given) -> Any:
        return {"value": read_baggage(call.invocation.baggage).get(given["key"])}

    def _set(self, call: Call, given: Given) -> Any:
        return {
            "success": True,
            "note": "baggage is set for this call only; pass it on with your invocations",
        }

    def _get_all(self, call: Call, given: Given) -> Any:
        return {"baggage": read_baggage(call.invocation.baggage)}
