"""The project's own sources, read without importing them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import iii_cli

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("PACKAGE", "imports_of", "modules", "tree_of")

PACKAGE = Path(iii_cli.__file__).parent


def modules() -> list[str]:
    """Every module of the package by its dotted name."""
    names = (path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(part for part in parts if part != "__init__") for parts in names)


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    package = path / "__init__.py"
    return ast.parse((package if package.is_file() else path.with_suffix(".py")).read_text())


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    """Each module that `module` imports anywhere in it, with the line."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            yield node.module or "", node.lineno
