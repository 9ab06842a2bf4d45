"""Baggage, read and written as OpenTelemetry does it for Rust, which the real engine stands on (14.2)."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

__all__ = ("baggage_for", "read_baggage")

ENTRIES_MAX = 64
BYTES_MAX = 8192  # of all names and values; a header with more entries than that has room for none of them
CALLEE = "iii.function.id"

_AS_IT_IS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;=')
_OF_NAMES = frozenset(_AS_IT_IS) - frozenset("()/:<>?@[\\]{}")


def read_baggage(text: str | None) -> dict[str, str]:
    """The entries of a header, without their properties. What is not an entry is left out, and of two with
    the same name the last one counts.
    """
    entries: dict[str, str] = {}
    size = 0
    for part in (text or "").split(",", BYTES_MAX)[:BYTES_MAX]:
        pair = part.partition(";")[0].split("=", 2)[:2]
        try:
            name, value = (unquote_to_bytes(word).decode().strip() for word in pair)
        except ValueError:  # no value, or not UTF-8
            continue
        size = _put(entries, size, name, value)
    return entries


def baggage_for(function_id: str, text: str | None) -> str | None:
    """The header that is sent on to a function: it names the callee, in the place of another (2.3).

    None where nothing is left to be sent.
    """
    entries = read_baggage(text)
    entries.pop(CALLEE, None)
    size = sum(len(name) + len(value.encode()) for name, value in entries.items())
    _put(entries, size, CALLEE, function_id)
    return ",".join(f"{name}={quote(value, safe=_AS_IT_IS)}" for name, value in entries.items()) or None


def _put(entries: dict[str, str], size: int, name: str, value: str) -> int:
    """Add the entry, if its name is one and there is room. Says how many bytes there are then."""
    before = entries.get(name)
    more = len(value.encode()) + (len(name) if before is None else -len(before.encode()))
    full = size + more > BYTES_MAX or (before is None and len(entries) == ENTRIES_MAX)
    if full or not name or not _OF_NAMES.issuperset(name):
        return size
    entries[name] = value
    return size + more
