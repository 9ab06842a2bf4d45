# fish completion for iii; printed by `iii completion fish`.

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
