# bash completion for iii. Generated from its command tree: `iii completion bash`.
# Ids of functions hold `::`, which is where readline breaks words: they are put together here, and what
# readline keeps is cut off the answers.

_iii_child() {
    case "$1/$2" in
        '/channel') echo 'channel' ;;
        'channel/create') echo 'channel create' ;;
        'channel/write') echo 'channel write' ;;
        'channel/tee') echo 'channel tee' ;;
        'channel/read') echo 'channel read' ;;
        '/trigger') echo 'trigger' ;;
        '/serve') echo 'serve' ;;
        '/functions') echo 'functions' ;;
        'functions/ls') echo 'functions ls' ;;
        'functions/info') echo 'functions info' ;;
        'functions/wait') echo 'functions wait' ;;
        '/workers') echo 'workers' ;;
        'workers/ls') echo 'workers ls' ;;
        'workers/info') echo 'workers info' ;;
        '/trace') echo 'trace' ;;
        'trace/show') echo 'trace show' ;;
        '/ref') echo 'ref' ;;
        'ref/save') echo 'ref save' ;;
        'ref/ls') echo 'ref ls' ;;
        'ref/show') echo 'ref show' ;;
        'ref/rm') echo 'ref rm' ;;
        '/context') echo 'context' ;;
        'context/add') echo 'context add' ;;
        'context/ls') echo 'context ls' ;;
        'context/use') echo 'context use' ;;
        'context/show') echo 'context show' ;;
        'context/rm') echo 'context rm' ;;
        '/engine') echo 'engine' ;;
        'engine/run') echo 'engine run' ;;
        'engine/exec') echo 'engine exec' ;;
        '/bench') echo 'bench' ;;
        'bench/channel') echo 'bench channel' ;;
        'bench/trigger') echo 'bench trigger' ;;
        'bench/rtt') echo 'bench rtt' ;;
        '/doctor') echo 'doctor' ;;
        '/demo') echo 'demo' ;;
        '/completion') echo 'completion' ;;
        '/help') echo 'help' ;;
        '/t') echo 'trigger' ;;
    esac
}

_iii_children() {
    case "$1" in
        '') echo 'channel trigger serve functions workers trace ref context engine bench doctor demo completion help' ;;
        'channel') echo 'create write tee read' ;;
        'functions') echo 'ls info wait' ;;
        'workers') echo 'ls info' ;;
        'trace') echo 'show' ;;
        'ref') echo 'save ls show rm' ;;
        'context') echo 'add ls use show rm' ;;
        'engine') echo 'run exec' ;;
        'bench') echo 'channel trigger rtt' ;;
    esac
}

_iii_flags() {
    case "$1" in
        '') echo '--url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version -h --help' ;;
        'channel') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'channel create') echo '--buffer --json --export --only --save --force -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'channel write') echo '--lines --jsonl --no-seal --digest --size --receipt --receipt-timeout --timeout --stall-timeout --exit-code --producer --pass-token --progress -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'channel tee') echo '--from --lines --digest --receipt --receipt-timeout --timeout --stall-timeout --exit-code --producer --pass-token --progress -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'channel read') echo '-o --output --no-clobber --keep-partial --lines --text --jsonl --messages --require-seal --allow-empty --deliver-partial --stop-early --peer-timeout --timeout --stall-timeout --exit-code --pass-token --progress -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'trigger') echo '-s --string --json --ref --metadata --void --format --dry-run --in --out --read --result --lines --text --jsonl --messages --seal --no-seal --require-seal --allow-empty --stop-early --no-clobber --keep-partial --pass-token --buffer --linger --stall-timeout --progress --producer --each -P --parallel --fail-fast --trace --exit-code --timeout --timeout-ms --address --port -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'serve') echo '--stdin --stdout --require-seal --allow-empty --stop-early --max-parallel --timeout --grace --cwd --pass-token --description --schema --once --standby --shutdown-timeout --progress -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'functions') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'functions ls') echo '--json --ids --prefix --worker --search --all -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'functions info') echo '--json --template -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'functions wait') echo '--timeout -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'workers') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'workers ls') echo '--json --names --search --runtime -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'workers info') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'trace') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'trace show') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'ref') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'ref save') echo '--force -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'ref ls') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'ref show') echo '--json --end -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'ref rm' | 'context') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'context add') echo '--token --use --force -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'context ls') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'context use') echo '--none -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'context show') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'context rm' | 'engine') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'engine run') echo '--host --port --print-url --log --max-channels --max-buffer-bytes --shutdown-timeout --token-file --allow-origin --allow-host --tls-cert --tls-key -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --cacert --cert --key --server-name --header --version' ;;
        'engine exec') echo '--log --max-channels --max-buffer-bytes -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'bench') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'bench channel') echo '--size -P --clients --duration --message-size --lines --json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'bench trigger') echo '--payload -P --parallel --duration --calls --timeout --json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'bench rtt') echo '--duration --count --message-size --json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'doctor') echo '--json -h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
        'demo' | 'completion' | 'help') echo '-h --help --url --context -n --namespace -q --quiet --verbose --color --connect-timeout --wait-engine --token-file --cacert --cert --key --server-name --header --version' ;;
    esac
}

