"""Who may use whom: cli -> commands -> client | engine | io | config -> net -> protocol -> errors."""

from __future__ import annotations

from tests.house.sources import imports_of, modules

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "limits", "version"}),
    frozenset({"quantities"}),
    frozenset({"protocol"}),
    frozenset({"net"}),
    frozenset({"client", "engine", "io", "config"}),
    frozenset({"commands", "api"}),
    frozenset({"cli"}),
    frozenset({"__main__"}),
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
# The protocol is values in, values out: nothing that waits, tells the time, draws lots or touches the system.
IMPURE = {"anyio", "asyncio", "io", "os", "pathlib", "random", "secrets", "select", "selectors", "shutil"} | {
    *("signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "uuid")
}


def room_of(module: str) -> str | None:
    """The room of one of our modules; None: the package itself, or not ours."""
    parts = module.split(".")
    return parts[1] if parts[0] == "iii_cli" and len(parts) > 1 else None


def may_use(user: str, used: str) -> bool:
    """Downwards only; rooms of one layer do not know each other."""
    return user == used or HEIGHT[used] < HEIGHT[user]


def test_every_module_uses_only_what_is_below_it() -> None:
    wrong = []
    for module in modules():
        user = room_of(module)
        for name, line in imports_of(module):
            used = room_of(name)
            if used is not None and user is not None and not may_use(user, used):
                wrong.append(f"{module}:{line} uses {name}")
    assert wrong == []


def test_the_protocol_is_pure() -> None:
    pure = [module for module in modules() if room_of(module) == "protocol"]
    impure = [(m, name, line) for m in pure for name, line in imports_of(m) if name.split(".")[0] in IMPURE]
    assert impure == []


def test_every_room_has_its_layer() -> None:
    assert {room for module in modules() if (room := room_of(module))} == set(HEIGHT)


def test_the_rule_can_say_no() -> None:
    assert may_use("commands", "protocol")
    assert not may_use("config", "io")
    assert not may_use("protocol", "net")
