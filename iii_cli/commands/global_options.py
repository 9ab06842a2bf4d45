"""Global options are accepted before or after the subcommand, up to `--` (design.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("hoist",)


def hoist(command: Any, arguments: list[str]) -> list[str]:
    """Move the root's options to the front of the command line.

    An option that the subcommand declares itself stays with it. `command` is the built command tree.
    """
    takes_value = {
        name: not parameter.is_flag
        for parameter in command.params
        if getattr(parameter, "is_flag", None) is not None
        for name in parameter.opts
        if name not in ("--help", "--version")
    }
    arguments = list(_ungrouped(arguments, takes_value))
    own = _options_of_leaf(command, arguments, takes_value)
    front: list[str] = []
    rest: list[str] = []
    at = 0
    seen_command = False
    while at < len(arguments):
        word = arguments[at]
        if word == "--":
            rest += arguments[at:]
            break
        name, attached = _split(word)
        if name in takes_value and not (seen_command and name in own):
            count = 1 if attached or not takes_value[name] else 2
            front += arguments[at : at + count]
            at += count
            continue
        seen_command = seen_command or not word.startswith("-")
        rest.append(word)
        at += 1
    return front + rest


def _ungrouped(arguments: list[str], takes_value: dict[str, bool]) -> Iterator[str]:
    """`-qo FILE` as `-q -o FILE`: what is ours before what is the subcommand's."""
    words = iter(arguments)
    for word in words:
        while word[:1] == "-" and len(word) > 2 and takes_value.get(word[:2]) is False:
            yield word[:2]
            word = f"-{word[2:]}"
        yield word
        if word == "--":
            yield from words


def _split(word: str) -> tuple[str, bool]:
    """The option's name, and whether its value is attached: `--url=X`, `-nX`."""
    if word.startswith("--"):
        name, equals, _ = word.partition("=")
        return name, bool(equals)
    if word.startswith("-") and len(word) > 2:
        return word[:2], True
    return word, False


def _options_of_leaf(command: Any, arguments: list[str], takes_value: dict[str, bool]) -> set[str]:
    """The option names of the subcommand that this command line comes to."""
    at = 0
    while at < len(arguments) and arguments[at] != "--":
        word = arguments[at]
        name, attached = _split(word)
        if name in takes_value:
            at += 1 if attached or not takes_value[name] else 2
            continue
        children = getattr(command, "commands", None)
        if children is None:
            break
        if word in children:
            command = children[word]
        elif not word.startswith("-"):
            break
        at += 1
    return {name for parameter in command.params for name in parameter.opts}
