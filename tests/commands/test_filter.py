"""Filters with real commands on the embedded engine, called through real sockets."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.channels import ChannelWriter
from iii_cli.client.connection import Identity, unique_name
from iii_cli.client.filter import Filter
from iii_cli.client.worker import Channel, Worker, open_worker
from iii_cli.commands.serving import run_command
from iii_cli.engine.server import EngineServer
from iii_cli.errors import FunctionFailed, StreamAborted, StreamTruncated
from iii_cli.protocol.refs import Endpoint, EngineAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


FUNCTION = "text::f"


@dataclass
class Bench:
    """A caller, beside a worker that serves one filter."""

    caller: Worker
    said: list[str] = field(default_factory=list)

    async def channel(self) -> Channel:
        return await self.caller.create_channel()

    async def call(self, **payload: Any) -> Any:
        with anyio.fail_after(10):
            return await self.caller.trigger(FUNCTION, payload)

    async def through(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        """The result and the output for an input."""
        source, target = await self.channel(), await self.channel()
        results: list[dict[str, Any]] = []
        output = bytearray()

        async def call() -> None:
            results.append(await self.call(stdin=source.reader, stdout=target.writer))

        async def feed() -> None:
            try:
                async with source.writer:
                    await source.writer.send(data)
            except anyio.BrokenResourceError:
                return  # it had enough

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(feed)
            async for chunk in target.reader:
                output += chunk
        return results[0], bytes(output)

    async def refused(self, **payload: Any) -> FunctionFailed:
        """The error that a call ends with."""
        with pytest.raises(FunctionFailed) as caught:
            await self.call(**payload)
        return caught.value


@asynccontextmanager
async def serving(
    command: str | Any, *, grace: float = 2.0, cwd: str | None = None, **options: Any
) -> AsyncIterator[Bench]:
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(
            lambda task_status: EngineServer().serve("127.0.0.1", 0, task_status=task_status)
        )
        endpoint = Endpoint(EngineAddress.parse(url))
        caller = Worker(endpoint, Identity(unique_name()))
        worker = Worker(endpoint, Identity(unique_name()))
        bench = Bench(caller)
        start: Any = command
        if isinstance(command, str):
            feed, argv = options.get("stdin") != "none", shlex.split(command)
            start = partial(
                run_command, argv, name=argv[0], feed=feed, cwd=cwd, grace=grace, show=bench.said.append
            )
        worker.function(FUNCTION, live=False)(Filter(endpoint, start, **options))
        async with open_worker(worker), open_worker(caller):
            await worker.wait_registered()
            yield bench
        tasks.cancel_scope.cancel()


def facts_of(failure: FunctionFailed) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(failure.stacktrace or "")
    return facts


async def test_a_filter_may_write_before_it_reads_and_talk_meanwhile() -> None:
    async with serving("sh -c 'head -c 3000000 /dev/zero; echo working >&2; cat'") as bench:
        result, output = await bench.through(b"x" * 2_000_000)
        assert bench.said == ["working"]
    assert output == bytes(3_000_000) + b"x" * 2_000_000
    assert result["stderr_tail"] == "working\n"


async def test_text_and_bytes_in_the_result() -> None:
    async with serving("sh -c 'echo two; echo lines'", stdin="none", stdout="result") as bench:
        result = await bench.call()
        assert result["stdout"] == "two\nlines\n"
        assert "json" not in result
    async with serving(r"printf '\377'", stdin="none", stdout="result") as bench:
        result = await bench.call()
        assert result["stdout_base64"] == "/w=="


async def test_the_ref_of_the_output_is_not_for_the_command() -> None:
    async with serving("cat", stdin="json") as bench:
        target = await bench.channel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: bench.call(stdout=target.writer, a=1))
            output = b"".join([chunk async for chunk in target.reader])
    assert output == b'{"a":1}\n'


async def test_a_failing_filter_is_an_error_with_facts_and_its_output_is_aborted() -> None:
    async with serving("sh -c 'cat; echo no such luck >&2; exit 3'") as bench:
        source, target = await bench.channel(), await bench.channel()
        failures: list[FunctionFailed] = []

        async def call() -> None:
            failures.append(await bench.refused(stdin=source.reader, stdout=target.writer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            async with source.writer:
                await source.writer.send(b"some")
            with pytest.raises(anyio.BrokenResourceError) as broken:
                while True:
                    await target.reader.receive()
    assert isinstance(broken.value.__cause__, StreamAborted)
    assert broken.value.__cause__.code == 11
    assert failures[0].code == "command_failed"
    assert failures[0].remote_message == "sh exited 3: no such luck"
    facts = facts_of(failures[0])
    assert (facts["exit_code"], facts["stdin_bytes"], facts["stderr_tail"]) == (3, 4, "no such luck\n")


@pytest.mark.parametrize("how", ["abort", "drop", "unsealed"])
async def test_a_cut_input_never_looks_like_its_end(tmp_path: Path, how: str) -> None:
    command = "sh -c 'cat >got; echo the end >>got; echo good'"
    async with serving(command, cwd=str(tmp_path), require_seal=True) as bench:
        source, target = await bench.channel(), await bench.channel()
        writer = source.writer
        if how == "unsealed":
            writer = ChannelWriter(bench.caller.endpoint, source.writer_ref, None)
        failures: list[FunctionFailed] = []

        async def call() -> None:
            failures.append(await bench.refused(stdin=source.reader, stdout=target.writer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await writer.send(b"some")
            match how:
                case "abort":
                    await writer.abort(11, "pg_dump exited 1")
                case "drop":
                    assert writer._ws is not None
                    writer._ws.socket.close()
                case _:
                    await writer.aclose()
            with pytest.raises(anyio.BrokenResourceError) as broken:
                await target.reader.receive()
    assert isinstance(broken.value.__cause__, StreamTruncated)
    assert failures[0].code == ("stream_aborted" if how == "abort" else "stream_truncated")
    assert b"the end" not in (tmp_path / "got").read_bytes() if (tmp_path / "got").exists() else True


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_foreign_stream_of_nothing_may_be_a_used_ref(allowed: bool) -> None:
    async with serving("cat", stdout="result", allow_empty=allowed) as bench:
        source = await bench.channel()
        await ChannelWriter(bench.caller.endpoint, source.writer_ref, None).aclose()
        if allowed:
            assert (await bench.call(stdin=source.reader))["stdin_bytes"] == 0
        else:
            assert (await bench.refused(stdin=source.reader)).code == "nothing_arrived"


async def test_an_output_that_is_no_result() -> None:
    async with serving("head -c 262145 /dev/zero", stdin="none", stdout="result") as bench:
        failure = await bench.refused()
    assert failure.code == "output_too_large"
    assert facts_of(failure)["stdout_bytes"] > 0


@pytest.mark.parametrize("payload", [{}, {"stdin": "x"}, {"stdin": {"channel_id": "a"}}])
async def test_a_payload_without_the_refs(payload: dict[str, Any]) -> None:
    async with serving("cat", stdout="result") as bench:
        failure = await bench.refused(**payload)
    assert failure.code == "invalid_payload"
    assert "`stdin`" in failure.remote_message


async def test_the_wrong_end_and_an_end_that_is_gone() -> None:
    async with serving("cat", stdout="result") as bench:
        channel = await bench.channel()
        assert (await bench.refused(stdin=channel.writer_ref)).code == "invalid_payload"
        gone = channel.reader_ref.to_json() | {"channel_id": "gone"}
        assert (await bench.refused(stdin=gone)).code == "unknown_target"


async def test_the_output_of_a_call_that_never_ran_is_aborted_too() -> None:
    async with serving("cat") as bench:
        target = await bench.channel()
        await bench.refused(stdout=target.writer)
        with pytest.raises(anyio.BrokenResourceError):
            await target.reader.receive()


def gate(folder: Path) -> int:
    """A FIFO on which each run of a command waits for a line."""
    os.mkfifo(folder / "go")
    return os.open(folder / "go", os.O_RDWR)


async def test_calls_queue_for_their_turn_and_the_queue_is_bounded(tmp_path: Path) -> None:
    go = gate(tmp_path)
    command = "sh -c 'echo run >>log; read line <go; wc -l <log'"
    options: dict[str, Any] = {"stdin": "none", "stdout": "result", "max_parallel": 2, "max_waiting": 3}
    async with serving(command, cwd=str(tmp_path), **options) as bench:
        done: list[Any] = []
        failures: list[FunctionFailed] = []

        async def call() -> None:
            try:
                done.append(await bench.call())
            except FunctionFailed as failure:
                failures.append(failure)

        async with anyio.create_task_group() as tasks:
            for _ in range(7):
                tasks.start_soon(call)
            with anyio.fail_after(5):
                while len(failures) < 2:
                    await anyio.sleep(0.005)
            assert {failure.code for failure in failures} == {"too_many_calls"}
            assert "2 calls run at once and 3 more wait" in failures[0].remote_message
            for count in range(1, 6):
                os.write(go, b"\n")
                with anyio.fail_after(5):
                    while len(done) < count:
                        await anyio.sleep(0.005)
        os.close(go)
        started = [int(result["stdout"]) for result in done]
    assert started == sorted(started)
    assert all(count <= ended + 2 for ended, count in enumerate(started)), "never more than two at once"
    assert len(done) == 5


async def test_the_ends_of_a_call_are_opened_before_its_turn(tmp_path: Path) -> None:
    go = gate(tmp_path)
    async with serving("sh -c 'read line <go'", cwd=str(tmp_path), stdin="none", max_parallel=1) as bench:
        first, second = await bench.channel(), await bench.channel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: bench.call(stdout=first.writer))
            await _opened(first)
            tasks.start_soon(lambda: bench.call(stdout=second.writer))
            await _opened(second)
            for channel in (first, second):
                os.write(go, b"\n")
                with pytest.raises(anyio.EndOfStream):
                    await channel.reader.receive()
            os.close(go)


async def _opened(channel: Channel) -> None:
    """Wait for the seal's open frame."""
    with anyio.fail_after(5):
        await channel.reader.open()  # whole: a handshake that is broken off has used the end
        await channel.reader.open()  # cancelled in the middle, it would have used the ref up
        while channel.reader.opened is None:
            with anyio.move_on_after(0.02):
                await channel.reader.receive()
