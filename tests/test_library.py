"""The library's front door."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import iii_cli
from tests.support.program import running_engine as running_program
from tests.support.scripted_engine import Drop, ScriptedEngine, running_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("III_URL", "III_TOKEN", "III_NAMESPACE", "III_CONTEXT", "III_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_every_name_is_there() -> None:
    for name in iii_cli.__all__:
        assert getattr(iii_cli, name) is not None
        assert name in dir(iii_cli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iii_cli.nothing


def test_the_command_line_does_not_pay_for_it() -> None:
    code = "import sys, iii_cli; assert not {'anyio', 'iii_cli.api', 'logging'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    for engine in running_engine():
        engine.functions["engine::workers::register"] = lambda data: {"success": True}
        yield engine


async def test_what_is_given_goes_to_the_engine(engine: ScriptedEngine) -> None:
    async with iii_cli.connect(
        engine.url, namespace="orders", name="images", token="t0k3n", headers={"X-Zone": "b"}
    ) as worker:
        assert "images" in repr(worker)
    assert engine.headers[0]["authorization"] == "Bearer t0k3n"
    assert engine.headers[0]["x-zone"] == "b"
    announcement = engine.calls[0]["data"]
    assert (announcement["namespace"], announcement["name"]) == ("orders", "images")


async def test_what_a_call_carries(engine: ScriptedEngine) -> None:
    engine.functions["f"] = lambda data: data
    given: dict[str, Any] = {"metadata": {"m": 1}, "baggage": "k=v", "namespace": "default"}
    async with iii_cli.connect(engine.url, namespace="orders") as worker:
        assert await worker.trigger("f", {"a": 1}, **given) == {"a": 1}
        with pytest.raises(iii_cli.Failure):
            await worker.trigger("f")
    first, second = engine.calls[-2:]
    assert {key: first.get(key) for key in given} == given
    assert (second["namespace"], second["data"]) == ("orders", {}), "without data the engine drops a call"


@pytest.mark.ci
async def test_who_comes_back_says_who_it_was(engine: ScriptedEngine) -> None:
    def dies(data: Any) -> None:
        raise Drop

    engine.functions["dies"] = dies
    async with iii_cli.connect(engine.url) as worker:
        with pytest.raises(iii_cli.Failure):
            await worker.trigger("dies")
        with anyio.fail_after(20):
            while worker.statistics().connections < 2:
                await anyio.sleep(0.01)
    said = [message for message in engine.others if message["type"] == "reattach"]
    assert said == [{"type": "reattach", "previous_worker_id": "w", "reattach_token": "k"}]


async def test_settings_come_from_the_environment(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("III_URL", engine.url)
    monkeypatch.setenv("III_TOKEN", "from-env")
    async with iii_cli.connect():
        pass
    assert engine.headers[0]["authorization"] == "Bearer from-env"
    assert not engine.calls[0]["data"]["name"].startswith("iii-cli:")


@pytest.mark.parametrize(
    "options", [{"token": "two words"}, {"headers": {"@file": "x"}}, {"url": "http://x"}]
)
async def test_what_cannot_be_meant(options: dict[str, object]) -> None:
    with pytest.raises(iii_cli.Failure) as failed:
        async with iii_cli.connect(**options):  # type: ignore[arg-type]
            pass
    assert failed.value.status == 2  # what was typed


# What a handler gets, gives back and leaves behind; both sides are workers of an engine of ours


@pytest.fixture
def engine_url() -> Iterator[str]:
    with running_program() as (url, _):
        yield url


Pair = tuple[iii_cli.Worker, iii_cli.Worker]


@pytest.fixture
async def pair(engine_url: str, anyio_backend: str) -> AsyncIterator[Pair]:
    """One that serves and one that calls. At most two calls are answered at once."""
    async with (
        iii_cli.connect(engine_url, name="server", max_calls=2) as server,
        iii_cli.connect(engine_url, name="caller") as caller,
    ):
        with anyio.fail_after(20):
            yield server, caller


async def broken(reader: iii_cli.ChannelReader) -> BaseException | None:
    """Why a stream did not end as it should."""
    with pytest.raises(anyio.BrokenResourceError) as error:
        while True:
            await reader.receive()
    return error.value.__cause__


async def refused(caller: iii_cli.Worker, payload: object) -> iii_cli.FunctionFailed:
    with pytest.raises(iii_cli.FunctionFailed) as error:
        await caller.trigger("f", payload)
    return error.value


async def test_a_handler_sees_the_call_and_refs_are_live_at_any_depth(pair: Pair) -> None:
    server, caller = pair
    seen: list[Any] = []

    @server.function("f", keep_ends=True)
    async def f(payload: Any, call: iii_cli.Call) -> Any:
        seen.extend((payload, call))
        return {"back": payload["list"][0]}

    await server.wait_registered()
    channel = await caller.create_channel()
    odd = channel.reader_ref.to_json() | {"direction": "up"}
    payload = {"list": [channel.reader_ref, {"deep": channel.writer_ref}], "odd": odd}
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    answer = await caller.trigger("f", payload, metadata={"m": 1}, traceparent=trace)
    assert answer == {"back": channel.reader_ref.to_json()}, "live ends go back as refs"
    got, call = seen
    assert isinstance(got["list"][0], iii_cli.ChannelReader)
    assert isinstance(got["list"][1]["deep"], iii_cli.ChannelWriter)
    assert got["odd"] == odd
    assert (call.metadata, call.caller_worker_id) == ({"m": 1}, caller.worker_id)
    assert call.traceparent[:36] == trace[:36]


@pytest.mark.parametrize("how", ["sends half", "fails", "hands it on"])
async def test_a_writer_that_a_handler_left_open_is_aborted(pair: Pair, how: str) -> None:
    server, caller = pair

    @server.function("f")
    async def f(payload: Any) -> None:
        if how == "fails":
            raise iii_cli.FunctionFailed("bad_input", "not today")
        if how == "hands it on":
            await server.trigger("g", payload)
        else:
            await payload["to"].send(b"half")

    @server.function("g")
    async def g(payload: Any) -> None:
        async with payload["to"] as writer:
            await writer.send(b"all")

    await server.wait_registered()
    channel = await caller.create_channel()
    reader = channel.reader
    await reader.open()
    if how == "fails":
        failure = await refused(caller, {"to": channel.writer_ref})
        assert (failure.code, failure.remote_message) == ("bad_input", "not today")
    else:
        await caller.trigger("f", {"to": channel.writer_ref})
    if how == "hands it on":
        assert [chunk async for chunk in reader] == [b"all"]
    else:
        assert isinstance(await broken(reader), iii_cli.StreamTruncated)


async def test_what_a_handler_raises_is_the_callers_error(pair: Pair) -> None:
    server, caller = pair

    class Coded(Exception):
        code = "my_code"

    @server.function("f")
    async def f(how: Any) -> Any:
        match how:
            case "bug":
                raise ZeroDivisionError("by zero")
            case "coded":
                raise Coded("coded")
            case "group":
                async with anyio.create_task_group():
                    raise iii_cli.FunctionFailed("in_group", "x")
            case "failure":
                await server.trigger("no::such")
        return float("nan")

    await server.wait_registered()
    failures = {how: await refused(caller, how) for how in ("bug", "coded", "group", "failure", "nan")}
    assert [failure.code for failure in failures.values()] == [
        *("invocation_failed", "my_code", "in_group", "function_not_found", "invocation_failed")
    ]
    assert failures["bug"].remote_message == "by zero"
    assert "ZeroDivisionError" in (failures["bug"].stacktrace or "")
    assert "result is not JSON" in failures["nan"].remote_message


async def test_calls_are_answered_side_by_side_up_to_a_limit(pair: Pair) -> None:
    server, caller = pair
    go, results = anyio.Event(), []

    @server.function("f")
    async def f(payload: Any) -> Any:
        await go.wait()
        return payload

    await server.wait_registered()

    async def call(number: int) -> None:
        results.append(await caller.trigger("f", number))

    async with anyio.create_task_group() as tasks:
        for number in range(2):
            tasks.start_soon(call, number)
        while server.statistics().answering < 2:
            await anyio.sleep(0.001)
        assert (await refused(caller, 2)).code == "too_many_calls"
        go.set()
    assert sorted(results) == [0, 1]
    assert await caller.trigger("f", 9) == 9


async def test_names_that_are_taken_and_registrations_that_cannot_be_meant(
    pair: Pair, engine_url: str
) -> None:
    server, caller = pair

    async def one(a: Any) -> None:
        return None

    async def three(a: Any, b: Any, c: Any) -> None:
        return None

    server.function("f")(one)
    await server.wait_registered()
    caller.function("f")(one)
    with pytest.raises(iii_cli.Failure, match="f is taken in namespace default by worker"):
        await caller.wait_registered()
    with pytest.raises(iii_cli.Failure, match="server is taken"):
        async with iii_cli.connect(engine_url, name="server"):
            pass
    for wrong, error in (
        (lambda: server.function("g")(three), TypeError),
        (lambda: server.function(" ")(one), ValueError),
        (lambda: server.function("f")(one), ValueError),
        (lambda: server.function("g", request_format={"a": object()})(one), TypeError),
    ):
        with pytest.raises(error):
            wrong()


# Ends of a channel are anyio's byte streams


async def test_a_good_block_finishes_its_stream_and_a_failing_one_aborts_it(pair: Pair) -> None:
    _, caller = pair
    channel, other = await caller.create_channel(), await caller.create_channel()
    async with channel.writer as writer:
        with pytest.raises(ValueError, match="words"):
            await writer.open("words")
        await writer.send(b"abc")
        await writer.send_message("ä")
    heard: list[str] = []
    channel.reader.on_message = heard.append
    async with channel.reader as reader:
        assert await reader.receive(2) == b"ab"
        assert [chunk async for chunk in reader] == [b"c"]
    assert heard == ["ä"]
    for end in (reader.receive(), writer.send(b"late")):
        with pytest.raises(anyio.ClosedResourceError):
            await end
    with pytest.raises(ZeroDivisionError):
        async with other.writer as writer:
            await writer.send(b"x")
            raise ZeroDivisionError
    assert isinstance(await broken(other.reader), iii_cli.StreamTruncated)


async def test_nothing_is_held_that_nobody_reads_and_an_abort_does_not_wait_for_it(pair: Pair) -> None:
    writer = (await pair[1].create_channel()).writer
    with anyio.move_on_after(2) as scope:
        for _ in range(300):
            await writer.send(bytes(1 << 20))
    assert scope.cancelled_caught, "nobody reads, and 300 MiB went away"
    assert 0 < writer.statistics().unsent_bytes <= (1 << 20) + 64
    with anyio.fail_after(4):
        await writer.abort(1, "enough")


@pytest.mark.ci
@pytest.mark.timeout(60)
async def test_a_lost_connection_fails_calls_cancels_handlers_and_is_won_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    notices, cancelled = [], anyio.Event()
    with running_program("--port", port) as (url, engine):
        async with iii_cli.connect(
            url, on_lost=lambda failure: notices.append(failure.status), on_back=lambda: notices.append(0)
        ) as worker:

            @worker.function("f")
            async def f(payload: Any) -> None:
                try:
                    engine.kill()
                    await anyio.sleep_forever()
                finally:
                    cancelled.set()

            await worker.wait_registered()
            with pytest.raises(iii_cli.Failure, match="was lost"):
                await worker.trigger("f")
            await cancelled.wait()
            with pytest.raises(iii_cli.Failure, match="no connection"):
                await worker.trigger("g", timeout=0.05)
            with running_program("--port", port):
                with anyio.fail_after(20):
                    while len(notices) < 2:
                        await anyio.sleep(0.01)
                assert [row["function_id"] for row in await worker.functions()] == ["f"]
                assert worker.statistics().connections == 2
    assert notices == [3, 0]