_iii_values() {
    case "$1/$2" in
        'channel create/--buffer') echo '' ;;
        'channel create/--only') echo 'writer reader' ;;
        'channel create/--save') echo '' ;;
        'channel write/--digest') echo 'xxh3_128 sha256' ;;
        'channel write/--size' | 'channel write/--receipt-timeout' | 'channel write/--timeout' | 'channel write/--stall-timeout') echo '' ;;
        'channel write/--producer') echo 'warn strict ignore' ;;
        'channel write/--progress') echo 'auto always never json' ;;
        'channel tee/--from') echo '@file' ;;
        'channel tee/--digest') echo 'xxh3_128 sha256' ;;
        'channel tee/--receipt-timeout' | 'channel tee/--timeout' | 'channel tee/--stall-timeout') echo '' ;;
        'channel tee/--producer') echo 'warn strict ignore' ;;
        'channel tee/--progress') echo 'auto always never json' ;;
        'channel read/-o' | 'channel read/--output') echo '@file' ;;
        'channel read/--messages') echo 'stderr drop @file' ;;
        'channel read/--peer-timeout' | 'channel read/--timeout' | 'channel read/--stall-timeout') echo '' ;;
        'channel read/--progress') echo 'auto always never json' ;;
        'trigger/-s' | 'trigger/--string') echo '@keys=' ;;
        'trigger/--json') echo '' ;;
        'trigger/--ref') echo '@keys=@ref' ;;
        'trigger/--metadata') echo '' ;;
        'trigger/--format') echo 'pretty jsonl raw' ;;
        'trigger/--in' | 'trigger/--out') echo '@keys=@file @file' ;;
        'trigger/--read') echo '' ;;
        'trigger/--result') echo '@file' ;;
        'trigger/--messages') echo 'stderr drop @file' ;;
        'trigger/--buffer' | 'trigger/--linger' | 'trigger/--stall-timeout') echo '' ;;
        'trigger/--progress') echo 'auto always never json' ;;
        'trigger/--producer') echo 'warn strict ignore' ;;
        'trigger/-P' | 'trigger/--parallel' | 'trigger/--timeout' | 'trigger/--timeout-ms' | 'trigger/--address' | 'trigger/--port') echo '' ;;
        'serve/--stdin') echo 'ref json none' ;;
        'serve/--stdout') echo 'ref result' ;;
        'serve/--max-parallel' | 'serve/--timeout' | 'serve/--grace') echo '' ;;
        'serve/--cwd') echo '@dir' ;;
        'serve/--description') echo '' ;;
        'serve/--schema') echo '@file' ;;
        'serve/--shutdown-timeout') echo '' ;;
        'serve/--progress') echo 'auto json' ;;
        'functions ls/--prefix') echo '' ;;
        'functions ls/--worker') echo '@worker' ;;
        'functions ls/--search' | 'functions wait/--timeout' | 'workers ls/--search') echo '' ;;
        'workers ls/--runtime') echo 'python node rust go engine' ;;
        'ref show/--end') echo 'writer reader' ;;
        'context add/--token' | 'engine run/--host' | 'engine run/--port') echo '' ;;
        'engine run/--log') echo 'text json off' ;;
        'engine run/--max-channels' | 'engine run/--max-buffer-bytes' | 'engine run/--shutdown-timeout') echo '' ;;
        'engine run/--token-file') echo '@file' ;;
        'engine run/--allow-origin' | 'engine run/--allow-host') echo '' ;;
        'engine run/--tls-cert' | 'engine run/--tls-key') echo '@file' ;;
        'engine exec/--log') echo 'text json off' ;;
        'engine exec/--max-channels' | 'engine exec/--max-buffer-bytes' | 'bench channel/--size' | 'bench channel/-P' | 'bench channel/--clients' | 'bench channel/--duration' | 'bench channel/--message-size' | 'bench trigger/--payload' | 'bench trigger/-P' | 'bench trigger/--parallel' | 'bench trigger/--duration' | 'bench trigger/--calls' | 'bench trigger/--timeout' | 'bench rtt/--duration' | 'bench rtt/--count' | 'bench rtt/--message-size' | *'/--url') echo '' ;;
        *'/--context') echo '@context' ;;
        *'/-n' | *'/--namespace') echo '' ;;
        *'/--color') echo 'auto always never' ;;
        *'/--connect-timeout' | *'/--wait-engine') echo '' ;;
        *'/--token-file' | *'/--cacert' | *'/--cert' | *'/--key') echo '@file' ;;
        *'/--server-name' | *'/--header') echo '' ;;
    esac
}

