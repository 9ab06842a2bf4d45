"""The command that looks at the engine, the settings and this machine."""
