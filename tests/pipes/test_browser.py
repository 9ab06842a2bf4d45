"""What a page in a real browser can do to a developer's engine: nothing, unless its origin was allowed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHROMIUM = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP good.test 127.0.0.1"),
]

# Tries each URL as a WebSocket and as a plain request, then reports what it could do.
PAGE = """<!doctype html><script>
const tryOne = (url) => new Promise((done) => {
  const socket = new WebSocket(url);
  socket.onopen = () => done("open");
  socket.onerror = () => done("refused");
});
const tryAll = async (urls) => {
  const result = {};
  for (const url of urls) {
    result[url] = await tryOne(url);
    try {
      result["text of " + url] = await (await fetch(url.replace("ws:", "http:"))).text();
    } catch (error) { result["text of " + url] = null; }
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(result)});
};
tryAll(%s);
</script>"""


class Site:
    """Serves the page at every name that leads to it, and takes its report."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.reports: Queue[dict[str, str | None]] = Queue()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer((PAGE % json.dumps(site.targets)).encode())

            def do_POST(self) -> None:
                site.reports.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join(5)


def visit(url: str, site: Site, profile: Path) -> dict[str, str | None]:
    """What the page at `url` reports from a browser that has never been anywhere."""
    assert CHROMIUM is not None
    browser = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return site.reports.get(timeout=40)
    finally:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait(10)


@pytest.mark.ci
@pytest.mark.timeout(120)
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("page", "engine", "outcome"),
    [
        ("http://127.0.0.1", "localhost", "refused"),  # another origin
        ("http://localhost", "localhost", "refused"),  # the same host, another port
        ("http://evil.test", "evil.test", "refused"),  # DNS rebinding
        ("http://good.test", "evil.test", "refused"),  # an allowed page by a name that is not ours
        ("http://good.test", "localhost", "open"),
        ("http://good.test", "good.test", "open"),
    ],
)
def test_what_a_page_can_open(tmp_path: Path, page: str, engine: str, outcome: str) -> None:
    site = Site()
    options = ("--allow-origin", f"http://good.test:{site.port}", "--allow-host", "good.test")
    with running_engine(*options) as (url, _):
        writer, _ = Program(tmp_path, url).channel()
        _, _, channel_id, key = writer.split(":")
        base = f"ws://{engine}:{urlsplit(url).port}"
        targets = [f"{base}/", f"{base}/otel", f"{base}/ws/channels/{channel_id}?key={key}&dir=write"]
        site.targets = targets
        with site.running():
            report = visit(f"{page}:{site.port}/", site, tmp_path / "profile")
    assert {report[target] for target in targets} == {outcome}
    assert {report[f"text of {target}"] for target in targets} == {None}  # no page reads an answer of ours
