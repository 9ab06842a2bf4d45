"""Text of a worker moves nothing on the terminal that shows it, whoever says that it is text."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.pipes.foreign import foreign_stream, foreign_worker, seal_frame, write_frames
from tests.support.marks import in_ci
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from tests.support.program import Program

BAD = "\x1b[31mred\x1b[0m \N{RIGHT-TO-LEFT OVERRIDE}back\x1b]52;c;aGk=\x07"
GOOD = "red back"


def texts(mode: str) -> list[str]:
    """A sealed stream of one message, without its end."""
    return [seal_frame("open", {"mode": mode, "digest": "xxh3_128"}), BAD]


@pytest.mark.parametrize(
    ("mode", "how", "shown"),
    [
        ("lines", (), f"{GOOD}\n"),
        *in_ci(
            ("text", (), GOOD),
            ("jsonl", (), '{"text":"\\u001b[31mred\\u001b[0m back\\u001b]52;c;aGk=\\u0007"}\n'),
            ("lines", ("--text",), GOOD),
            ("lines", ("-o", "-"), f"{BAD}\n"),  # as it is: that was asked for
        ),
    ],
)
def test_a_stream_that_says_that_it_is_text(
    iii: Program, mode: str, how: tuple[str, ...], shown: str
) -> None:
    with foreign_stream(iii, *texts(mode)) as reader:
        status, screen = on_screen(iii, "channel", "read", "env:R", *how, env={"R": reader})
    assert (status, screen[: len(shown)]) == (7, shown)


@pytest.mark.ci
@pytest.mark.parametrize("how", [("--out", "stream=-"), ("--read", "ref")])
def test_a_stream_of_a_call(iii: Program, how: tuple[str, ...]) -> None:
    url = iii.env["III_URL"]
    ends = [end.split(":") for end in iii.channel()]
    refs = [{"direction": kind, "channel_id": name, "access_key": key} for _, kind, name, key in ends]

    def speak(data: dict[str, object]) -> dict[str, object]:
        ref = data.get("stream")
        threading.Thread(target=write_frames, args=(url, ref or refs[0], texts("text"))).start()
        return {"ref": refs[1]}

    with foreign_worker(url, speak=speak):
        status, screen = on_screen(iii, "trigger", "speak", *how, "--result", "/dev/null")
    assert (status, screen[: len(GOOD)]) == (7, GOOD)


@pytest.mark.ci
def test_bytes_are_shown_as_they_are(iii: Program) -> None:
    """As `cat` shows them, but for a NUL."""
    writer, reader = iii.channel()
    with iii.start("channel", "write", writer, "--", "printf", "%s", "\x1b[1mbold"):
        assert on_screen(iii, "channel", "read", "env:R", env={"R": reader}) == (0, "\x1b[1mbold")
