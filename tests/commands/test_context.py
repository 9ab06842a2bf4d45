"""`iii context`, as a person and as a script use it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from iii_cli.commands.context import context_app
from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.config.store import ContextStore
from iii_cli.errors import Failure, LocalProblem, UsageProblem
from iii_cli.protocol.refs import Secret, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("III_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str, flags: GlobalFlags | None = None, stdin: str | None = None) -> Result:
    return CliRunner().invoke(context_app, arguments, input=stdin, obj=flags)


def failure(result: Result) -> Failure:
    assert isinstance(result.exception, Failure), result.output
    assert "t0p" not in str(result.exception)
    return result.exception


def settings(**flags: str) -> Settings:
    return resolve(GlobalFlags(**flags), {"T": "t0p"}, ContextStore())  # type: ignore[arg-type]


def test_a_context_is_added_chosen_used_and_forgotten() -> None:
    flags = GlobalFlags(namespace="orders", server_name="inner")
    added = run("add", "prod", "wss://engine.example", "--token", "env:T", "--use", flags=flags)
    assert (added.exit_code, added.output) == (0, "")
    settled = settings()
    assert settled.context == "prod"
    assert settled.namespace == "orders"
    assert settled.endpoint.address.url == "wss://engine.example:443"
    assert settled.endpoint.token == Secret("t0p")
    assert settled.endpoint.tls == TlsFiles(server_name="inner")
    assert run("use", "--none").exit_code == 0
    assert settings().context is None
    assert settings(context="prod").context == "prod"
    assert run("rm", "prod").exit_code == 0
    assert "no context 'prod'" in str(failure(run("use", "prod")))


def test_files_are_found_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "token").write_text("t0p")
    flags = GlobalFlags(url="wss://h", token_file="token", cacert="ca.pem", cert="c.pem", key="k.pem")
    assert run("add", "a", flags=flags).exit_code == 0
    assert run("add", "b", "wss://h", "--token", "file:token").exit_code == 0
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        assert settings(context=name).endpoint.token == Secret("t0p")
    work = str(tmp_path / "work")
    assert settings(context="a").endpoint.tls == TlsFiles(f"{work}/ca.pem", f"{work}/c.pem", f"{work}/k.pem")


def test_a_token_on_stdin_is_kept_in_a_file_and_never_shown(home: Path) -> None:
    assert run("add", "prod", "wss://h", flags=GlobalFlags(token_file="-"), stdin="t0p\n").exit_code == 0
    assert settings(context="prod").endpoint.token == Secret("t0p")
    for shown in (run("ls"), run("ls", "--json"), run("show", "prod"), run("show", "prod", "--json")):
        assert "t0p" not in shown.output
        assert f"file:{home}" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("x",), GlobalFlags()),
        (("x", "http://h"), GlobalFlags()),
        (("../x", "ws://h"), GlobalFlags()),
        (("x", "ws://h", "--token", "t0p"), GlobalFlags()),
        (("x", "ws://h", "--token", "env:T"), GlobalFlags(token_file="t")),
        (("x", "ws://h"), GlobalFlags(namespace=" ")),
        (("x", "ws://h"), GlobalFlags(key="k")),
        (("x", "ws://h"), GlobalFlags(headers=("A=t0p",))),
        (("x", "ws://h"), GlobalFlags(token_file="-")),
    ],
)
def test_what_no_context_can_be_made_of_is_refused(
    home: Path, arguments: tuple[str, ...], flags: GlobalFlags
) -> None:
    assert isinstance(failure(run("add", *arguments, flags=flags, stdin="")), UsageProblem)
    assert list(home.iterdir()) == []


def test_a_name_is_replaced_only_with_force() -> None:
    run("add", "x", "ws://a")
    assert "--force" in str(failure(run("add", "x", "ws://b")))
    assert run("add", "x", "ws://b", "--force").exit_code == 0
    assert settings(context="x").endpoint.address.host == "b"


def test_ls_marks_the_one_in_use() -> None:
    run("add", "a", "ws://a/?token=t0p")
    run("add", "b", "ws://b", "--use")
    assert run("ls").stdout == "\ta\tws://a:49134\t-\t-\n*\tb\tws://b:49134\t-\t-\n"
    told = json.loads(run("ls", "--json").stdout)
    assert [(row["name"], row["in_use"], row["url"]) for row in told] == [
        ("a", False, "ws://a:49134"),
        ("b", True, "ws://b:49134"),
    ]


def test_show_takes_the_one_in_use() -> None:
    assert "no context is in use" in str(failure(run("show")))
    run("add", "b", "ws://b", "--use")
    assert run("show").stdout == "name\tb\nin_use\tyes\nurl\tws://b:49134\n"


def test_use_wants_one_thing() -> None:
    run("add", "b", "ws://b")
    for arguments in ((), ("b", "--none")):
        assert "name a context, or --none" in str(failure(run("use", *arguments)))


def test_use_tells_what_still_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("III_URL", "ws://env")
    run("add", "b", "ws://b")
    assert "III_URL in the environment still wins" in run("use", "b").stderr
    assert run("use", "b", flags=GlobalFlags(quiet=True)).stderr == ""


def test_ls_shows_the_good_and_tells_of_the_damaged(home: Path) -> None:
    run("add", "good", "ws://a")
    for name in ("a", "b"):
        (home / "iii-cli" / "contexts" / f"{name}.toml").write_text("t0p")
    result = run("ls")
    assert "good" in result.stdout
    assert "b.toml' is damaged" in result.stderr
    problem = failure(result)
    assert "a.toml' is damaged" in str(problem)
    assert isinstance(problem, LocalProblem)


def test_without_a_writable_home_only_writing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/self")
    assert run("ls").exit_code == 0
    assert failure(run("add", "a", "ws://a")).exit_status == 10
    assert settings().url_source == "the default"
