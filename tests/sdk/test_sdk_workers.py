"""Unmodified SDK workers live on the embedded engine (docs: design, "The embedded engine is faithful")."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.raw import BINARY, CLOSE, TEXT, Dropped, Refused

if TYPE_CHECKING:
    from tests.sdk.conftest import EngineProcess
    from tests.support.stage import Party, Stage

pytestmark = [pytest.mark.ci, pytest.mark.timeout(300)]

LANGUAGES = ("python", "node")


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    """The name of a worker that runs."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture(params=[("python", "node"), ("node", "python")], ids=" to ".join)
def both(request: pytest.FixtureRequest, python: None, node: None) -> tuple[str, str]:
    """Two workers that run."""
    pair: tuple[str, str] = request.param
    return pair


async def wait_for_workers(stage: Stage, *languages: str) -> Party:
    """A caller, once the workers' last function is there."""
    caller = await stage.worker()
    async with asyncio.timeout(60):
        for language in languages:
            while not await _exists(caller, f"{language}::delegate"):
                await asyncio.sleep(0.05)
    return caller


async def _exists(caller: Party, function_id: str) -> bool:
    info = await caller.outcome("engine::functions::info", {"function_id": function_id})
    return "result" in info


async def _read(stage: Stage, ref: dict[str, str]) -> tuple[bytes, list[str]]:
    """Everything that comes out of a channel: the bytes, and the text messages."""
    reader = await stage.end(ref, "read")
    body: list[bytes] = []
    messages: list[str] = []
    while True:
        frame = await reader.receive(60)
        if frame.opcode == CLOSE:
            return b"".join(body), messages
        if frame.opcode == TEXT:
            messages.append(frame.payload.decode())
        else:
            body.append(frame.payload)


async def _write(stage: Stage, ref: dict[str, str], *payloads: bytes | str) -> None:
    writer = await stage.end(ref, "write")
    for payload in payloads:
        if isinstance(payload, str):
            await writer.send(TEXT, payload.encode())
        else:
            await writer.send(BINARY, payload)
    await writer.send(CLOSE, b"\x03\xe8")
    assert await writer.receive_close(60) == (1000, "")


async def _channel(caller: Party) -> dict[str, dict[str, str]]:
    refs: dict[str, dict[str, str]] = await caller.call("engine::channels::create", {})
    return refs


async def _result(caller: Party, call_id: str) -> Any:
    answer = await caller.next(60)
    assert (answer["invocation_id"], answer.get("error")) == (call_id, None)
    return answer.get("result")


async def test_a_call_and_its_answer(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    result = await caller.call(f"{language}::echo", {"n": 1, "text": "ü😀", "none": None})
    assert result == {"n": 1, "text": "ü😀", "none": None, "_caller_worker_id": caller.id}


async def test_an_error_comes_with_its_stack_trace(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    error = (await caller.outcome(f"{language}::fail", {"why": "bad header"}))["error"]
    assert (error["code"], error["message"]) == ("invocation_failed", "bad header")
    assert "fail" in error["stacktrace"]


async def test_a_filter_over_two_channels(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    there, back = await _channel(caller), await _channel(caller)
    call_id = await caller.invoke(f"{language}::upper", {"in": there["reader"], "out": back["writer"]})
    data = b"abc-" * 100_000
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_write(stage, there["writer"], data[:3], data[3:]))
        reading = tasks.create_task(_read(stage, back["reader"]))
    assert reading.result() == (data.upper(), [])
    assert await _result(caller, call_id) == {"bytes": len(data)}


async def test_refs_deep_in_dicts_and_lists(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    refs = await _channel(caller)
    payload = {"deep": {"list": [{"reader": refs["reader"]}, 1], "other": "x"}}
    call_id = await caller.invoke(f"{language}::digest", payload)
    await _write(stage, refs["writer"], b"hello ", b"world")
    sha256 = hashlib.sha256(b"hello world").hexdigest()
    assert await _result(caller, call_id) == {"bytes": 11, "sha256": sha256}


async def test_progress_texts_come_in_order_with_the_bytes(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    refs = await _channel(caller)
    call_id = await caller.invoke(f"{language}::progress", {"writer": refs["writer"]})
    body, messages = await _read(stage, refs["reader"])
    assert body == b"012"
    assert [json.loads(message).get("step") for message in messages] == [0, 1, 2, None]
    assert await _result(caller, call_id) is None


async def test_texts_reach_the_message_callback(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    refs = await _channel(caller)
    call_id = await caller.invoke(f"{language}::listen", {"reader": refs["reader"]})
    await _write(stage, refs["writer"], "one", b"data", "two")
    assert await _result(caller, call_id) == {"messages": ["one", "two"], "body": "data"}


async def test_two_languages_in_one_pipeline(stage: Stage, both: tuple[str, str]) -> None:
    first, second = both
    caller = await wait_for_workers(stage, first, second)
    refs = await _channel(caller)
    call_id = await caller.invoke(f"{first}::delegate", {"in": refs["reader"], "to": f"{second}::digest"})
    data = b"0123456789" * 50_000
    await _write(stage, refs["writer"], data)
    assert await _result(caller, call_id) == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


async def test_200_mib_from_one_language_to_the_other(stage: Stage, both: tuple[str, str]) -> None:
    first, second = both
    size = 200 << 20
    caller = await wait_for_workers(stage, first, second)
    refs = await _channel(caller)
    reading = await caller.invoke(f"{second}::digest", {"deep": {"list": [{"reader": refs["reader"]}]}})
    writing = await caller.invoke(f"{first}::produce", {"writer": refs["writer"], "bytes": size})
    results = {}
    for _ in range(2):
        answer = await caller.next(120)
        results[answer["invocation_id"]] = answer["result"]
    assert results[reading] == {"bytes": size, "sha256": results[writing]["sha256"]}


async def test_workers_come_back_after_the_engine_was_restarted(
    engine: EngineProcess, stage: Stage, language: str
) -> None:
    before = await wait_for_workers(stage, language)
    assert engine.stop() == 0
    with pytest.raises(Dropped):
        await before.next()
    engine.start()
    caller = await wait_for_workers(stage, language)
    assert await caller.call(f"{language}::echo", [1]) == [1]


async def test_a_worker_whose_name_is_taken_is_refused_and_the_first_goes_on(
    stage: Stage, language: str
) -> None:
    caller = await wait_for_workers(stage, language)
    rival = await stage.worker(announced=False)
    await rival.invoke("engine::workers::register", {"name": language})
    assert (await rival.next())["code"] == "WORKER_NAMESPACE_CONFLICT"
    assert await caller.call(f"{language}::echo", 1) == 1


async def test_a_ref_that_is_gone_is_an_error_of_the_handler(stage: Stage, language: str) -> None:
    caller = await wait_for_workers(stage, language)
    ref = {"channel_id": "gone", "access_key": "gone", "direction": "read"}
    with pytest.raises(Refused):
        await stage.end(ref)
    answer = await caller.outcome(f"{language}::listen", {"reader": ref})
    assert answer["error"]["code"] == "invocation_failed"
    assert "404" in answer["error"]["message"]
