"""Tests of iii_cli.io."""
