# fish completion for iii. Generated from its command tree: `iii completion fish`.

function __iii_child
    switch $argv[1]
        case '/channel'
            echo 'channel'
        case 'channel/create'
            echo 'channel create'
        case 'channel/write'
            echo 'channel write'
        case 'channel/tee'
            echo 'channel tee'
        case 'channel/read'
            echo 'channel read'
        case '/trigger'
            echo 'trigger'
        case '/serve'
            echo 'serve'
        case '/functions'
            echo 'functions'
        case 'functions/ls'
            echo 'functions ls'
        case 'functions/info'
            echo 'functions info'
        case 'functions/wait'
            echo 'functions wait'
        case '/workers'
            echo 'workers'
        case 'workers/ls'
            echo 'workers ls'
        case 'workers/info'
            echo 'workers info'
        case '/trace'
            echo 'trace'
        case 'trace/show'
            echo 'trace show'
        case '/ref'
            echo 'ref'
        case 'ref/save'
            echo 'ref save'
        case 'ref/ls'
            echo 'ref ls'
        case 'ref/show'
            echo 'ref show'
        case 'ref/rm'
            echo 'ref rm'
        case '/context'
            echo 'context'
        case 'context/add'
            echo 'context add'
        case 'context/ls'
            echo 'context ls'
        case 'context/use'
            echo 'context use'
        case 'context/show'
            echo 'context show'
        case 'context/rm'
            echo 'context rm'
        case '/engine'
            echo 'engine'
        case 'engine/run'
            echo 'engine run'
        case 'engine/exec'
            echo 'engine exec'
        case '/bench'
            echo 'bench'
        case 'bench/channel'
            echo 'bench channel'
        case 'bench/trigger'
            echo 'bench trigger'
        case 'bench/rtt'
            echo 'bench rtt'
        case '/doctor'
            echo 'doctor'
        case '/demo'
            echo 'demo'
        case '/completion'
            echo 'completion'
        case '/help'
            echo 'help'
        case '/t'
            echo 'trigger'
    end
end

set -g __iii_takes '*/--url' '*/--context' '*/-n' '*/--namespace' '*/--color' '*/--connect-timeout' '*/--wait-engine' '*/--token-file' '*/--cacert' '*/--cert' '*/--key' '*/--server-name' '*/--header' 'channel create/--buffer' 'channel create/--only' 'channel create/--save' 'channel write/--digest' 'channel write/--size' 'channel write/--receipt-timeout' 'channel write/--timeout' 'channel write/--stall-timeout' 'channel write/--producer' 'channel write/--progress' 'channel tee/--from' 'channel tee/--digest' 'channel tee/--receipt-timeout' 'channel tee/--timeout' 'channel tee/--stall-timeout' 'channel tee/--producer' 'channel tee/--progress' 'channel read/-o' 'channel read/--output' 'channel read/--messages' 'channel read/--peer-timeout' 'channel read/--timeout' 'channel read/--stall-timeout' 'channel read/--progress' 'trigger/-s' 'trigger/--string' 'trigger/--json' 'trigger/--ref' 'trigger/--metadata' 'trigger/--format' 'trigger/--in' 'trigger/--out' 'trigger/--read' 'trigger/--result' 'trigger/--messages' 'trigger/--buffer' 'trigger/--linger' 'trigger/--stall-timeout' 'trigger/--progress' 'trigger/--producer' 'trigger/-P' 'trigger/--parallel' 'trigger/--timeout' 'trigger/--timeout-ms' 'trigger/--address' 'trigger/--port' 'serve/--stdin' 'serve/--stdout' 'serve/--max-parallel' 'serve/--timeout' 'serve/--grace' 'serve/--cwd' 'serve/--description' 'serve/--schema' 'serve/--shutdown-timeout' 'serve/--progress' 'functions ls/--prefix' 'functions ls/--worker' 'functions ls/--search' 'functions wait/--timeout' 'workers ls/--search' 'workers ls/--runtime' 'ref show/--end' 'context add/--token' 'engine run/--host' 'engine run/--port' 'engine run/--log' 'engine run/--max-channels' 'engine run/--max-buffer-bytes' 'engine run/--shutdown-timeout' 'engine run/--token-file' 'engine run/--allow-origin' 'engine run/--allow-host' 'engine run/--tls-cert' 'engine run/--tls-key' 'engine exec/--log' 'engine exec/--max-channels' 'engine exec/--max-buffer-bytes' 'bench channel/--size' 'bench channel/-P' 'bench channel/--clients' 'bench channel/--duration' 'bench channel/--message-size' 'bench trigger/--payload' 'bench trigger/-P' 'bench trigger/--parallel' 'bench trigger/--duration' 'bench trigger/--calls' 'bench trigger/--timeout' 'bench rtt/--duration' 'bench rtt/--count' 'bench rtt/--message-size'
set -g __iii_tails 'channel write' 'channel tee' 'channel read' 'serve' 'engine exec'

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

