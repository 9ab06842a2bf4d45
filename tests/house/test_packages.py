"""The wheel and the sdist: what belongs in them, nothing else, and where an installation puts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.ci
ROOT = Path(__file__).parents[2]
SHARE = {
    "share/man/man1/iii.1",
    "share/man/man1/iii-cli.1",
    "share/man/man1/iii-channel-write.1",
    "share/bash-completion/completions/iii",
    "share/bash-completion/completions/iii-cli",
    "share/zsh/site-functions/_iii",
    "share/fish/vendor_completions.d/iii.fish",
    "share/fish/vendor_completions.d/iii-cli.fish",
}
TOP = {
    "iii_cli",
    "tests",
    "docs",
    "seals",
    "man",
    "PKG-INFO",
    "pyproject.toml",
    ".gitignore",
} | {
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built from what git tracks and nothing else."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0")[:-1]:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return folder


def wheel_names(built: Path) -> set[str]:
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_share(built: Path) -> None:
    names = wheel_names(built)
    files = (path.relative_to(ROOT) for path in (ROOT / "iii_cli").rglob("*") if path.is_file())
    package = {str(path) for path in files if "__pycache__" not in path.parts}
    assert package <= names
    [data] = {name.partition("/data/")[0] for name in names if "/data/" in name}
    assert {f"{data}/data/{name}" for name in SHARE} <= names
    others = {name for name in names - package if "/data/share/" not in name}
    assert {name.partition("/")[0].rpartition(".")[2] for name in others} == {"dist-info"}


def test_the_sdist_holds_what_a_build_and_its_tests_need(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {name.partition("/")[0] for name in names} <= TOP
    assert {"man/iii.1", "tests/conftest.py", "iii_cli/py.typed"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_pip_puts_share_where_the_system_looks(built: Path, tmp_path: Path) -> None:
    """Into a venv of its own: pip would take the installation under test away."""
    [wheel] = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    assert [name for name in SHARE if not (tmp_path / name).is_file()] == []
    assert (tmp_path / "bin" / "iii").is_file()
    assert (tmp_path / "bin" / "iii-cli").is_file()


# In the new environment: each distribution there, and what it says that it needs.
ASK = """
import importlib.metadata as m, json
print(json.dumps({d.metadata["Name"]: list(d.requires or ()) for d in m.distributions()}))
"""


@pytest.mark.timeout(240)
def test_the_wheel_brings_what_it_names_and_nothing_else(built: Path, tmp_path: Path) -> None:
    """A clean environment, from the index; the demo runs in it, from an empty folder with an empty PATH."""
    [wheel] = built.glob("*.whl")
    home, environment = tmp_path / "home", tmp_path / "venv"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python, iii = str(environment / "bin" / "python"), str(environment / "bin" / "iii-cli")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=200)
    asked = subprocess.run([python, "-c", ASK], check=True, capture_output=True, text=True, timeout=20)
    there = {_plain(name): needs for name, needs in json.loads(asked.stdout).items()}
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(there) - {"pip", "setuptools"} == {"iii-cli"} | _closure(named, there)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    environ |= {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    done = subprocess.run(
        [iii, "demo", python], cwd=home, env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.count("Equal.")) == (0, 1), done.stderr


def _closure(needs: list[str], there: dict[str, list[str]]) -> set[str]:
    """The names that `needs` lead to, through what is `there`, on this machine and without extras."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in needs]
    while waiting:
        requirement = waiting.pop()
        name = _plain(requirement.name)
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and name not in found:
            found.add(name)
            waiting += [Requirement(text) for text in there.get(name, ())]
    return found


def _plain(name: str) -> str:
    """A distribution's name as the packaging standard compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
