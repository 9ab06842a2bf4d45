"""The completion script for zsh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.commands.shell.script_tables import Tables, case_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iii_cli.commands.shell.reference import Command

__all__ = ("zsh_script",)

_HEAD = """\
#compdef iii iii-cli
# zsh completion for iii. Generated from its command tree: `iii completion zsh`.

"""

_LOGIC = r"""
# What the machine or the engine knows of a kind; nothing within a third of a second is no answer.
_iii_ask() {
    local program=${typed[1]}
    local -a found
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    [[ $program == iii ]] && (( $+commands[iii-cli] )) && program=iii-cli
    found=("${(@f)$(_call_program "iii-$1" "${(q)program}" _complete "$1" "${(q)2}" "${(q)func}" -- \
        "${(@q)typed[2,-1]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    (( $#found )) && compadd "${@:3}" -a found
}

# Candidates of each kind given for the word at the cursor.
_iii_offer() {
    local kind result=1
    local -a plain
    for kind in ${=1}; do
        case $kind in
            @keys=*)
                if compset -P '*='; then
                    _iii_offer "${kind#*=}"
                    return
                fi
                _iii_ask keys "$PREFIX" -S '' && result=0
                ;;
            @file) _files && result=0 ;;
            @dir) _files -/ && result=0 ;;
            @*) _iii_ask "${kind#@}" "$PREFIX" && result=0 ;;
            *) plain+=("$kind") ;;
        esac
    done
    (( $#plain )) && compadd -a plain && result=0
    return result
}

_iii() {
    local path_='' func='' flag='' child kinds i=2 position=0
    local -a typed described
    typed=("${(@Q)words[1,CURRENT]}")
    while (( i < CURRENT )); do
        case ${typed[i]} in
            --)
                _iii_tail "$path_" || return 1
                shift i words
                (( CURRENT -= i ))
                _normal
                return
                ;;
            -*=*) ;;
            -*) _iii_takes "$path_" "${typed[i]}" && (( i++ )) ;;
            *)
                child=$(_iii_child "$path_" "${typed[i]}")
                if [[ -n $child ]]; then
                    path_=$child
                else
                    (( position == 0 )) && func=${typed[i]}
                    (( position++ ))
                fi
                ;;
        esac
        (( i++ ))
    done
    if (( i > CURRENT )); then
        flag=${typed[CURRENT - 1]}
    elif [[ $PREFIX == --*=* ]]; then
        flag=${PREFIX%%=*}
        compset -P '--*='
    fi
    if [[ -n $flag ]]; then
        _iii_offer "$(_iii_values "$path_" "$flag")"
    elif [[ $PREFIX == -* ]]; then
        described=("${(@f)$(_iii_flags "$path_")}")
        _describe -o option described
    else
        described=("${(@f)$(_iii_children "$path_")}")
        if [[ -n ${described[1]} ]]; then
            (( position == 0 )) && _describe command described
        else
            _iii_offer "$(_iii_argument "$path_" "$position")"
        fi
    fi
}

if [[ ${funcstack[1]} == _iii ]]; then
    _iii "$@"
else
    compdef _iii iii iii-cli
fi
"""


def zsh_script(commands: list[Command]) -> str:
    """The whole script: a function for `fpath`, which can be sourced too."""
    tables = Tables(commands)
    functions = [
        case_function("_iii_child", "$1/$2", _print(tables.child())),
        case_function("_iii_children", "$1", _print(_described(tables.children()))),
        case_function("_iii_flags", "$1", _print(_described(tables.flags()))),
        case_function("_iii_values", "$1/$2", _print(tables.values())),
        case_function("_iii_argument", "$1/$2", _print(tables.arguments())),
        case_function("_iii_takes", "$1/$2", ((place, "return 0") for place in tables.takes()), "return 1"),
        case_function("_iii_tail", "$1", ((path, "return 0") for path in tables.tails()), "return 1"),
    ]
    return _HEAD + "\n".join(functions) + _LOGIC


def _print(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((pattern, f"print -r -- {_quoted(text)}") for pattern, text in rows)


def _described(rows: Iterable[tuple[str, list[tuple[str, str]]]]) -> Iterator[tuple[str, str]]:
    for path, described in rows:
        yield path, "\n".join(f"{word}:{text.rstrip('.')}" for word, text in described)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
