"""Which endings of a pipe's writers say something about the data."""

from __future__ import annotations

import pytest

from iii_cli.io.producers import UNKNOWN, Holder, counted

SHELL, CAT, OTHER = Holder(10, 1, 1, "sh"), Holder(11, 2, 10, "cat"), Holder(20, 3, 1, "tee")


@pytest.mark.parametrize(
    ("endings", "count"),
    [
        ({CAT: 0}, {CAT: 0}),
        ({CAT: 3}, {CAT: 3}),
        ({CAT: None}, {}),
        ({CAT: UNKNOWN}, {CAT: UNKNOWN}),
        ({SHELL: 0, CAT: 3}, {SHELL: 0}),
        ({SHELL: 3, CAT: 0}, {SHELL: 3}),
        ({SHELL: 0, CAT: -9}, {SHELL: 0}),
        ({SHELL: 3, CAT: -9}, {SHELL: 3, CAT: -9}),
        ({SHELL: None, CAT: -9}, {CAT: -9}),
        ({SHELL: UNKNOWN, CAT: -9}, {SHELL: UNKNOWN, CAT: -9}),
        ({SHELL: None, CAT: 3}, {}),
        ({SHELL: -15, CAT: UNKNOWN}, {SHELL: -15}),
        ({SHELL: 0, CAT: 0, OTHER: 1}, {SHELL: 0, OTHER: 1}),
    ],
)
def test_who_counts(endings: dict[Holder, object], count: dict[Holder, object]) -> None:
    assert dict(counted(endings)) == count  # type: ignore[arg-type]
