"""A worker that uses the library: it answers `soak::echo`, and copies streams for `soak::copy`."""

from __future__ import annotations

from typing import Any

import anyio

import iii_cli

__all__: tuple[str, ...] = ()


async def main() -> None:
    async with iii_cli.connect(name="echo") as worker:

        @worker.function("soak::echo")
        async def echo(payload: Any) -> Any:
            return payload

        @worker.function("soak::copy")
        async def copy(payload: Any) -> dict[str, int]:
            count = 0
            async for chunk in payload["stdin"]:
                await payload["stdout"].send(chunk)
                count += len(chunk)
            await payload["stdout"].finish()
            return {"bytes": count}

        await worker.wait_registered()
        await worker.serve()


if __name__ == "__main__":
    import signal

    from tests.soak.observed import census

    signal.signal(signal.SIGPROF, census)
    anyio.run(main)
