"""The command that makes a Unix filter a function."""
