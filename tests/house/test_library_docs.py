"""Whoever imports iii_cli finds in `help()` what they would ask at 3 a.m."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import iii_cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLIC = [name for name in iii_cli.__all__ if name != "__version__"]
SPANS = {"timeout", "connect_timeout", "wait_engine"}


def members(name: str) -> Iterator[tuple[str, Any]]:
    """The public name and, of a class, its own public methods and properties."""
    thing = getattr(iii_cli, name)
    yield name, thing
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                yield f"{name}.{attribute}", value


MEMBERS = dict(pair for name in PUBLIC for pair in members(name))
WAITING = {
    name: thing for name, thing in MEMBERS.items() if inspect.iscoroutinefunction(inspect.unwrap(thing))
}


@pytest.mark.parametrize("name", MEMBERS)
def test_it_says_what_it_promises(name: str) -> None:
    assert (inspect.getdoc(MEMBERS[name]) or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_says_what_it_raises_and_what_cancelling_loses(name: str) -> None:
    text = inspect.getdoc(WAITING[name]) or ""
    assert re.search(r"[Rr]aises|anyio's errors|[Nn]ever raises", text), f"{name}: what does it raise?"
    assert re.search(r"[Cc]ancel|as `\w+`", text), f"{name}: what does cancelling lose?"


@pytest.mark.parametrize("name", MEMBERS)
def test_a_span_has_a_unit(name: str) -> None:
    thing = MEMBERS[name]
    if callable(thing) and SPANS & set(inspect.signature(thing).parameters):
        assert "seconds" in (inspect.getdoc(thing) or ""), f"{name}: seconds?"
