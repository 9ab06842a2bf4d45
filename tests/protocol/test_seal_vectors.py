"""The vectors beside docs/seal.md: what any implementation of the seal says of these streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iii_cli.protocol.verifier import Verifier

FILE = json.loads((Path(__file__).parents[2] / "docs" / "seal-vectors.json").read_text())
STREAMS = {vector["name"]: vector for vector in FILE["streams"]}


@pytest.mark.parametrize("name", STREAMS)
def test_the_verdict_on_a_stream(name: str) -> None:
    vector: dict[str, Any] = STREAMS[name]
    verifier = Verifier(
        require_seal=vector.get("require_seal", False), allow_empty=vector.get("allow_empty", False)
    )
    for kind, payload in vector["frames"]:
        if kind == "binary":
            verifier.chunk(bytes.fromhex(payload))
        else:
            verifier.text(payload.encode())
    silent_for = 60.0 if vector["end"] == "silence" else None
    verdict = verifier.end(close_frame=vector["end"] == "close", silent_for=silent_for)
    failure = verdict.failure()
    assert (0 if failure is None else failure.exit_status) == vector["exit"]
    if failure is None:
        assert verdict.verified == vector["verified"]
    assert vector.get("reason", "") in verdict.text
