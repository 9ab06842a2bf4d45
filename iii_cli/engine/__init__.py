"""The embedded engine: registry, router, channels, built-in functions, spans."""
