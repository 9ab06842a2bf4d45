"""Options that cannot be meant are refused in one line, before an end is opened or a call is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci

if TYPE_CHECKING:
    from tests.support.program import Program

SHOWN = "--lines, --text and --jsonl show the messages themselves; leave --messages out"
A_FILE = "--no-clobber and --keep-partial are about a FILE; they need"
BEAT = "--peer-timeout is more than 15s, the time between two beats of a writer"
READ, CALL = "channel read iii:read:a:b", "trigger f"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"{READ} --no-clobber", f"{A_FILE} -o FILE"),
        (f"{CALL} --out - --messages drop --jsonl", SHOWN),
        (f"{READ} --peer-timeout 15s", BEAT),
        *in_ci(
            (f"{READ} --no-clobber -- cat", f"{A_FILE} -o FILE"),
            (f"{CALL} --out - --no-clobber", f"{A_FILE} --out FILE"),
            (f"{CALL} --out cmd:cat --keep-partial --result r", f"{A_FILE} --out FILE"),
            (f"{READ} --messages drop --jsonl", SHOWN),
            ("serve f --progress always -- cat", "--progress is auto or json"),
            (f"{READ} --keep-partial", f"{A_FILE} -o FILE"),
            (f"{READ} --keep-partial -o -", f"{A_FILE} -o FILE"),
            (f"{READ} --messages drop --lines", SHOWN),
            (f"{READ} --messages stderr --text", SHOWN),
            (f"{CALL} --out - --messages drop --text", SHOWN),
            (f"{READ} --peer-timeout 500ms", BEAT),
        ),
    ],
)
def test_what_cannot_be_meant(iii: Program, words: str, said: str) -> None:
    iii.env["III_URL"] = "ws://127.0.0.1:9"  # nothing there: they do not come that far
    done = iii.run(*words.split())
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"iii: {said}\n")
    assert [path.name for path in iii.home.iterdir()] == []
