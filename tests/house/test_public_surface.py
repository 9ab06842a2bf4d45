"""What a module gives is what its `__all__` says: nothing missing, nothing that is not there."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.house.sources import modules, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Packages and the program's start only say what they are.
SILENT = frozenset({"iii_cli.__main__"})


def surface(module: str) -> tuple[str, ...] | None:
    """The module's `__all__`; None: it has none. Fails where it is not a tuple of literal strings."""
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            assert isinstance(node.value, ast.Tuple), f"{module}: __all__ is a tuple"
            return tuple(str(ast.literal_eval(element)) for element in node.value.elts)
    return None


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those under `if` and `try` too, but none of a function or class."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from statements([*node.body, *node.orelse])
            for handler in getattr(node, "handlers", ()):
                yield from statements(handler.body)


def definitions(module: str) -> set[str]:
    """The functions and classes that the module defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in statements(tree_of(module).body) if isinstance(node, kinds)}


def commands(module: str) -> set[str]:
    """The functions that are there for typer alone: `@app.command()` and `@app.callback()`."""
    decorated = (node for node in tree_of(module).body if isinstance(node, ast.FunctionDef))
    return {
        node.name
        for node in decorated
        if any(ast.unparse(d).split("(")[0].endswith((".command", ".callback")) for d in node.decorator_list)
    }


def bound(module: str) -> set[str]:
    """Every name that the module binds at its top level."""
    names = definitions(module)
    for node in statements(tree_of(module).body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
            }
    return names


@pytest.fixture(scope="module")
def surfaces() -> dict[str, tuple[str, ...]]:
    return {module: names for module in modules() if (names := surface(module)) is not None}


def test_every_module_that_defines_something_says_what_it_gives(surfaces: dict[str, tuple[str, ...]]) -> None:
    assert [m for m in modules() if m not in surfaces and m not in SILENT and definitions(m)] == []


def test_nothing_public_is_missing(surfaces: dict[str, tuple[str, ...]]) -> None:
    missing = {
        (module, name)
        for module, names in surfaces.items()
        for name in definitions(module) - set(names) - commands(module)
        if not name.startswith("_")
    }
    assert missing == set()


def test_nothing_is_promised_twice_or_not_there(surfaces: dict[str, tuple[str, ...]]) -> None:
    assert [module for module, names in surfaces.items() if len(set(names)) != len(names)] == []
    assert [
        (module, set(names) - bound(module))
        for module, names in surfaces.items()
        if set(names) - bound(module)
    ] == []


def test_what_others_take_is_given(surfaces: dict[str, tuple[str, ...]]) -> None:
    known = set(modules())
    wrong = {
        (user, node.lineno, alias.name)
        for user in known
        for node in ast.walk(tree_of(user))
        if isinstance(node, ast.ImportFrom) and node.module in surfaces
        for alias in node.names
        if alias.name not in surfaces[node.module] and f"{node.module}.{alias.name}" not in known
    }
    assert wrong == set()
