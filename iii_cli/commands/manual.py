"""What is written from the command tree: man pages, the words that a TAB completes; and the shells' scripts.

    python -m iii_cli.commands.manual [FOLDER]      writes man/, completions/ and iii_cli/commands/words.json

They are committed, so that a package needs no running program to carry them; a test says when they are stale.
Typer's signatures are the one place where commands and options are described.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from iii_cli.commands.common import PassthroughCommand
from iii_cli.commands.help import TOPICS
from iii_cli.errors import UsageProblem
from iii_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("SHELLS", "Command", "Parameter", "commands", "completion_app", "generated")

completion_app = typer.Typer()

DATE = "2026-11-22"  # of this version, never of the day: a page that is generated anew is the same
ALIASES = {"t": "trigger"}  # hidden words that people type

# What stands for a value in a metavar. `@…` is a kind of name that the machine or the engine knows; behind
# `@keys=` there are the kinds for what follows a KEY=.
_BY_METAVAR = {
    "FILE": "@file",
    "DIR": "@dir",
    "REF": "@ref",
    "FUNCTION": "@function",
    "STAGE": "@stage",
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
    ("workers ls", "runtime"): "python node rust go engine",
}


@completion_app.command(name="completion")
def completion_command(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell that will read it.")],
) -> None:
    """Print the completion script for bash, zsh or fish.

    `pip install` puts the same scripts into share/, where the shells of most systems look by themselves. They
    complete commands and options without an engine, and with one the ids of functions, their keys, and
    workers.

    \b
    Examples:
      source <(iii completion bash)
      iii completion fish > ~/.config/fish/completions/iii.fish
    """
    from iii_cli.io.console import emit

    if shell not in SHELLS:
        raise UsageProblem(f"no script for {shell!r}", hint="there is one for bash, zsh and fish")
    emit(SHELLS[shell][1])


# The tree as plain values.


class Parameter(Struct, frozen=True):
    """An option, or an argument, which has no flags. `values`: words and kinds; None: it takes no value."""

    flags: tuple[str, ...]
    metavar: str
    help: str
    default: str | None
    values: str | None
    many: bool


class Command(Struct, frozen=True):
    """A command, or a group of them. `path` without the program's name; () is the program itself."""

    path: tuple[str, ...]
    usage: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    options: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]
    children: tuple[tuple[str, str], ...]  # words and one-line descriptions
    passthrough: bool  # a COMMAND may stand behind `--`

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
    from iii_cli.commands.root import app

    root = typer.main.get_command(app)
    return list(_walk(root, typer.Context(root, info_name="iii", help_option_names=["-h", "--help"]), ()))


def _walk(command: Any, context: Any, path: tuple[str, ...]) -> Iterator[Command]:
    words = command.list_commands(context) if hasattr(command, "list_commands") else ()
    built = {word: command.get_command(context, word) for word in words}
    children = {word: child for word, child in built.items() if not child.hidden}
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parameters = [_parameter(parameter, " ".join(path)) for parameter in command.get_params(context)]
    options = tuple(parameter for parameter in parameters if parameter.flags)
    arguments = tuple(parameter for parameter in parameters if not parameter.flags)
    _, mark, examples = (command.epilog or "").partition("Examples:\n")
    lines = [line.strip() for line in examples.splitlines() if line.strip()] if mark else []
    below = tuple((word, _paragraphs(child)[0]) for word, child in children.items())
    passthrough = isinstance(command, PassthroughCommand)
    yield Command(path, usage, _paragraphs(command), tuple(lines), options, arguments, below, passthrough)
    for word, child in children.items():
        yield from _walk(child, type(context)(child, info_name=word, parent=context), (*path, word))


def _paragraphs(command: Any) -> tuple[str, ...]:
    """The help in front of the examples, a paragraph each, unwrapped."""
    parts = (command.help or "").split("\f")[0].split("\n\n")
    return tuple(" ".join(part.split()) for part in parts if part.strip()) or ("",)


def _parameter(parameter: Any, place: str) -> Parameter:
    is_option = parameter.param_type_name == "option"
    is_flag = is_option and parameter.is_flag
    flags = (*parameter.opts, *parameter.secondary_opts) if is_option else ()
    default = None if is_flag or parameter.default in (None, False) else str(parameter.default)
    return Parameter(
        flags=flags if parameter.secondary_opts else tuple(sorted(flags, key=len)),
        metavar="" if is_flag else parameter.metavar,
        help=parameter.help or "",
        default=default if is_option else None,
        values=None if is_flag else _values(parameter, place),
        many=bool(parameter.multiple) if is_option else parameter.nargs == -1,
    )


