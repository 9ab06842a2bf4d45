"""The engine's own functions (protocol.md section 3). They live in the default namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.engine.builtins.channels import ChannelBuiltins
from iii_cli.engine.builtins.functions import FunctionBuiltins, all_functions
from iii_cli.engine.builtins.health import HealthBuiltins
from iii_cli.engine.builtins.logs import LogBuiltins
from iii_cli.engine.builtins.traces import TraceBuiltins
from iii_cli.engine.builtins.triggers import TriggerBuiltins
from iii_cli.engine.builtins.workers import WorkerBuiltins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.engine.registry import Function
    from iii_cli.engine.sessions import Sessions
    from iii_cli.engine.state import EngineState
    from iii_cli.engine.triggers import TriggerTable

__all__ = ("all_functions", "builtin_functions")


def builtin_functions(state: EngineState, triggers: TriggerTable, sessions: Sessions) -> Iterator[Function]:
    """All of them, for the registry."""
    groups = (
        ChannelBuiltins(state),
        FunctionBuiltins(state, triggers),
        WorkerBuiltins(state, triggers, sessions),
        TriggerBuiltins(state, triggers),
        LogBuiltins(state),
        TraceBuiltins(state),
        HealthBuiltins(state),
    )
    for group in groups:
        for builtin in group.table():
            yield builtin.function()
