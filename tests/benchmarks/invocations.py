"""Invocations per second through the embedded engine, beside a bare WebSocket echo.

    python -m tests.benchmarks.invocations [--calls 50000] [--rounds 3]

Each round: 64 calls in flight from one caller to one echo worker, engine, caller and worker each in a process
of their own; then the same number of round trips with 64 in flight between a client and an echo server of the
`websockets` library. The aim is a ratio of at least one half: an invocation is two round trips.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from uuid import uuid4

import anyio

from tests.support.websocket import TEXT, WebSocket, frame

IN_FLIGHT = 64
FUNCTION = "bench::echo"


def _dial(url: str, name: str) -> WebSocket:
    """A worker of that name."""
    websocket = WebSocket(url, "/", timeout=None)
    websocket.hear()
    function, data = "engine::workers::register", {"name": name, "pid": 1}
    websocket.say(
        {"type": "invokefunction", "invocation_id": str(uuid4()), "function_id": function, "data": data}
    )
    websocket.hear()
    return websocket


def _message(kind: str, **fields: object) -> bytes:
    return frame(TEXT, json.dumps({"type": kind, **fields}).encode())


def work(url: str) -> None:
    """Be the echo worker until the engine goes away."""
    websocket = _dial(url, "bench-worker")
    websocket.socket.sendall(_message("registerfunction", id=FUNCTION))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with suppress(EOFError, ConnectionError):
        while True:
            answers = (
                _message(
                    "invocationresult",
                    invocation_id=call["invocation_id"],
                    function_id=FUNCTION,
                    result=call["data"],
                )
                for call in websocket.hear()
            )
            websocket.socket.sendall(b"".join(answers))


def call(url: str, calls: int) -> float:
    """Make the calls; how long it took in seconds."""
    fields = {"function_id": FUNCTION, "data": {"n": 1}}
    with _dial(url, "bench-caller") as websocket:
        begun = time.perf_counter()
        posted = answered = 0
        while answered < calls:
            room = min(IN_FLIGHT + answered, calls) - posted
            websocket.socket.sendall(
                b"".join(
                    _message("invokefunction", invocation_id=str(uuid4()), **fields) for _ in range(room)
                )
            )
            posted += room
            answered += len(websocket.receive())
        return time.perf_counter() - begun


async def echo(url: str, calls: int) -> float:
    """As many round trips against a bare echo server, by the library's own client."""
    from websockets.asyncio.client import connect

    payload = json.dumps({"invocation_id": str(uuid4()), "function_id": FUNCTION, "data": {"n": 1}})
    async with connect(url, compression=None, ping_interval=None) as connection:
        begun = time.perf_counter()
        for _ in range(IN_FLIGHT):
            await connection.send(payload)
        for answered in range(1, calls + 1):
            await connection.recv()
            if answered + IN_FLIGHT <= calls:
                await connection.send(payload)
        return time.perf_counter() - begun


async def serve_echo() -> None:
    """A bare echo server of the `websockets` library."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed

    async def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in connection:
                await connection.send(message)

    async with serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        sys.stdout.write(f"ws://127.0.0.1:{port}\n")
        sys.stdout.flush()
        await server.serve_forever()


def _start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A process, and the first line that it says."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def main() -> None:
    """Run the rounds and print a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="?", default="all", choices=["all", "work", "echo"])
    parser.add_argument("--url", default="")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.role == "work":
        work(options.url)
    elif options.role == "echo":
        anyio.run(serve_echo)
    else:
        for _ in range(options.rounds):
            _round(options.calls)


def _round(calls: int) -> None:
    me = ("-m", "tests.benchmarks.invocations")
    engine, url = _start("-m", "iii_cli", "engine", "run", "--port", "0", "--print-url", "--log", "off", "-q")
    worker, _ = _start(*me, "work", "--url", url)
    ours = calls / call(url, calls)
    engine.terminate()
    worker.terminate()
    echo_server, echo_url = _start(*me, "echo")
    bare = calls / anyio.run(echo, echo_url, calls)
    echo_server.terminate()
    for process in (engine, worker, echo_server):
        process.wait()
    sys.stdout.write(f"{ours:8.0f} invocations/s   {bare:8.0f} echoes/s   ratio {ours / bare:.2f}\n")


if __name__ == "__main__":
    main()