def _values(parameter: Any, place: str) -> str:
    if place == "help":
        from iii_cli.commands.root import TREE

        return " ".join([*TOPICS, *(word for word, (_, line) in TREE.items() if line)])
    for key in ((place, parameter.name), (None, parameter.name)):
        if key in _BY_PLACE:
            return _BY_PLACE[key]
    metavar = re.sub(r"^\[(.*?)\](\.\.\.)?$", r"\1", parameter.metavar).removesuffix("...")
    if metavar in _BY_METAVAR:
        return _BY_METAVAR[metavar]
    words = metavar.split("|")
    known = [_BY_METAVAR.get(word, word if word.islower() or "_" in word else "") for word in words]
    return " ".join(filter(None, known)) if len(words) > 1 else ""


# The files.


def generated() -> dict[str, str]:
    """Every generated file by its path in the repository."""
    tree = commands()
    return {
        "iii_cli/commands/words.json": _words(tree),
        **{f"completions/{name}": text for name, text in SHELLS.values()},
        # The second name of the program: shells look for a file of that name.
        "completions/iii-cli.bash": '. "${BASH_SOURCE[0]%/*}/iii"\n',
        "completions/iii-cli.fish": "complete -c iii-cli -w iii\n",
        "man/iii-cli.1": ".so man1/iii.1\n",
        **{f"man/{_page_name(command)}.1": _page(command, tree) for command in tree},
    }


