complete -c iii-cli -w iii
