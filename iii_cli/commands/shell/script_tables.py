"""What every completion script knows of the command tree, as `case` tables that bash and zsh both read.

A path is the words of a command: `channel write`. The program itself is the empty one.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iii_cli.commands.shell.reference import Command, Option

__all__ = ("ALIASES", "Tables", "case_function")

ALIASES = (("", "t", "trigger"),)  # hidden words that people type
Row = tuple[str, str]


class Tables:
    """Rows of a pattern and what it says. The first that fits counts."""

    def __init__(self, commands: list[Command]) -> None:
        self._commands = commands
        self._common = next(command.options for command in commands if not command.path)

    def child(self) -> Iterator[Row]:
        """`PATH/WORD`: the path of the command that the word leads to."""
        for command in self._commands:
            if command.path:
                yield f"'{' '.join(command.path[:-1])}/{command.path[-1]}'", command.name
        for path, word, target in ALIASES:
            yield f"'{path}/{word}'", target

    def children(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """`PATH`: the words that may follow, and what they do."""
        for command in self._commands:
            if command.children:
                yield f"'{command.name}'", list(command.children)

    def flags(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """`PATH`: the options, and what they do."""
        for command in self._commands:
            own = {flag: option.help for option in command.options for flag in option.flags}
            common = {
                flag: option.help for option in self._common for flag in option.flags if flag not in own
            }
            yield f"'{command.name}'", [*own.items(), *common.items()]

    def values(self) -> Iterator[Row]:
        """`PATH/FLAG`: the words and kinds of values that the option takes."""
        for place, option in self._options():
            if option.values is not None:
                yield from ((place(flag), option.values) for flag in option.flags)

    def takes(self) -> Iterator[str]:
        """`PATH/FLAG` of options that take a value."""
        for place, option in self._options():
            if option.values is not None:
                yield from map(place, option.flags)

    def arguments(self) -> Iterator[Row]:
        """`PATH/INDEX`: the kinds of the positional argument."""
        for command in self._commands:
            for index, argument in enumerate(command.arguments):
                end = "/'*" if argument.many else f"/{index}'"
                if argument.values:
                    yield f"'{command.name}{end}", argument.values

    def tails(self) -> Iterator[str]:
        """`PATH` of commands that take a COMMAND behind `--`."""
        yield from (f"'{command.name}'" for command in self._commands if command.tail)

    def _options(self) -> Iterator[tuple[_Place, Option]]:
        for command in self._commands[1:]:
            yield from ((_Place(f"'{command.name}/", "'"), option) for option in command.options)
        yield from ((_Place("*'/", "'"), option) for option in self._common)


class _Place:
    """Where a flag stands."""

    def __init__(self, before: str, behind: str) -> None:
        self._before, self._behind = before, behind

    def __call__(self, flag: str) -> str:
        return f"{self._before}{flag}{self._behind}"


def case_function(name: str, subject: str, rows: Iterable[Row], otherwise: str = "") -> str:
    """A shell function that runs the action of the first pattern that fits."""
    lines = [f"{name}() {{", f'    case "{subject}" in']
    for action, group in groupby(rows, key=lambda row: row[1]):
        lines.append(f"        {' | '.join(pattern for pattern, _ in group)}) {action} ;;")
    if otherwise:
        lines.append(f"        *) {otherwise} ;;")
    return "\n".join([*lines, "    esac", "}", ""])
