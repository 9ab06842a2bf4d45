"""The command tree, grown as far as a command line reaches (house.md 4.2).

Building a command costs milliseconds: its module is imported, its signature read. A shell loop pays that
every time round, so a command is built when its word is looked up. Names and one-line helps are known before.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from iii_cli.commands.common import PlainCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("LazyGroup", "Leaf", "build")


class Leaf(NamedTuple):
    """Where a word of the tree is found, and its line in the help of its group."""

    place: str  # MODULE:NAME of a Typer, in iii_cli.commands
    line: str  # empty: not listed


class LazyGroup(TyperGroup):
    """A group whose commands are built one by one, when somebody asks for them."""

    lines: Mapping[str, str] = MappingProxyType({})  # of the help; without them the commands are built for it

    def grow(self, builders: Mapping[str, Callable[[], Any]], lines: Mapping[str, str] = lines) -> None:
        """Give the group its words, and how each is built."""
        commands: Any = _Commands(builders)
        self.commands = commands
        self.lines = lines

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Whole sentences: typer cuts them where a row ends."""
        lines = self.lines or {word: _first_sentence(command) for word, command in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(word, line) for word, line in lines.items() if line])


class _Commands(MutableMapping[str, Any]):
    """Built commands by their words, each built at the first look."""

    def __init__(self, builders: Mapping[str, Callable[[], Any]]) -> None:
        self._builders = dict(builders)
        self._built: dict[str, Any] = {}

    def __getitem__(self, word: str) -> Any:
        if word not in self._built:
            self._built[word] = self._builders[word]()
        return self._built[word]

    def __contains__(self, word: object) -> bool:
        return word in self._builders

    def __iter__(self) -> Iterator[str]:
        return iter(self._builders)

    def __len__(self) -> int:
        return len(self._builders)

    def __setitem__(self, word: str, command: Any) -> None:
        self._builders[word] = lambda: command

    def __delitem__(self, word: str) -> None:
        del self._builders[word]


def build(word: str, leaf: Leaf) -> Any:
    """The command for `word`: the Typer's own command of that name, or else the Typer as a group."""
    module, _, name = leaf.place.partition(":")
    found: typer.Typer = getattr(import_module(f"iii_cli.commands.{module}"), name)
    builders = {_word_of(info): lambda info=info: _single(info) for info in found.registered_commands}
    if word in builders:
        return builders[word]()
    group = LazyGroup(
        name=word,
        help=found.info.help,
        no_args_is_help=bool(found.info.no_args_is_help),
        rich_markup_mode=None,
    )
    group.grow(builders)
    return group


def _first_sentence(command: Any) -> str:
    sentence: str = command.get_short_help_str(limit=1000)
    return sentence


def _word_of(info: Any) -> str:
    return info.name or str(info.callback.__name__).replace("_", "-")


def _single(info: Any) -> Any:
    """One command by itself, as typer builds it for a program that has no other."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    info.cls = PlainCommand if info.cls in (None, TyperCommand) else info.cls
    alone.registered_commands.append(info)
    command = typer.main.get_command(alone)
    command.name = _word_of(info)
    _put_examples_last(command)
    return command


def _put_examples_last(command: Any) -> None:
    """People look for examples at the end, behind the options: `Examples:` of a docstring goes there."""
    text, mark, examples = (command.help or "").partition("\b\nExamples:\n")
    if mark:
        command.help, command.epilog = text.rstrip(), mark + examples
