"""The commands that measure an engine."""
