# bash completion for iii, 3.2 included (macOS); printed by `iii completion bash`.

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
