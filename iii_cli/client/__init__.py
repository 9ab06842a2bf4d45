"""The client core: calls, a worker connection, channel ends as anyio byte streams."""
