"""Tests of settings, contexts and saved refs."""
