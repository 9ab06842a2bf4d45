"""The Python seal against docs/seal-vectors.json, and against what it needs of the SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import iii_seal
import pytest
from iii_seal import Counter, Verifier

FILE = json.loads((Path(__file__).parents[2] / "docs" / "seal-vectors.json").read_text())
STREAMS = {vector["name"]: vector for vector in FILE["streams"]}


@pytest.mark.parametrize("name", STREAMS)
def test_the_verdict_on_a_stream(name: str) -> None:
    vector: dict[str, Any] = STREAMS[name]
    verifier = Verifier(
        accept_unsealed=not vector.get("require_seal", False), allow_empty=vector.get("allow_empty", False)
    )
    delivered = [
        index
        for index, (kind, payload) in enumerate(vector["frames"])
        if (verifier.chunk(bytes.fromhex(payload)) if kind == "binary" else verifier.message(payload))
    ]
    silent_for = 60.0 if vector["end"] == "silence" else None
    failure = verifier.failure(close_frame=vector["end"] == "close", silent_for=silent_for)
    assert (0 if failure is None else failure.exit_status) == vector["exit"]
    if failure is None:
        assert verifier.verified == vector["verified"]
    assert vector.get("reason", "") in str(failure)
    assert vector.get("delivered", delivered) == delivered
    assert vector.get("totals", verifier.counter.totals) == verifier.counter.totals


@pytest.mark.parametrize("vector", FILE["totals"]["vectors"], ids=lambda vector: vector["name"])
def test_the_totals_of_records(vector: dict[str, Any]) -> None:
    for mode in ("records", "jsonl"):
        counter = Counter(FILE["totals"]["digest"], records=mode == "records")
        for kind, payload in vector["frames"]:
            if kind == "binary":
                counter.chunk(bytes.fromhex(payload))
            else:
                counter.message(payload.encode())
        assert counter.totals == vector[mode]


def test_the_sdk_has_the_names_that_the_socket_is_handed_over_by() -> None:
    """They are private: on the day one of them vanishes, iii_seal has to learn the new SDK."""
    channels = pytest.importorskip("iii.channels", reason="the Python SDK is not installed")
    types = pytest.importorskip("iii.iii_types")
    ref = types.StreamChannelRef(channel_id="id", access_key="key", direction="read")
    for kind in (channels.ChannelReader, channels.ChannelWriter):
        end = kind("ws://localhost:1/", ref)
        assert end._url.startswith("ws://localhost:1/ws/channels/id?key=key&dir=")
        assert (end._ws, end._connected) == (None, False)
        assert isinstance(getattr(end, "_headers", {}), dict | None)
    assert channels.ChannelReader("ws://localhost:1", ref)._message_callbacks == []


def test_an_unknown_mode_or_digest_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="unknown mode"):
        iii_seal.sealed(object(), "parquet")  # type: ignore[arg-type]
