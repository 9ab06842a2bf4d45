"""Half a stream must not pass for a whole one: not when a signal ends the producer before it reaches us, and
not to a child that a consumer left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci, in_ci_but
from tests.support.program import III

if TYPE_CHECKING:
    from pathlib import Path

from tests.support.program import Program


@pytest.mark.parametrize(
    ("verb", "signum"),
    in_ci_but(
        [("write", signal.SIGTERM), ("tee", signal.SIGINT)],
        product(("write", "tee"), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    ),
)
def test_half_a_stream_is_never_whole(iii: Program, tmp_path: Path, verb: str, signum: int) -> None:
    iii.refs("x")
    with iii.start("channel", "read", "env:x_r", stdout=subprocess.PIPE) as reader:
        with subprocess.Popen(
            f"cat /dev/zero | {III} channel {verb} env:x_w >/dev/null",
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


LEFT_BEHIND = "exec 3<&0; (head -c 1; echo; exec cat) <&3 >part & while [ ! -s part ]; do sleep 0.05; done"


@pytest.mark.parametrize("way", ["read", *in_ci("serve")])
def test_a_child_that_the_consumer_left_behind_gets_everything(
    iii: Program, tmp_path: Path, way: str
) -> None:
    """The consumer ends with 0 once its child has the first byte; the rest comes after that."""
    source = "printf a; while [ ! -e gone ]; do sleep 0.05; done; seq 100000"
    consumer = f"{LEFT_BEHIND}; touch gone"
    iii.refs("x")
    if way == "read":
        script = f"""
            iii channel write env:x_w -- sh -c '{source}' & writer=$!
            iii channel read env:x_r -- sh -c '{consumer}'
            echo "read $?"; wait $writer; echo "write $?"
        """
    else:
        script = f"""
            iii serve test::left --stdout result -- sh -c '{consumer}' & serving=$!
            iii functions wait test::left
            iii trigger test::left --in 'cmd:{source}' --result /dev/null
            echo "read $?"; echo "write 0"; kill $serving; wait $serving
        """
    done = iii.shell(
        f"cd {tmp_path}\n{script}\nseq 100000 | (printf 'a\\n'; cat) > whole; cmp part whole && echo same"
    )
    assert done.stdout.decode().splitlines()[-3:] == ["read 0", "write 0", "same"], done


def test_a_command_hears_the_signals_that_are_held_while_we_start(iii: Program) -> None:
    """What is blocked in us is let go before a COMMAND could inherit it."""
    iii.refs("x")
    script = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    done = iii.shell(f'iii channel write env:x_w -- sh -c "{script}" & iii channel read env:x_r; wait')
    masks = [int(line.split()[1], 16) for line in done.stdout.decode().splitlines()]
    stopping = sum(1 << (signum - 1) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    assert masks[0] & stopping == 0, done
