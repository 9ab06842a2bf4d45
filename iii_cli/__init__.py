"""Channels of the iii engine, for the shell and for Python programs."""

__version__ = "0.1.0"