complete -c iii -f
complete -c iii-cli -w iii
complete -c iii -n "not __iii_behind_dashes" -l url -x -d 'The engine, ws://HOST:PORT or wss://….'
complete -c iii -n "not __iii_behind_dashes" -l context -r -f -a '(__iii_ask context)' -d 'Use a saved context.'
complete -c iii -n "not __iii_behind_dashes" -s n -l namespace -x -d 'Namespace of the functions called.'
complete -c iii -n "not __iii_behind_dashes" -s q -l quiet -d 'Say nothing but errors.'
complete -c iii -n "not __iii_behind_dashes" -l verbose -d 'Show each connection, request and close on stderr; keys are masked.'
complete -c iii -n "not __iii_behind_dashes" -l color -r -f -a 'auto always never' -d 'Colours on stderr. [auto]'
complete -c iii -n "not __iii_behind_dashes" -l connect-timeout -x -d 'For the connection to the engine. [10s]'
complete -c iii -n "not __iii_behind_dashes" -l wait-engine -x -d 'Retry a refused connection for so long.'
complete -c iii -n "not __iii_behind_dashes" -l token-file -r -F -d 'Read the bearer token from FILE.'
complete -c iii -n "not __iii_behind_dashes" -l cacert -r -F -d 'Trust this authority for wss://.'
complete -c iii -n "not __iii_behind_dashes" -l cert -r -F -d 'Client certificate for wss://.'
complete -c iii -n "not __iii_behind_dashes" -l key -r -F -d 'Its key.'
complete -c iii -n "not __iii_behind_dashes" -l server-name -x -d 'The name expected in the engine\'s certificate.'
complete -c iii -n "not __iii_behind_dashes" -l header -x -d 'Send a header, or those of FILE.'
complete -c iii -n "not __iii_behind_dashes" -l version -d 'Print the version.'
complete -c iii -n "not __iii_behind_dashes" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_group ''" -f -a channel -d 'Make channels, write into them and read from them.'
complete -c iii -n "__iii_group ''" -f -a trigger -d 'Call a function, with streams if it wants some, and print its result as JSON; nothing for null.'
complete -c iii -n "__iii_group ''" -f -a serve -d 'Make any Unix filter a function: COMMAND runs once for each call.'
complete -c iii -n "__iii_group ''" -f -a functions -d 'See which functions there are, and wait for them.'
complete -c iii -n "__iii_group ''" -f -a workers -d 'See which workers are connected, and what they offer.'
complete -c iii -n "__iii_group ''" -f -a trace -d 'See what happened in a trace.'
complete -c iii -n "__iii_group ''" -f -a ref -d 'Keep the refs of channels by name.'
complete -c iii -n "__iii_group ''" -f -a context -d 'Manage saved engines (contexts).'
complete -c iii -n "__iii_group ''" -f -a engine -d 'Run the embedded engine: for development, tests and CI.'
complete -c iii -n "__iii_group ''" -f -a bench -d 'Measure an engine: bytes, calls and round trips a second.'
complete -c iii -n "__iii_group ''" -f -a doctor -d 'Look at the engine, the settings and this machine, and say what to do about what is not fine.'
complete -c iii -n "__iii_group ''" -f -a demo -d 'Stream a file through a served Unix filter and back, and compare what came out.'
complete -c iii -n "__iii_group ''" -f -a completion -d 'Print the completion script for bash, zsh or fish.'
complete -c iii -n "__iii_group ''" -f -a help -d 'Explain exit-codes, environment, refs or seals, or a command.'
complete -c iii -n "__iii_group 'channel'" -f -a create -d 'Make a channel and print the refs of its two ends.'
complete -c iii -n "__iii_group 'channel'" -f -a write -d 'Write stdin, FILEs or the output of COMMAND into a channel.'
complete -c iii -n "__iii_group 'channel'" -f -a tee -d 'Write stdin, FILE or the output of COMMAND into several channels, each a sealed stream of its own.'
complete -c iii -n "__iii_group 'channel'" -f -a read -d 'Read a channel to stdout, into FILE or into COMMAND; exit 0 means that every byte arrived.'
complete -c iii -n "__iii_at 'channel'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'channel create'" -l buffer -x -d 'Messages that the engine holds. [64]'
complete -c iii -n "__iii_at 'channel create'" -l json -d 'Print the engine\'s own object.'
complete -c iii -n "__iii_at 'channel create'" -l export -d 'Print lines for eval: III_WRITER, III_READER.'
complete -c iii -n "__iii_at 'channel create'" -l only -r -f -a 'writer reader' -d 'Print one token alone.'
complete -c iii -n "__iii_at 'channel create'" -l save -x -d 'Save both ends as @NAME.'
complete -c iii -n "__iii_at 'channel create'" -l force -d 'Replace a saved name that is not used yet.'
complete -c iii -n "__iii_at 'channel create'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'channel write'" -l lines -d 'A line is a text message.'
complete -c iii -n "__iii_at 'channel write'" -l jsonl -d 'A line is a frame, {"text":…} or {"base64":…}.'
complete -c iii -n "__iii_at 'channel write'" -l no-seal -d 'Send the bare bytes.'
complete -c iii -n "__iii_at 'channel write'" -l digest -r -f -a 'xxh3_128 sha256' -d 'What the seal promises.'
complete -c iii -n "__iii_at 'channel write'" -l size -x -d 'Promise exactly that many: other than that aborts the stream.'
complete -c iii -n "__iii_at 'channel write'" -l receipt -d 'Wait until the reader confirms that it has the data.'
complete -c iii -n "__iii_at 'channel write'" -l receipt-timeout -x -d 'Without a word from the reader, after our close. [60s]'
complete -c iii -n "__iii_at 'channel write'" -l timeout -x -d 'Limit for the whole of it: 500ms, 30s, 5m.'
complete -c iii -n "__iii_at 'channel write'" -l stall-timeout -x -d 'End when nothing moved for so long.'
complete -c iii -n "__iii_at 'channel write'" -l exit-code -d 'Pass COMMAND\'s own exit code on.'
complete -c iii -n "__iii_at 'channel write'" -l producer -r -f -a 'warn strict ignore' -d 'What it means when the program before the pipe fails.'
complete -c iii -n "__iii_at 'channel write'" -l pass-token -d 'Let COMMAND inherit the engine\'s token and full URL.'
complete -c iii -n "__iii_at 'channel write'" -l progress -r -f -a 'auto always never json' -d 'How it gets on, on stderr.'
complete -c iii -n "__iii_at 'channel write'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'channel write' 0" -f -a '(__iii_ask ref)'
complete -c iii -n "__iii_argument 'channel write' 1+" -F
complete -c iii -n "__iii_at 'channel tee'" -l from -r -F -d 'Instead of stdin.'
complete -c iii -n "__iii_at 'channel tee'" -l lines -d 'A line is a text message.'
complete -c iii -n "__iii_at 'channel tee'" -l digest -r -f -a 'xxh3_128 sha256' -d 'What the seal promises.'
complete -c iii -n "__iii_at 'channel tee'" -l receipt -d 'Wait until each reader confirms that it has the data.'
complete -c iii -n "__iii_at 'channel tee'" -l receipt-timeout -x -d 'Without a word from the reader, after our close. [60s]'
complete -c iii -n "__iii_at 'channel tee'" -l timeout -x -d 'Limit for the whole of it: 500ms, 30s, 5m.'
complete -c iii -n "__iii_at 'channel tee'" -l stall-timeout -x -d 'End when nothing moved for so long.'
complete -c iii -n "__iii_at 'channel tee'" -l exit-code -d 'Pass COMMAND\'s own exit code on.'
complete -c iii -n "__iii_at 'channel tee'" -l producer -r -f -a 'warn strict ignore' -d 'What it means when the program before the pipe fails.'
complete -c iii -n "__iii_at 'channel tee'" -l pass-token -d 'Let COMMAND inherit the engine\'s token and full URL.'
complete -c iii -n "__iii_at 'channel tee'" -l progress -r -f -a 'auto always never json' -d 'How it gets on, on stderr.'
complete -c iii -n "__iii_at 'channel tee'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'channel tee' 0+" -f -a '(__iii_ask ref)'
complete -c iii -n "__iii_at 'channel read'" -s o -l output -r -F -d 'Instead of stdout; appears when whole.'
complete -c iii -n "__iii_at 'channel read'" -l no-clobber -d 'Refuse a FILE that exists.'
complete -c iii -n "__iii_at 'channel read'" -l keep-partial -d 'Keep FILE.part on failure.'
complete -c iii -n "__iii_at 'channel read'" -l lines -d 'A line is a text message.'
complete -c iii -n "__iii_at 'channel read'" -l text -d 'Text messages joined as they are.'
complete -c iii -n "__iii_at 'channel read'" -l jsonl -d 'A line is a frame, {"text":…} or {"base64":…}.'
complete -c iii -n "__iii_at 'channel read'" -l messages -r -f -a 'stderr drop (__fish_complete_path (commandline -ct))' -d 'Where text messages beside bytes go. [stderr]'
complete -c iii -n "__iii_at 'channel read'" -l require-seal -d 'A stream that cannot be verified fails.'
complete -c iii -n "__iii_at 'channel read'" -l allow-empty -d 'Nothing at all is no failure.'
complete -c iii -n "__iii_at 'channel read'" -l deliver-partial -d 'COMMAND sees a truncated stream\'s end too.'
complete -c iii -n "__iii_at 'channel read'" -l stop-early -d 'End when COMMAND wants no more; do not read and verify the rest.'
complete -c iii -n "__iii_at 'channel read'" -l peer-timeout -x -d 'Give up if no byte, not even a heartbeat, comes for TIME. [60s]'
complete -c iii -n "__iii_at 'channel read'" -l timeout -x -d 'Limit for the whole of it: 500ms, 30s, 5m.'
complete -c iii -n "__iii_at 'channel read'" -l stall-timeout -x -d 'End when nothing moved for so long.'
complete -c iii -n "__iii_at 'channel read'" -l exit-code -d 'Pass COMMAND\'s own exit code on.'
complete -c iii -n "__iii_at 'channel read'" -l pass-token -d 'Let COMMAND inherit the engine\'s token and full URL.'
complete -c iii -n "__iii_at 'channel read'" -l progress -r -f -a 'auto always never json' -d 'How it gets on, on stderr.'
complete -c iii -n "__iii_at 'channel read'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'channel read' 0" -f -a '(__iii_ask ref)'
complete -c iii -n "__iii_at 'trigger'" -s s -l string -r -f -a '(__iii_keys )' -d 'VALUE stays a string.'
complete -c iii -n "__iii_at 'trigger'" -l json -x -d 'The payload, or what KEY=VALUE is merged over.'
complete -c iii -n "__iii_at 'trigger'" -l ref -r -f -a '(__iii_keys @ref)' -d 'Put a ref at KEY (a.b[0].reader) of the payload.'
complete -c iii -n "__iii_at 'trigger'" -l metadata -x -d 'Sent beside the payload.'
complete -c iii -n "__iii_at 'trigger'" -l void -d 'Do not wait for an answer.'
complete -c iii -n "__iii_at 'trigger'" -l format -r -f -a 'pretty jsonl raw' -d 'Of the result; raw: a string as it is.'
complete -c iii -n "__iii_at 'trigger'" -l dry-run -d 'Print the payload, keys masked, and make no call.'
complete -c iii -n "__iii_at 'trigger'" -l in -r -f -a '(__iii_keys @file) (__fish_complete_path (commandline -ct))' -d 'Stream FILE, - or cmd:COMMAND to the function; its reader ref is put at KEY. [stdin]'
complete -c iii -n "__iii_at 'trigger'" -l out -r -f -a '(__iii_keys @file) (__fish_complete_path (commandline -ct))' -d 'Stream from the function to FILE, - or cmd:COMMAND; a writer ref is put at KEY. [stdout]'
complete -c iii -n "__iii_at 'trigger'" -l read -x -d 'Read the ref found at PATH of the result.'
complete -c iii -n "__iii_at 'trigger'" -l result -r -F -d 'Where the result goes; stderr if stdout is a stream.'
complete -c iii -n "__iii_at 'trigger'" -l lines -d 'Streams: a line is a text message.'
complete -c iii -n "__iii_at 'trigger'" -l text -d '--out: text messages joined as they are.'
complete -c iii -n "__iii_at 'trigger'" -l jsonl -d 'Streams: a line is a frame, {"text":…} or {"base64":…}.'
complete -c iii -n "__iii_at 'trigger'" -l messages -r -f -a 'stderr drop (__fish_complete_path (commandline -ct))' -d 'Where text messages beside bytes go. [stderr]'
complete -c iii -n "__iii_at 'trigger'" -l seal -l no-seal -d 'Seal what --in sends. [bytes: yes, text messages: no]'
complete -c iii -n "__iii_at 'trigger'" -l require-seal -d 'An --out that cannot be verified fails.'
complete -c iii -n "__iii_at 'trigger'" -l allow-empty -d 'An empty --out is no failure.'
complete -c iii -n "__iii_at 'trigger'" -l stop-early -d 'cmd: targets: end when COMMAND wants no more, unverified.'
complete -c iii -n "__iii_at 'trigger'" -l no-clobber -d 'Refuse a FILE that exists.'
complete -c iii -n "__iii_at 'trigger'" -l keep-partial -d 'Keep FILE.part on failure.'
complete -c iii -n "__iii_at 'trigger'" -l pass-token -d 'Let COMMAND inherit the engine\'s token and full URL.'
complete -c iii -n "__iii_at 'trigger'" -l buffer -x -d 'Messages that the engine holds for a stream.'
complete -c iii -n "__iii_at 'trigger'" -l linger -x -d 'After the result: silence before a stream is looked into. [5s]'
complete -c iii -n "__iii_at 'trigger'" -l stall-timeout -x -d 'End when nothing moved for so long. [60s after the result]'
complete -c iii -n "__iii_at 'trigger'" -l progress -r -f -a 'auto always never json' -d 'How the streams get on, on stderr.'
complete -c iii -n "__iii_at 'trigger'" -l producer -r -f -a 'warn strict ignore' -d '--in -: what it means when the program before the pipe fails.'
complete -c iii -n "__iii_at 'trigger'" -l each -d 'A call for each line of JSON on stdin, a line of JSON for each answer.'
complete -c iii -n "__iii_at 'trigger'" -s P -l parallel -x -d '--each: calls in flight. [1]'
complete -c iii -n "__iii_at 'trigger'" -l fail-fast -d '--each: begin no more calls after one that failed.'
complete -c iii -n "__iii_at 'trigger'" -l trace -d 'Print the trace id, and what the engine knows of the trace.'
complete -c iii -n "__iii_at 'trigger'" -l exit-code -d 'Pass on the code of a COMMAND, or `exit_code` of the result.'
complete -c iii -n "__iii_at 'trigger'" -l timeout -x -d 'Limit for all of it (--each: of a call). 0: none. [30s, none with streams]'
complete -c iii -n "__iii_at 'trigger'" -l timeout-ms -x -d 'The same in milliseconds, as the engine\'s CLI has it.'
complete -c iii -n "__iii_at 'trigger'" -l address -x -d 'The engine\'s host, in place of --url.'
complete -c iii -n "__iii_at 'trigger'" -l port -x -d 'Its port. [49134]'
complete -c iii -n "__iii_at 'trigger'" -s h -l help -d 'Show this; with FUNCTION, what the engine knows of it.'
complete -c iii -n "__iii_argument 'trigger' 0" -f -a '(__iii_ask function)'
complete -c iii -n "__iii_argument 'trigger' 1+" -f -a '(__iii_keys )'
complete -c iii -n "__iii_at 'serve'" -l stdin -r -f -a 'ref json none' -d 'ref: the channel at `stdin`; json: the payload; none.'
complete -c iii -n "__iii_at 'serve'" -l stdout -r -f -a 'ref result' -d 'ref: the channel at `stdout`; result: into the result.'
complete -c iii -n "__iii_at 'serve'" -l require-seal -d 'Refuse unsealed input.'
complete -c iii -n "__iii_at 'serve'" -l allow-empty -d 'Take unsealed empty input.'
complete -c iii -n "__iii_at 'serve'" -l stop-early -d 'Do not read and verify the input that COMMAND does not want.'
complete -c iii -n "__iii_at 'serve'" -l max-parallel -x -d 'Run so many at once; more wait, 64 at most. [CPUs]'
complete -c iii -n "__iii_at 'serve'" -l timeout -x -d 'Limit for one run. [none]'
complete -c iii -n "__iii_at 'serve'" -l grace -x -d 'Between SIGTERM and SIGKILL.'
complete -c iii -n "__iii_at 'serve'" -l cwd -r -f -a '(__fish_complete_path (commandline -ct))' -d 'Run COMMAND there.'
complete -c iii -n "__iii_at 'serve'" -l pass-token -d 'Let COMMAND inherit the engine\'s token and full URL.'
complete -c iii -n "__iii_at 'serve'" -l description -x -d 'What the function is for.'
complete -c iii -n "__iii_at 'serve'" -l schema -r -F -d 'JSON Schema of the payload.'
complete -c iii -n "__iii_at 'serve'" -l once -d 'Answer one call and end.'
complete -c iii -n "__iii_at 'serve'" -l standby -d 'Wait for the name while another worker has it.'
complete -c iii -n "__iii_at 'serve'" -l shutdown-timeout -x -d 'How long running calls may go on after SIGTERM.'
complete -c iii -n "__iii_at 'serve'" -l progress -r -f -a 'auto json' -d 'json: write an object for each line on stderr.'
complete -c iii -n "__iii_at 'serve'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_group 'functions'" -f -a ls -d 'List the functions that the engine knows.'
complete -c iii -n "__iii_group 'functions'" -f -a info -d 'Tell what a function is for and what it takes.'
complete -c iii -n "__iii_group 'functions'" -f -a wait -d 'Wait until the engine is there and knows all these functions; 124 names those that are missing.'
complete -c iii -n "__iii_at 'functions'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'functions ls'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'functions ls'" -l ids -d 'Print only the ids.'
complete -c iii -n "__iii_at 'functions ls'" -l prefix -x -d 'Only ids starting with TEXT.'
complete -c iii -n "__iii_at 'functions ls'" -l worker -r -f -a '(__iii_ask worker)' -d 'Only functions of this worker.'
complete -c iii -n "__iii_at 'functions ls'" -l search -x -d 'Match id or description.'
complete -c iii -n "__iii_at 'functions ls'" -l all -d 'Include the engine\'s own functions.'
complete -c iii -n "__iii_at 'functions ls'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'functions info'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'functions info'" -l template -d 'Print a payload to fill in.'
complete -c iii -n "__iii_at 'functions info'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'functions info' 0" -f -a '(__iii_ask function)'
complete -c iii -n "__iii_at 'functions wait'" -l timeout -x -d 'Give up after TIME. 0: never.'
complete -c iii -n "__iii_at 'functions wait'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'functions wait' 0+" -f -a '(__iii_ask function)'
complete -c iii -n "__iii_group 'workers'" -f -a ls -d 'List the workers that the engine knows, its own among them.'
complete -c iii -n "__iii_group 'workers'" -f -a info -d 'Tell what the engine knows of one worker: where it runs, and its functions.'
complete -c iii -n "__iii_at 'workers'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'workers ls'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'workers ls'" -l names -d 'Print only the names.'
complete -c iii -n "__iii_at 'workers ls'" -l search -x -d 'Match the name.'
complete -c iii -n "__iii_at 'workers ls'" -l runtime -r -f -a 'python node rust go engine' -d 'python, node, rust, go, or engine.'
complete -c iii -n "__iii_at 'workers ls'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'workers info'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'workers info'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'workers info' 0" -f -a '(__iii_ask worker)'
complete -c iii -n "__iii_group 'trace'" -f -a show -d 'Draw the calls and channel ends of a trace, with the time that each took.'
complete -c iii -n "__iii_at 'trace'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'trace show'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'trace show'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_group 'ref'" -f -a save -d 'Save a ref that somebody handed over, with the engine that it belongs to.'
complete -c iii -n "__iii_group 'ref'" -f -a ls -d 'List the saved refs: unused, used or expired. A day after its creation one is forgotten.'
complete -c iii -n "__iii_group 'ref'" -f -a show -d 'Print the tokens of a saved ref, to hand over. They are secrets: a holder of one can open both ends.'
complete -c iii -n "__iii_group 'ref'" -f -a rm -d 'Forget saved refs. The channels themselves stay until the engine sweeps them away.'
complete -c iii -n "__iii_at 'ref'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'ref save'" -l force -d 'Replace an unused one of that name.'
complete -c iii -n "__iii_at 'ref save'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'ref save' 1" -f -a '(__iii_ask ref)'
complete -c iii -n "__iii_at 'ref ls'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'ref ls'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'ref show'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'ref show'" -l end -r -f -a 'writer reader' -d 'Only the token of this end.'
complete -c iii -n "__iii_at 'ref show'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'ref show' 0" -f -a '(__iii_ask saved)'
complete -c iii -n "__iii_at 'ref rm'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'ref rm' 0+" -f -a '(__iii_ask saved)'
complete -c iii -n "__iii_group 'context'" -f -a add -d 'Save an engine under a name, with the namespace, token source and TLS files given beside it.'
complete -c iii -n "__iii_group 'context'" -f -a ls -d 'List the contexts; * marks the one in use.'
complete -c iii -n "__iii_group 'context'" -f -a use -d 'Choose the context that commands use from now on.'
complete -c iii -n "__iii_group 'context'" -f -a show -d 'Show one context. Its token is never shown, only where it is.'
complete -c iii -n "__iii_group 'context'" -f -a rm -d 'Forget contexts, and the tokens that were kept for them.'
complete -c iii -n "__iii_at 'context'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'context add'" -l token -x -d 'Where the token is: env:NAME or file:PATH.'
complete -c iii -n "__iii_at 'context add'" -l use -d 'Make it the context in use.'
complete -c iii -n "__iii_at 'context add'" -l force -d 'Replace a context of that name.'
complete -c iii -n "__iii_at 'context add'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'context ls'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'context ls'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'context use'" -l none -d 'Use no context.'
complete -c iii -n "__iii_at 'context use'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'context use' 0" -f -a '(__iii_ask context)'
complete -c iii -n "__iii_at 'context show'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'context show'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'context show' 0" -f -a '(__iii_ask context)'
complete -c iii -n "__iii_at 'context rm'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'context rm' 0+" -f -a '(__iii_ask context)'
complete -c iii -n "__iii_group 'engine'" -f -a run -d 'Run an engine until it is stopped. It forgets everything then.'
complete -c iii -n "__iii_group 'engine'" -f -a exec -d 'Run COMMAND beside an engine of its own, on a free port, and end as COMMAND ends.'
complete -c iii -n "__iii_at 'engine'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'engine run'" -l host -x -d 'Where to listen.'
complete -c iii -n "__iii_at 'engine run'" -l port -x -d '0 takes a free one.'
complete -c iii -n "__iii_at 'engine run'" -l print-url -d 'Print the URL on stdout once it is listening.'
complete -c iii -n "__iii_at 'engine run'" -l log -r -f -a 'text json off' -d 'What the engine says on stderr. [text; off with -q]'
complete -c iii -n "__iii_at 'engine run'" -l max-channels -x -d 'Channels open at once. [10000]'
complete -c iii -n "__iii_at 'engine run'" -l max-buffer-bytes -x -d 'What one channel may hold back. [64M]'
complete -c iii -n "__iii_at 'engine run'" -l shutdown-timeout -x -d 'How long open channels may go on when it stops. [500ms]'
complete -c iii -n "__iii_at 'engine run'" -l token-file -r -F -d 'Serve only who sends the bearer token in FILE.'
complete -c iii -n "__iii_at 'engine run'" -l allow-origin -x -d 'Let web pages of ORIGIN in. Repeatable.'
complete -c iii -n "__iii_at 'engine run'" -l allow-host -x -d 'A name it is reached by. Repeatable.'
complete -c iii -n "__iii_at 'engine run'" -l tls-cert -r -F -d 'Serve wss:// with the certificate in FILE (PEM).'
complete -c iii -n "__iii_at 'engine run'" -l tls-key -r -F -d 'Private key for --tls-cert, if it is in another file.'
complete -c iii -n "__iii_at 'engine run'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'engine exec'" -l log -r -f -a 'text json off' -d 'What the engine says on stderr.'
complete -c iii -n "__iii_at 'engine exec'" -l max-channels -x -d 'Channels open at once. [10000]'
complete -c iii -n "__iii_at 'engine exec'" -l max-buffer-bytes -x -d 'What one channel may hold back. [64M]'
complete -c iii -n "__iii_at 'engine exec'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_group 'bench'" -f -a channel -d 'Write into channels and read from them, as fast as the engine carries it; the seal proves every byte.'
complete -c iii -n "__iii_group 'bench'" -f -a trigger -d 'Call a function again and again, and tell calls a second and how long they take.'
complete -c iii -n "__iii_group 'bench'" -f -a rtt -d 'Time a small message there and back: to the engine, through a call, through two channels.'
complete -c iii -n "__iii_at 'bench'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'bench channel'" -l size -x -d 'Send SIZE bytes in all channels together, up to 1T. [no limit]'
complete -c iii -n "__iii_at 'bench channel'" -s P -l clients -x -d 'Use N channels at once, up to 256.'
complete -c iii -n "__iii_at 'bench channel'" -l duration -x -d 'Stop after TIME, up to 10m.'
complete -c iii -n "__iii_at 'bench channel'" -l message-size -x -d 'Size of a frame or a line, up to 1M. [1M; with --lines 64]'
complete -c iii -n "__iii_at 'bench channel'" -l lines -d 'Send text messages, not bytes.'
complete -c iii -n "__iii_at 'bench channel'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'bench channel'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'bench trigger'" -l payload -x -d 'Payload of each call.'
complete -c iii -n "__iii_at 'bench trigger'" -s P -l parallel -x -d 'Keep N calls in flight, up to 4096.'
complete -c iii -n "__iii_at 'bench trigger'" -l duration -x -d 'Stop after TIME, up to 10m.'
complete -c iii -n "__iii_at 'bench trigger'" -l calls -x -d 'Stop after N calls, up to 1000000.'
complete -c iii -n "__iii_at 'bench trigger'" -l timeout -x -d 'Time limit of each call, up to 10m.'
complete -c iii -n "__iii_at 'bench trigger'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'bench trigger'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'bench trigger' 0" -f -a '(__iii_ask function)'
complete -c iii -n "__iii_at 'bench rtt'" -l duration -x -d 'Stop after TIME, up to 10m.'
complete -c iii -n "__iii_at 'bench rtt'" -l count -x -d 'Stop each kind after N round trips, up to 1000000.'
complete -c iii -n "__iii_at 'bench rtt'" -l message-size -x -d 'Size of each message, up to 1M.'
complete -c iii -n "__iii_at 'bench rtt'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'bench rtt'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'doctor'" -l json -d 'Print one JSON document.'
complete -c iii -n "__iii_at 'doctor'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_at 'demo'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'demo' 0" -F
complete -c iii -n "__iii_at 'completion'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'completion' 0" -f -a 'bash zsh fish'
complete -c iii -n "__iii_at 'help'" -s h -l help -d 'Show this message and exit.'
complete -c iii -n "__iii_argument 'help' 0+" -f -a 'exit-codes environment refs seals channel trigger serve functions workers trace ref context engine bench doctor demo completion help'
complete -c iii -n __iii_behind_dashes -f -a '(__iii_tail_words)'
