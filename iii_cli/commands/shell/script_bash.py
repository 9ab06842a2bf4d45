"""The completion script for bash, 3.2 included (macOS): no associative arrays, no compopt that must be
there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.commands.shell.script_tables import Tables, case_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iii_cli.commands.shell.reference import Command

__all__ = ("bash_script",)

_HEAD = """\
# bash completion for iii. Generated from its command tree: `iii completion bash`.
# Ids of functions hold `::`, which is where readline breaks words: they are put together here, and what
# readline keeps is cut off the answers.

"""

_LOGIC = r"""
# The words up to the cursor into `words`, each as it was typed, whatever COMP_WORDBREAKS made of them.
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

# What the machine or the engine knows of a kind; nothing within a third of a second is no answer.
_iii_ask() {
    local program=${words[0]}
    # Plain `iii` may be the engine's own, which must not be started by a TAB.
    [[ $program == iii ]] && type iii-cli >/dev/null 2>&1 && program=iii-cli
    { "$program" _complete "$1" "$2" "$function" -- "${words[@]:1}"; } 2>/dev/null
}

_iii_add() {
    local word
    while IFS= read -r word; do
        [[ -n $word ]] && COMPREPLY+=("$word")
    done < <("$@" 2>/dev/null)
}

_iii_files() {
    type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
    _iii_add compgen "$1" -- "$2"
}

# Candidates for `cur` of each kind given.
_iii_offer() {
    local kind key
    for kind in $1; do
        case $kind in
            @keys=*)
                key=${cur%%=*}
                if [[ $cur == *=* ]]; then
                    cur=${cur#*=}
                    _iii_offer "${kind#*=}"
                    return
                fi
                type compopt >/dev/null 2>&1 && compopt -o nospace 2>/dev/null
                _iii_add _iii_ask keys "$cur"
                ;;
            @file) _iii_files -f "$cur" ;;
            @dir) _iii_files -d "$cur" ;;
            @*) _iii_add _iii_ask "${kind#@}" "$cur" ;;
            *) [[ $kind == "$cur"* ]] && COMPREPLY+=("$kind") ;;
        esac
    done
}

_iii() {
    local words cur path='' function='' flag='' child kinds i=1 position=0 last
    COMPREPLY=()
    _iii_words
    last=$((${#words[@]} - 1))
    cur=${words[last]}
    while [[ $i -lt $last ]]; do
        case ${words[i]} in
            --)
                if _iii_tail "$path"; then
                    if [[ $((i + 1)) -eq $last ]]; then
                        _iii_add compgen -c -- "$cur"
                    else
                        _iii_files -f "$cur"
                    fi
                fi
                return
                ;;
            -*=*) ;;
            -*) _iii_takes "$path" "${words[i]}" && i=$((i + 1)) ;;
            *)
                child=$(_iii_child "$path" "${words[i]}")
                if [[ -n $child ]]; then
                    path=$child
                else
                    [[ $position -eq 0 ]] && function=${words[i]}
                    position=$((position + 1))
                fi
                ;;
        esac
        i=$((i + 1))
    done
    if [[ $i -gt $last ]]; then
        flag=${words[last - 1]}
    elif [[ $cur == --*=* ]]; then
        flag=${cur%%=*}
        cur=${cur#*=}
    fi
    if [[ -n $flag ]]; then
        _iii_offer "$(_iii_values "$path" "$flag")"
    elif [[ $cur == -* ]]; then
        _iii_offer "$(_iii_flags "$path")"
    else
        kinds=$(_iii_children "$path")
        if [[ -n $kinds && $position -gt 0 ]]; then
            return
        fi
        [[ -n $kinds ]] || kinds=$(_iii_argument "$path" "$position")
        _iii_offer "$kinds"
    fi
    _iii_cut
}

# Readline replaces what stands behind the last break of the word, so the answers must not repeat the rest. An
# `@` is a break that belongs to what follows it.
_iii_cut() {
    local word=${words[${#words[@]} - 1]} kept='' i part
    for ((i = 0; i < ${#word}; i++)); do
        part=${word:i:1}
        [[ $COMP_WORDBREAKS == *"$part"* ]] || continue
        kept=${word:0:i+1}
        [[ $part == @ ]] && kept=${word:0:i}
    done
    part=${word%"$cur"}  # a flag or a key in front of a `=`, which the answers do not hold
    for ((i = 0; i < ${#COMPREPLY[@]}; i++)); do
        word=$part${COMPREPLY[i]}
        COMPREPLY[i]=${word#"$kept"}
    done
}

complete -F _iii iii iii-cli
"""


def bash_script(commands: list[Command]) -> str:
    """The whole script."""
    tables = Tables(commands)
    functions = [
        case_function("_iii_child", "$1/$2", _echo(tables.child())),
        case_function("_iii_children", "$1", _echo(_words(tables.children()))),
        case_function("_iii_flags", "$1", _echo(_words(tables.flags()))),
        case_function("_iii_values", "$1/$2", _echo(tables.values())),
        case_function("_iii_argument", "$1/$2", _echo(tables.arguments())),
        case_function("_iii_takes", "$1/$2", ((place, "return 0") for place in tables.takes()), "return 1"),
        case_function("_iii_tail", "$1", ((path, "return 0") for path in tables.tails()), "return 1"),
    ]
    return _HEAD + "\n".join(functions) + _LOGIC


def _echo(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((pattern, f"echo '{text}'") for pattern, text in rows)


def _words(rows: Iterable[tuple[str, list[tuple[str, str]]]]) -> Iterator[tuple[str, str]]:
    return ((path, " ".join(word for word, _ in described)) for path, described in rows)
