"""What the Node module needs of the SDK."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ci, pytest.mark.timeout(300)]


def test_the_sdk_has_the_names_that_the_socket_is_handed_over_by(node_folder: Path) -> None:
    """They are private: on the day one of them vanishes, iii-seal has to learn the new SDK."""
    command = ["node", str(node_folder / "names.mjs")]
    reader, writer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    url = "ws://localhost:1/ws/channels/id?key=key&dir="
    assert reader == {"url": f"{url}read", "ws": None, "connected": False, "messageCallbacks": []}
    assert writer == {"url": f"{url}write", "ws": None, "wsReady": False}
