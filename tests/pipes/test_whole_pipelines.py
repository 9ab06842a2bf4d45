"""A signal to a whole pipeline ends the producer first: half a stream must not be sealed as a whole one."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.pipes.program import III

if TYPE_CHECKING:
    from pathlib import Path

    from tests.pipes.program import Program


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", ["write", "tee"])
def test_half_a_stream_is_never_whole(iii: Program, tmp_path: Path, verb: str, signum: int) -> None:
    iii.ok("channel", "create", "--save", "x")
    with iii.start("channel", "read", "@x/reader", stdout=subprocess.PIPE) as reader:
        with subprocess.Popen(
            f"cat /dev/zero | {III} channel {verb} @x/writer >/dev/null",
            shell=True,
            env=iii.env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as pipeline:
            assert reader.stdout is not None
            assert reader.stdout.read(1 << 20)
            os.killpg(pipeline.pid, signum)
            while reader.stdout.read(1 << 20):
                pass
        assert reader.wait(10) == 7
