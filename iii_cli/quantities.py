"""How time spans and byte counts are typed, and how they are shown."""

from __future__ import annotations

import re

from iii_cli.errors import UsageProblem

__all__ = ("byte_count", "format_bytes", "format_duration", "seconds")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SPAN_MAX = 10 * 365 * 86_400.0  # ten years: far beyond any use, far below what timers overflow at
_COUNT_MAX = 1 << 63  # what a file offset can hold


def seconds(text: str, source: str = "") -> float | None:
    """Read a time limit: `500ms`, `30s`, `5m`, `1h`; a bare number is seconds; 0 is no limit, hence None.

    `source` is the option that it was given to. Raises UsageProblem.
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|)", text.strip())
    span = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0.0 <= span <= _SPAN_MAX:
        raise UsageProblem(_refusal("a time span", text, source), hint="write it like 500ms, 30s, 5m or 1h")
    return span or None


def byte_count(text: str, source: str = "") -> int:
    """Read a size in bytes: `64`, `64K`, `1M`, `2GiB`. K, M, G and T are powers of 1024.

    `source` is the option that it was given to. Raises UsageProblem.
    """
    match = re.fullmatch(r"([0-9]{1,15})(?:([KMGT])(?:iB)?|B|)", text.strip(), re.IGNORECASE)
    count = int(match[1]) * _BINARY[(match[2] or "").upper()] if match else -1
    if not 0 <= count < _COUNT_MAX:
        raise UsageProblem(
            _refusal("a size in bytes", text, source), hint="write it like 4096, 64K, 1M or 2G"
        )
    return count


def _refusal(noun: str, text: str, source: str) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return (f"{source}: " if source else "") + f"not {noun}: {shown!r}"


def format_bytes(count: float) -> str:
    """`0 B`, `1023 B`, `1.50 KiB`, `640 MiB`: three digits that count, in powers of 1024."""
    if count < 1023.5:
        return f"{count:.0f} B"
    unit = ""
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the last one reached is the one to show
        count /= 1024
        if count < 999.5:
            break
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f} {unit}"


def format_duration(span: float) -> str:
    """`12 ms`, `4.2 s`, `3 min 05 s`, `2 h 07 min`: what a person needs of a time span in seconds."""
    if span < 0.9995:
        return f"{span * 1000:.0f} ms"
    if span < 59.95:
        return f"{span:.1f} s"
    whole = round(span)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(span / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"
