"""Bytes, rates and times as a progress line shows them: few characters that do not jump about."""

from __future__ import annotations

__all__ = ("span_text", "volume_text")


def volume_text(count: float) -> str:
    """`0 B`, `1023 B`, `1.50 KiB`, `64.0 MiB`, `640 MiB`: three digits that count, in powers of 1024."""
    if count < 1023.5:
        return f"{count:.0f} B"
    unit = ""
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the last one reached is the one to show
        count /= 1024
        if count < 999.5:
            break
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f} {unit}"


def span_text(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
