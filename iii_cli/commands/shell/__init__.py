"""What a shell and `man` want to know of the command tree."""
