"""The command tree as plain values: what man pages and completion scripts are written from.

Typer's signatures are the one place where commands and options are described; this reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from iii_cli.commands.common import TailCommand
from iii_cli.commands.root import TREE, app
from iii_cli.commands.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Argument", "Command", "Option", "commands")

# What stands for a value of this kind in a metavar. `@…` is asked of the machine or the engine; what stands
# behind a `=` is for the part of the word behind its `=`.
_BY_METAVAR = {
    "FILE": "@file",
    "DIR": "@dir",
    "REF": "@ref",
    "FUNCTION": "@function",
    "CONTEXT": "@context",
    "[KEY=]SOURCE": "@keys=@file @file",
    "[KEY=]TARGET": "@keys=@file @file",
    "KEY=REF": "@keys=@ref",
    "KEY=VALUE": "@keys=",
}
# A NAME is the name of something else everywhere.
_BY_PLACE = {
    (None, "context"): "@context",
    (None, "worker"): "@worker",
    ("context use", "name"): "@context",
    ("context show", "name"): "@context",
    ("context rm", "names"): "@context",
    ("ref show", "name"): "@saved",
    ("ref rm", "names"): "@saved",
    ("workers info", "name"): "@worker",
    ("help", "words"): " ".join([*TOPICS, *(word for word, leaf in TREE.items() if leaf.line)]),
    ("workers ls", "runtime"): "python node rust go engine",
}


@dataclass(frozen=True, slots=True)
class Option:
    """An option. `values`: words that it takes, `@…` for a kind of them; None: it takes no value."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    default: str | None
    values: str | None
    many: bool


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument. `many`: it takes all that follow."""

    metavar: str
    help: str
    values: str
    many: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them. `path` without the program's name; () is the program itself."""

    path: tuple[str, ...]
    usage: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    children: tuple[tuple[str, str], ...]  # words and one-line descriptions
    tail: bool  # a COMMAND may stand behind `--`

    @property
    def line(self) -> str:
        """What it does, in one sentence."""
        return self.paragraphs[0]

    @property
    def name(self) -> str:
        """As it is typed behind `iii`."""
        return " ".join(self.path)


def commands() -> list[Command]:
    """Every command that is not hidden, groups before what is in them, the program itself first."""
    root = typer.main.get_command(app)
    return list(_walk(root, typer.Context(root, info_name="iii", help_option_names=["-h", "--help"]), ()))


def _walk(command: Any, context: Any, path: tuple[str, ...]) -> Iterator[Command]:
    children = []
    for word in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, word)
        if not child.hidden:
            children.append((word, child))
    pieces = [context.command_path, *command.collect_usage_pieces(context)]
    parameters = command.get_params(context)
    place = " ".join(path)
    yield Command(
        path=path,
        usage=" ".join(pieces),
        paragraphs=_paragraphs(command.help or ""),
        examples=_examples(command.epilog or ""),
        options=tuple(_option(p, place) for p in parameters if p.param_type_name == "option"),
        arguments=tuple(_argument(p, place) for p in parameters if p.param_type_name == "argument"),
        children=tuple((word, _paragraphs(child.help or "")[0]) for word, child in children),
        tail=isinstance(command, TailCommand),
    )
    for word, child in children:
        below = type(context)(child, info_name=word, parent=context)
        yield from _walk(child, below, (*path, word))


def _option(parameter: Any, place: str) -> Option:
    flags = (*parameter.opts, *parameter.secondary_opts)
    default = parameter.default
    return Option(
        flags=tuple(sorted(flags, key=len)) if not parameter.secondary_opts else tuple(flags),
        metavar="" if parameter.is_flag else parameter.metavar,
        help=parameter.help or "",
        default=None if default in (None, False) or parameter.is_flag else str(default),
        values=None if parameter.is_flag else _values(parameter, place),
        many=bool(parameter.multiple),
    )


def _argument(parameter: Any, place: str) -> Argument:
    return Argument(
        metavar=parameter.metavar,
        help=parameter.help or "",
        values=_values(parameter, place),
        many=parameter.nargs == -1,
    )


def _values(parameter: Any, place: str) -> str:
    for key in ((place, parameter.name), (None, parameter.name)):
        if key in _BY_PLACE:
            return _BY_PLACE[key]
    metavar = re.sub(r"^\[(.*?)\](\.\.\.)?$", r"\1", parameter.metavar).removesuffix("...")
    if metavar in _BY_METAVAR:
        return _BY_METAVAR[metavar]
    words = metavar.split("|")
    known = [_BY_METAVAR.get(word, word if word.islower() or "_" in word else "") for word in words]
    return " ".join(filter(None, known)) if len(words) > 1 else ""


def _paragraphs(help_text: str) -> tuple[str, ...]:
    """The text in front of the examples, a paragraph each, unwrapped."""
    parts = help_text.split("\f")[0].split("\n\n")
    return tuple(" ".join(part.split()) for part in parts if part.strip()) or ("",)


def _examples(epilog: str) -> tuple[str, ...]:
    _, mark, lines = epilog.partition("Examples:\n")
    return tuple(line.strip() for line in lines.splitlines() if line.strip()) if mark else ()
