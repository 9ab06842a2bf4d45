"""The man pages: iii.1, and one for each command, in man(7) macros that groff and mandoc both take."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from iii_cli import __version__
from iii_cli.commands.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iii_cli.commands.shell.reference import Argument, Command, Option

__all__ = ("man_pages",)

DATE = "2026-11-22"  # of this version, never of the day: a page that is generated anew is the same

_SPECIAL = {"\\": r"\e", "-": r"\-", "`": r"\(ga", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
_FILES = (
    ("~/.config/iii/contexts/", "contexts, a 0600 file each; $XDG_CONFIG_HOME moves it"),
    ("~/.local/state/iii/refs/", "saved refs, a 0600 file each; $XDG_STATE_HOME moves it"),
)


def man_pages(commands: list[Command]) -> dict[str, str]:
    """The text of every page by its file's name."""
    return {f"{_page_name(command)}.1": _page(command, commands) for command in commands}


def _page_name(command: Command) -> str:
    return "-".join(("iii", *command.path))


def _page(command: Command, commands: list[Command]) -> str:
    name = _page_name(command)
    lines = [
        '.\\" Generated from the command tree by python -m iii_cli.commands.generate.',
        f'.TH {name.upper()} 1 "{DATE}" "iii {__version__}" "iii manual"',
        ".SH NAME",
        _wrapped(f"{_text(name)} \\- {_text(command.line.rstrip('.'))}"),
        ".SH SYNOPSIS",
        *_synopsis(command),
        ".SH DESCRIPTION",
        *_paragraphs(command.paragraphs),
        *_arguments(command.arguments),
        *_children(command),
        *_options(command),
        *(_whole_program() if not command.path else _exit_status()),
        *_examples(command.examples),
        *_see_also(command, commands),
    ]
    return "\n".join(lines) + "\n"


def _synopsis(command: Command) -> list[str]:
    words, rest = command.usage.split(" ["), ""
    if len(words) > 1:
        rest = " [" + " [".join(words[1:])
    return [f"\\fB{_text(words[0])}\\fP{_text(rest)}"]


def _paragraphs(paragraphs: Iterable[str]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _prose(paragraph)


def _arguments(arguments: tuple[Argument, ...]) -> Iterator[str]:
    if arguments:
        yield ".SH ARGUMENTS"
    for argument in arguments:
        yield from (".TP", f"\\fI{_text(argument.metavar)}\\fP", _prose(argument.help))


def _children(command: Command) -> Iterator[str]:
    if command.children:
        yield ".SH COMMANDS"
    for word, line in command.children:
        yield from (".TP", f"\\fB{_text('-'.join(('iii', *command.path, word)))}\\fP(1)", _prose(line))


def _options(command: Command) -> Iterator[str]:
    yield ".SH OPTIONS"
    for option in command.options:
        yield from (".TP", _flags(option), _prose(_described(option)))
    if command.path:
        yield ".PP"
        yield "Global options, which may stand anywhere up to \\fB\\-\\-\\fP, are in \\fBiii\\fP(1)."


def _flags(option: Option) -> str:
    flags = ", ".join(f"\\fB{_text(flag)}\\fP" for flag in option.flags)
    return f"{flags} \\fI{_text(option.metavar)}\\fP" if option.metavar else flags


def _described(option: Option) -> str:
    default = f" [{option.default}]" if option.default is not None else ""
    repeated = "" if not option.many or "epeatable" in option.help else " May be repeated."
    return f"{option.help}{default}{repeated}"


def _whole_program() -> Iterator[str]:
    for title, topic in (("EXIT STATUS", "exit-codes"), ("ENVIRONMENT", "environment")):
        yield from (f".SH {title}", ".in 0", *_verbatim(TOPICS[topic]))
    yield ".SH FILES"
    for path, text in _FILES:
        yield from (".TP", f"\\fI{_text(path)}\\fP", _prose(text))
    for topic in ("refs", "seals"):
        yield from (f".SH {topic.upper()}", ".in 0", *_verbatim(TOPICS[topic]))


def _exit_status() -> list[str]:
    return [
        ".SH EXIT STATUS",
        "0 when it is done; otherwise a line on standard error says what failed,",
        "where, and what to do next.",
        "The codes are in \\fBiii\\fP(1).",
    ]


def _examples(examples: tuple[str, ...]) -> list[str]:
    return [".SH EXAMPLES", *_verbatim("\n".join(examples))] if examples else []


def _see_also(command: Command, commands: list[Command]) -> list[str]:
    family = [other for other in commands if other.path[:-1] == command.path[:-1] and other is not command]
    family += [other for other in commands if other.path and other.path == command.path[:-1]]
    names = sorted({_page_name(other) for other in family if other.path} | {"iii"} - {_page_name(command)})
    if not command.path:
        names = [_page_name(other) for other in commands if len(other.path) == 1]
    return [".SH SEE ALSO", ",\n".join(f".BR {_text(name)} (1)" for name in names).replace(",\n", " ,\n")]


def _verbatim(text: str) -> list[str]:
    lines = (_text(line) for line in text.rstrip("\n").splitlines())
    return [
        ".EX",
        *(f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in lines),
        ".EE",
    ]


def _prose(text: str) -> str:
    """Words in backquotes are what people type."""
    parts = re.split(r"`([^`]*)`", text)
    line = "".join(f"\\fB{_text(part)}\\fP" if at % 2 else _text(part) for at, part in enumerate(parts))
    sentences = re.split(r"(?<=[a-z0-9)][.!?]) (?=[A-Z])", line)  # one a line, as groff wants it
    return "\n".join(
        _wrapped(f"\\&{each}" if each.startswith((".", "\\(aq")) else each) for each in sentences
    )


def _wrapped(line: str) -> str:
    """The source's lines are short, too. A line must not begin with what roff takes for a request."""
    lines = textwrap.wrap(line, 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"\\&{each}" if each.startswith((".", "\\(aq")) else each for each in lines)


def _text(text: str) -> str:
    return "".join(_SPECIAL.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text)
