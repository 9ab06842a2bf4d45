"""The first command that a newcomer runs."""
