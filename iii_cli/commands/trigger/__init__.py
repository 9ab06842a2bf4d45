"""The command that calls functions."""
