"""The completion script for fish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.commands.shell.script_tables import ALIASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.commands.shell.reference import Command, Option

__all__ = ("fish_script",)

_HEAD = """\
# fish completion for iii. Generated from its command tree: `iii completion fish`.

"""

_LOGIC = r"""
# The words before the cursor; then $__iii_path is the command that they come to, $__iii_position the number
# of its arguments so far, $__iii_function the first of these, and $__iii_tail is set behind a `--`.
function __iii_look
    set -l words (commandline -opc)
    set -g __iii_words $words[2..-1]
    set -g __iii_program $words[1]
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    test "$words[1]" = iii; and command -q iii-cli; and set -g __iii_program iii-cli
    set -g __iii_path ''
    set -g __iii_position 0
    set -g __iii_function ''
    set -g __iii_tail
    set -l skip 0
    for word in $__iii_words
        if test $skip -eq 1
            set skip 0
            continue
        end
        switch $word
            case --
                set __iii_tail yes
                return
            case '-*=*'
            case '-*'
                contains -- "$__iii_path/$word" $__iii_takes; or contains -- "*/$word" $__iii_takes
                and set skip 1
            case '*'
                set -l child (__iii_child "$__iii_path/$word")
                if test -n "$child"
                    set __iii_path $child
                else
                    test $__iii_position -eq 0; and set __iii_function $word
                    set __iii_position (math $__iii_position + 1)
                end
        end
    end
end

# Are we in the command of that path, before a `--`?
function __iii_at
    __iii_look
    test "$__iii_path" = "$argv[1]"; and test -z "$__iii_tail"
end

# The same, where one of its commands may follow?
function __iii_group
    __iii_at $argv[1]; and test $__iii_position -eq 0
end

# In the command, at its argument of that index, or (`+`) at one from there on.
function __iii_argument
    __iii_at $argv[1]; or return 1
    string match -q -- '-*' (commandline -ct); and return 1
    switch $argv[2]
        case '*+'
            test $__iii_position -ge (string replace + '' -- $argv[2])
        case '*'
            test $__iii_position -eq $argv[2]
    end
end

function __iii_behind_dashes
    __iii_look
    test -n "$__iii_tail"; and contains -- "$__iii_path" $__iii_tails
end

# COMMAND and its own arguments, as fish completes them elsewhere.
function __iii_tail_words
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    complete -C (string join -- ' ' (string escape -- $words[(math $at + 1)..-1]) (commandline -ct))
end

# What the machine or the engine knows of a kind; nothing within a third of a second is no answer.
function __iii_ask
    __iii_look
    $__iii_program _complete $argv[1] (commandline -ct | string replace -r '^-[^=]*=' '') \
        "$__iii_function" -- $__iii_words 2>/dev/null
end

# Keys with their `=`; behind the `=` what the rest of the arguments say.
function __iii_keys
    set -l typed (commandline -ct)
    if string match -q -- '*=*' $typed
        set -l key (string replace -r '=.*' '=' -- $typed)
        set -l value (string replace -r '^[^=]*=' '' -- $typed)
        switch "$argv[1]"
            case @file
                printf '%s\n' $key(__fish_complete_path $value)
            case @ref
                __iii_look
                printf '%s\n' $key($__iii_program _complete ref $value '' -- $__iii_words 2>/dev/null)
        end
    else
        __iii_ask keys
    end
end

"""


def fish_script(commands: list[Command]) -> str:
    """The whole script."""
    common = commands[0].options
    lines = [_HEAD.rstrip("\n"), "", *_child(commands), "", *_lists(commands), _LOGIC.rstrip("\n"), ""]
    lines += ["complete -c iii -f", "complete -c iii-cli -w iii"]
    lines += [_option("not __iii_behind_dashes", option) for option in common]
    for command in commands:
        lines += _lines(command)
    lines.append("complete -c iii -n __iii_behind_dashes -f -a '(__iii_tail_words)'")
    return "\n".join(lines) + "\n"


def _child(commands: list[Command]) -> Iterator[str]:
    yield "function __iii_child"
    yield "    switch $argv[1]"
    for command in commands[1:]:
        yield f"        case '{' '.join(command.path[:-1])}/{command.path[-1]}'"
        yield f"            echo '{command.name}'"
    for path, word, target in ALIASES:
        yield f"        case '{path}/{word}'"
        yield f"            echo '{target}'"
    yield "    end"
    yield "end"


def _lists(commands: list[Command]) -> Iterator[str]:
    takes = [
        f"'{command.name or '*'}/{flag}'"
        for command in commands
        for option in command.options
        if option.values is not None
        for flag in option.flags
    ]
    yield f"set -g __iii_takes {' '.join(takes)}"
    tails = [f"'{command.name}'" for command in commands if command.tail]
    yield f"set -g __iii_tails {' '.join(tails)}"


def _lines(command: Command) -> Iterator[str]:
    here = f"__iii_at '{command.name}'"
    for word, text in command.children:
        yield f'complete -c iii -n "__iii_group {_quoted(command.name)}" -f -a {word} -d {_quoted(text)}'
    if command.path:
        yield from (_option(here, option) for option in command.options)
    for index, argument in enumerate(command.arguments):
        if argument.values:
            place = f"{index}+" if argument.many else str(index)
            condition = f"__iii_argument '{command.name}' {place}"
            yield f'complete -c iii -n "{condition}" {_values(argument.values)}'


def _option(condition: str, option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    values = "" if option.values is None else f" -r {_values(option.values)}" if option.values else " -x"
    return f'complete -c iii -n "{condition}" {flags}{values} -d {_quoted(option.help)}'


def _values(kinds: str) -> str:
    if kinds == "@file":
        return "-F"
    words, files = [], False
    for kind in kinds.split():
        if kind in ("@file", "@dir"):
            files = True
        elif kind.startswith("@keys="):
            words.append(f"(__iii_keys {kind.removeprefix('@keys=')})")
        elif kind.startswith("@"):
            words.append(f"(__iii_ask {kind[1:]})")
        else:
            words.append(kind)
    if files:
        words.append("(__fish_complete_path (commandline -ct))")
    return f"-f -a {_quoted(' '.join(words))}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
