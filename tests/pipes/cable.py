"""Two hosts and the cable between them, in network namespaces of their own: nothing outside is touched.

Run as a program it is the script of a test: `python cable.py III FOLDER SECONDS`. See test_dead_network.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

HERE, THERE = "10.199.7.1", "10.199.7.2"


def sh(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)


def main(iii: str, folder: str) -> None:
    """A reader and the engine are there, a writer is here. Prints how the writer ended, and when."""
    home = Path(folder)
    far = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    there = ["nsenter", "-t", str(far.pid), "-n"]
    try:
        while os.readlink(f"/proc/{far.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        their_side = f"ip link set lo up; ip addr add {THERE}/24 dev there; ip link set there up"
        sh(
            f"""ip link set lo up
            ip link add here type veth peer name there
            ip link set there netns {far.pid}
            ip addr add {HERE}/24 dev here; ip link set here up
            {" ".join(there)} sh -ec '{their_side}'"""
        )
        token = home / "token"
        token.write_text("a-token-of-some-length")
        words = ["engine", "run", "--host", THERE, "--port", "0", "--print-url", "--log", "off"]
        engine = subprocess.Popen(
            [*there, iii, *words, "--token-file", str(token)], stdout=subprocess.PIPE, text=True
        )
        assert engine.stdout is not None
        env = os.environ | {"III_URL": engine.stdout.readline().strip(), "III_TOKEN_FILE": str(token)}
        trial(iii, env, there, home)
        engine.terminate()
        engine.wait(10)
    finally:
        far.kill()


def trial(iii: str, env: dict[str, str], there: list[str], home: Path) -> None:
    subprocess.run([iii, "channel", "create", "--save", "x", "-q"], env=env, check=True)
    reader = subprocess.Popen(
        [*there, iii, "channel", "read", "@x/reader", "-q"], env=env, stdout=subprocess.PIPE
    )
    with (home / "said").open("wb") as said:
        writer = subprocess.Popen([iii, "channel", "write", "@x/writer", "/dev/zero"], env=env, stderr=said)
    assert reader.stdout is not None
    reader.stdout.read(1 << 20)
    stood = float(os.environ["STAND_STILL"])
    if stood:  # the reader reads no more, and all is well
        time.sleep(stood)
        assert writer.poll() is None, "a reader that stands still is alive"
        reader.stdout.read(8 << 20)
    nobody = "lladdr 02:00:00:00:00:99 nud permanent"  # packets leave, and nobody takes them
    sh(f"ip neigh replace {THERE} dev here {nobody}")
    sh(f"{' '.join(there)} ip neigh replace {HERE} dev there {nobody}")
    began = time.monotonic()
    status = writer.wait(120)
    print(status, round(time.monotonic() - began, 1), (home / "said").read_text().strip())
    reader.kill()
    reader.communicate()


if __name__ == "__main__":
    main(*sys.argv[1:])