def _words(tree: list[Command]) -> str:
    """What completion.py reads: each command by its path, a line each."""
    import json

    lines = [f'"aliases": {json.dumps(ALIASES)}']
    for command in tree:
        entry = {
            "commands": dict(command.children),
            "options": {flag: [o.help, o.values] for o in command.options for flag in o.flags},
            "arguments": [[argument.values or "", argument.many] for argument in command.arguments],
            "passthrough": command.passthrough,
        }
        lines.append(f"{json.dumps(command.name)}: {json.dumps(entry, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _write(folder: Path) -> None:
    files = generated()
    for kept in ("man", "completions"):
        (folder / kept).mkdir(parents=True, exist_ok=True)
        for stale in (folder / kept).iterdir():
            if f"{kept}/{stale.name}" not in files:
                stale.unlink()
    for path, text in files.items():
        (folder / path).write_text(text, encoding="utf-8")


# The man pages, in man(7) macros that groff and mandoc both take.

_SPECIAL = {"\\": r"\e", "-": r"\-", "`": r"\(ga", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
_FILES = (
    ("~/.config/iii-cli/contexts/", "contexts, a 0600 file each; $XDG_CONFIG_HOME moves it"),
    ("~/.local/state/iii-cli/refs/", "saved refs, a 0600 file each; $XDG_STATE_HOME moves it"),
)
_BELOW = (
    ".PP",
    "Global options, which may stand anywhere up to \\fB\\-\\-\\fP, are in \\fBiii\\fP(1).",
    ".SH EXIT STATUS",
    "0 when it is done; otherwise a line on standard error says what failed,",
    "where, and what to do next.",
    "The codes are in \\fBiii\\fP(1).",
)


def _page_name(command: Command) -> str:
    return "-".join(("iii", *command.path))


def _page(command: Command, tree: list[Command]) -> str:
    name = _page_name(command)
    program, _, rest = command.usage.partition(" [")
    lines = [
        '.\\" Generated from the command tree by python -m iii_cli.commands.manual.',
        f'.TH {name.upper()} 1 "{DATE}" "iii {__version__}" "iii manual"',
        ".SH NAME",
        _wrapped(f"{_text(name)} \\- {_text(command.line.rstrip('.'))}"),
        ".SH SYNOPSIS",
        f"\\fB{_text(program)}\\fP{_text(f' [{rest}' if rest else '')}",
        ".SH DESCRIPTION",
        "\n.PP\n".join(_prose(paragraph) for paragraph in command.paragraphs),
    ]
    arguments = [(f"\\fI{_text(argument.metavar)}\\fP", argument.help) for argument in command.arguments]
    children = [(f"\\fB{_text(f'{name}-{word}')}\\fP(1)", line) for word, line in command.children]
    options = [(_flags(option), _described(option)) for option in command.options]
    lines += [*_items("ARGUMENTS", arguments), *_items("COMMANDS", children), *_items("OPTIONS", options)]
    if command.path:
        lines += _BELOW
    else:
        lines += [*_topic("EXIT STATUS", "exit-codes"), *_topic("ENVIRONMENT", "environment")]
        lines += _items("FILES", [(f"\\fI{_text(path)}\\fP", text) for path, text in _FILES])
        lines += [*_topic("REFS", "refs"), *_topic("SEALS", "seals")]
    if command.examples:
        lines += [".SH EXAMPLES", *_verbatim("\n".join(command.examples))]
    others = [other for other in tree if len(other.path) == 1]
    if command.path:  # its brothers, and the group that it is in
        others = [o for o in tree if o.path[:-1] == command.path[:-1] or o.path == command.path[:-1]]
    names = sorted({_page_name(other) for other in others} | {"iii"} - {name} if command.path else [])
    names = names or [_page_name(other) for other in others]
    see = " ,\n".join(f".BR {_text(each)} (1)" for each in names if each != name)
    return "\n".join([*lines, ".SH SEE ALSO", see]) + "\n"


def _items(title: str, items: Iterable[tuple[str, str]]) -> list[str]:
    lines = [line for term, text in items for line in (".TP", term, _prose(text))]
    return [f".SH {title}", *lines] if lines else []


def _topic(title: str, topic: str) -> list[str]:
    return [f".SH {title}", ".in 0", *_verbatim(TOPICS[topic])]


def _flags(option: Parameter) -> str:
    flags = ", ".join(f"\\fB{_text(flag)}\\fP" for flag in option.flags)
    return f"{flags} \\fI{_text(option.metavar)}\\fP" if option.metavar else flags


def _described(option: Parameter) -> str:
    default = f" [{option.default}]" if option.default is not None else ""
    repeated = "" if not option.many or "epeatable" in option.help else " May be repeated."
    return f"{option.help}{default}{repeated}"


def _verbatim(text: str) -> list[str]:
    return [".EX", *(_no_request(_text(line)) for line in text.rstrip("\n").splitlines()), ".EE"]


def _prose(text: str) -> str:
    """Words in backquotes are what people type. One sentence a line, as groff wants it."""
    parts = re.split(r"`([^`]*)`", text)
    line = "".join(f"\\fB{_text(part)}\\fP" if at % 2 else _text(part) for at, part in enumerate(parts))
    return "\n".join(_wrapped(each) for each in re.split(r"(?<=[a-z0-9)][.!?]) (?=[A-Z])", line))


def _wrapped(line: str) -> str:
    lines = textwrap.wrap(line, 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_no_request, lines))


def _no_request(line: str) -> str:
    """A line must not begin with what roff takes for a request."""
    return f"\\&{line}" if line.startswith((".", "\\(aq")) else line


def _text(text: str) -> str:
    return "".join(_SPECIAL.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text)


# The shells' scripts. Each hands the words to `iii _complete line`; completion.py says what comes back.

_BASH = r"""# bash completion for iii, 3.2 included (macOS); printed by `iii completion bash`.

# The words up to the cursor into `words`, each as it was typed: readline breaks them at `:` and `=`.
_iii_words() {
    local line=${COMP_LINE:0:COMP_POINT} rest spaces i at=0
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        rest=${line:at}
        spaces=${rest%%[![:space:]]*}
        at=$((at + ${#spaces}))
        if [[ $i -gt 0 && -z $spaces ]]; then
            words[${#words[@]} - 1]+=${line:at:${#COMP_WORDS[i]}}
        else
            words+=("${line:at:${#COMP_WORDS[i]}}")
        fi
        at=$((at + ${#COMP_WORDS[i]}))
    done
}

_iii_add() {
    local word
    while IFS= read -r word; do
        [[ -n $word ]] && COMPREPLY+=("${word%%$'\t'*}")
    done < <("$@" 2>/dev/null)
}

_iii_option() {
    type compopt >/dev/null 2>&1 && compopt -o "$1" 2>/dev/null
}

_iii() {
    local words cur program last how before kept='' i part
    COMPREPLY=()
    _iii_words
    last=$((${#words[@]} - 1))
    cur=${words[last]}
    program=${words[0]}
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    [[ $program == iii ]] && type iii-cli >/dev/null 2>&1 && program=iii-cli
    _iii_add "$program" _complete line "$cur" -- "${words[@]:1:last-1}"
    [[ ${#COMPREPLY[@]} -gt 0 ]] || return
    how=${COMPREPLY[0]% *}
    before=${COMPREPLY[0]##* }
    COMPREPLY=("${COMPREPLY[@]:1}")
    case $how in
        rest)
            if [[ $((before + 1)) -eq $last ]]; then
                _iii_add compgen -c -- "$cur"
            else
                _iii_option filenames
                _iii_add compgen -f -- "$cur"
            fi
            return
            ;;
        files*) _iii_option filenames; _iii_add compgen -f -- "${cur:before}" ;;
        dirs*) _iii_option filenames; _iii_add compgen -d -- "${cur:before}" ;;
    esac
    [[ $how == *nospace ]] && _iii_option nospace
    if [[ $cur == [\'\"]* ]]; then # an open quote: readline replaces all that stands behind it
        COMPREPLY=("${COMPREPLY[@]/#/${cur:1:before-1}}")
        return
    fi
    # Readline replaces what stands behind the last break of the word, so the answers must not repeat the
    # rest. An `@` is a break that belongs to what follows it.
    for ((i = 0; i < ${#cur}; i++)); do
        part=${cur:i:1}
        [[ $COMP_WORDBREAKS == *"$part"* ]] || continue
        kept=${cur:0:i+1}
        [[ $part == @ ]] && kept=${cur:0:i}
    done
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        part=${cur:0:before}${COMPREPLY[i]}
        COMPREPLY[i]=${part#"$kept"}
    done
}

complete -F _iii iii iii-cli
"""

_ZSH = r"""#compdef iii iii-cli
# zsh completion for iii; printed by `iii completion zsh`.

_iii() {
    local program=${(Q)words[1]} how before line
    local -a typed answer plain described
    typed=("${(@Q)words[2,CURRENT-1]}")
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    [[ $program == iii ]] && (( $+commands[iii-cli] )) && program=iii-cli
    answer=("${(@f)$(_call_program iii "${(q)program}" _complete line "${(q)PREFIX}" -- "${(@q)typed}" \
        2>/dev/null)}")
    [[ -n ${answer[1]} ]] || return 1
    how=${answer[1]% *} before=${answer[1]##* }
    if [[ $how == rest ]]; then
        shift $(( before + 1 )) words
        (( CURRENT -= before + 1 ))
        _normal
        return
    fi
    compset -p $before
    for line in "${(@)answer[2,-1]}"; do
        if [[ $line == *$'\t'* ]]; then
            described+=("${${line%%$'\t'*}//:/\\:}:${${line#*$'\t'}%.}")
        else
            plain+=("$line")
        fi
    done
    [[ $how == files* ]] && _files
    [[ $how == dirs* ]] && _files -/
    if (( $#described )); then
        if [[ $PREFIX == -* ]]; then _describe -o option described; else _describe command described; fi
    fi
    if (( $#plain )); then
        if [[ $how == *nospace ]]; then compadd -S '' -a plain; else compadd -a plain; fi
    fi
}

if [[ ${funcstack[1]} == _iii ]]; then
    _iii "$@"
else
    compdef _iii iii iii-cli
fi
"""

_FISH = r"""# fish completion for iii; printed by `iii completion fish`.

function __iii_complete
    set -l words (commandline -opc)
    set -l word (string replace -r '^[\'"]' '' -- (commandline -ct))
    set -l program $words[1]
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    test "$program" = iii; and command -q iii-cli; and set program iii-cli
    set -l answer ($program _complete line "$word" -- $words[2..-1] 2>/dev/null)
    set -q answer[1]; or return
    set -l how (string split ' ' -- $answer[1])
    set -l before (string sub -l $how[-1] -- "$word")
    switch $how[1]
        case rest
            set -l rest (string escape -- $words[(math $how[-1] + 2)..-1])
            complete -C (string join -- ' ' $rest "$word")
            return
        case files dirs
            printf '%s\n' "$before"(__fish_complete_path (string sub -s (math $how[-1] + 1) -- "$word"))
    end
    set -q answer[2]; and printf '%s\n' "$before"$answer[2..-1]
end

complete -c iii -f -a '(__iii_complete)'
complete -c iii-cli -w iii
"""

SHELLS = {"bash": ("iii.bash", _BASH), "zsh": ("_iii", _ZSH), "fish": ("iii.fish", _FISH)}

if __name__ == "__main__":
    _write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
