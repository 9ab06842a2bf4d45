"""The program's start under the name that installations from before know; see cli.py."""

from __future__ import annotations

from iii_cli.cli import main

__all__ = ("main",)
