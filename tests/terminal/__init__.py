"""Tests of iii_cli.terminal."""
