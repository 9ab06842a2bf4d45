"""What the Python module needs of the SDK."""

from __future__ import annotations

import iii_seal
import pytest


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
