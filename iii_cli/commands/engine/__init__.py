"""The embedded engine's commands, and the words that belong to the engine's own program."""
