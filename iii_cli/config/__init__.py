"""Contexts, saved refs, environment, and the order in which settings win."""