_iii_argument() {
    case "$1/$2" in
        'channel write/0') echo '@ref' ;;
        'channel write/'*) echo '@file' ;;
        'channel tee/'* | 'channel read/0') echo '@ref' ;;
        'trigger/0') echo '@function' ;;
        'trigger/'*) echo '@keys=' ;;
        'functions info/0' | 'functions wait/'*) echo '@function' ;;
        'workers info/0') echo '@worker' ;;
        'ref save/1') echo '@ref' ;;
        'ref show/0' | 'ref rm/'*) echo '@saved' ;;
        'context use/0' | 'context show/0' | 'context rm/'*) echo '@context' ;;
        'bench trigger/0') echo '@function' ;;
        'demo/0') echo '@file' ;;
        'completion/0') echo 'bash zsh fish' ;;
        'help/'*) echo 'exit-codes environment refs seals channel trigger serve functions workers trace ref context engine bench doctor demo completion help' ;;
    esac
}

_iii_takes() {
    case "$1/$2" in
        'channel create/--buffer' | 'channel create/--only' | 'channel create/--save' | 'channel write/--digest' | 'channel write/--size' | 'channel write/--receipt-timeout' | 'channel write/--timeout' | 'channel write/--stall-timeout' | 'channel write/--producer' | 'channel write/--progress' | 'channel tee/--from' | 'channel tee/--digest' | 'channel tee/--receipt-timeout' | 'channel tee/--timeout' | 'channel tee/--stall-timeout' | 'channel tee/--producer' | 'channel tee/--progress' | 'channel read/-o' | 'channel read/--output' | 'channel read/--messages' | 'channel read/--peer-timeout' | 'channel read/--timeout' | 'channel read/--stall-timeout' | 'channel read/--progress' | 'trigger/-s' | 'trigger/--string' | 'trigger/--json' | 'trigger/--ref' | 'trigger/--metadata' | 'trigger/--format' | 'trigger/--in' | 'trigger/--out' | 'trigger/--read' | 'trigger/--result' | 'trigger/--messages' | 'trigger/--buffer' | 'trigger/--linger' | 'trigger/--stall-timeout' | 'trigger/--progress' | 'trigger/--producer' | 'trigger/-P' | 'trigger/--parallel' | 'trigger/--timeout' | 'trigger/--timeout-ms' | 'trigger/--address' | 'trigger/--port' | 'serve/--stdin' | 'serve/--stdout' | 'serve/--max-parallel' | 'serve/--timeout' | 'serve/--grace' | 'serve/--cwd' | 'serve/--description' | 'serve/--schema' | 'serve/--shutdown-timeout' | 'serve/--progress' | 'functions ls/--prefix' | 'functions ls/--worker' | 'functions ls/--search' | 'functions wait/--timeout' | 'workers ls/--search' | 'workers ls/--runtime' | 'ref show/--end' | 'context add/--token' | 'engine run/--host' | 'engine run/--port' | 'engine run/--log' | 'engine run/--max-channels' | 'engine run/--max-buffer-bytes' | 'engine run/--shutdown-timeout' | 'engine run/--token-file' | 'engine run/--allow-origin' | 'engine run/--allow-host' | 'engine run/--tls-cert' | 'engine run/--tls-key' | 'engine exec/--log' | 'engine exec/--max-channels' | 'engine exec/--max-buffer-bytes' | 'bench channel/--size' | 'bench channel/-P' | 'bench channel/--clients' | 'bench channel/--duration' | 'bench channel/--message-size' | 'bench trigger/--payload' | 'bench trigger/-P' | 'bench trigger/--parallel' | 'bench trigger/--duration' | 'bench trigger/--calls' | 'bench trigger/--timeout' | 'bench rtt/--duration' | 'bench rtt/--count' | 'bench rtt/--message-size' | *'/--url' | *'/--context' | *'/-n' | *'/--namespace' | *'/--color' | *'/--connect-timeout' | *'/--wait-engine' | *'/--token-file' | *'/--cacert' | *'/--cert' | *'/--key' | *'/--server-name' | *'/--header') return 0 ;;
        *) return 1 ;;
    esac
}

_iii_tail() {
    case "$1" in
        'channel write' | 'channel tee' | 'channel read' | 'serve' | 'engine exec') return 0 ;;
        *) return 1 ;;
    esac
}

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
