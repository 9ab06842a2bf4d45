"""Under `--progress json` every line on stderr is an object, those of a COMMAND among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.program import Program

JSON = ("--progress", "json")


def events(stderr: bytes) -> list[dict[str, Any]]:
    """All of them; each line is one."""
    found = [json.loads(line) for line in stderr.splitlines()]
    assert found[-1]["event"] in ("done", "notice")
    return found


def said(stderr: bytes) -> list[tuple[str, str]]:
    """What the COMMANDs said: by which, and the line."""
    return [(event["command"], event["message"]) for event in events(stderr) if event["event"] == "stderr"]


def test_of_a_producer_and_of_a_consumer(iii: Program) -> None:
    writer, reader = iii.channel()
    consumer = ("sh", "-c", "cat > /dev/null; echo \\033[31mgot it >&2")
    with iii.start("channel", "read", reader, *JSON, "--", *consumer) as reading:
        producer = ("sh", "-c", "echo one >&2; echo data; printf 'two\\nthree' >&2")
        written = iii.run("channel", "write", writer, *JSON, "--", *producer)
        _, read = reading.communicate(timeout=20)
    assert (written.returncode, reading.returncode) == (0, 0)
    assert said(written.stderr) == [("sh", "one"), ("sh", "two"), ("sh", "three")]
    assert [text.endswith("got it") for _, text in said(read)] == [True]
    assert (events(written.stderr)[-1]["bytes"], events(read)[-1]["bytes"]) == (5, 5)
    assert b"\x1b" not in read


@pytest.mark.ci
def test_of_a_command_that_fails(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "-o", "/dev/null") as reading:
        done = iii.run("channel", "write", writer, *JSON, "--", "sh", "-c", "echo bad >&2; exit 3")
        assert reading.wait(10) == 7
    assert done.returncode == 11
    assert [event["event"] for event in events(done.stderr)] == ["stderr", "error", "done"]
    assert said(done.stderr) == [("sh", "bad")]
    done = iii.run("channel", "write", iii.channel()[0], *JSON, "--", "/nonexistent")
    assert (done.returncode, [event["event"] for event in events(done.stderr)]) == (127, ["error", "done"])


def test_of_the_ends_of_a_call_and_of_a_service(iii: Program) -> None:
    filter_command = ("sh", "-c", "echo serving >&2; cat")
    with iii.start("serve", "s::cat", *JSON, "--", *filter_command) as serving:
        iii.ok("functions", "wait", "s::cat")
        ends = ("--in", "cmd:echo in >&2; echo data", "--out", "cmd:cat > /dev/null; echo out >&2")
        done = iii.run("trigger", "s::cat", *ends, "--result", "/dev/null", *JSON)
        serving.terminate()
        _, served = serving.communicate(timeout=20)
    assert done.returncode == 0
    assert said(done.stderr) == [("echo", "in"), ("cat", "out")]
    assert said(served) == [("sh", "serving")]
    assert events(served)[0] == {"event": "notice", "message": "serving s::cat"}


@pytest.mark.ci
def test_without_that_it_is_untouched(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "-o", "/dev/null"):
        done = iii.run("channel", "write", writer, "-q", "--", "sh", "-c", "printf '\\033[31mhalf' >&2")
    assert done.stderr == b"\x1b[31mhalf"
