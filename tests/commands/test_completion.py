"""Where shells look for completion scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iii_cli.commands.completion import installed_completion

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", "home/.local/share/bash-completion/completions/iii"),
        ("bash", "data/bash-completion/completions/iii"),
        ("zsh", "data/zsh/site-functions/_iii"),
        ("zsh", "functions/_iii"),
        ("fish", "home/.config/fish/completions/iii.fish"),
        ("fish", "prefix/share/fish/vendor_completions.d/iii.fish"),
    ],
)
def test_a_script_is_found_where_the_shell_looks(tmp_path: Path, shell: str, place: str) -> None:
    environ = {
        "SHELL": f"/bin/{shell}",
        "HOME": str(tmp_path / "home"),
        "XDG_DATA_DIRS": str(tmp_path / "data"),
        "FPATH": str(tmp_path / "functions"),
    }
    assert installed_completion(environ, str(tmp_path / "prefix"))[1] is None
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text("")
    found = installed_completion(environ, str(tmp_path / "prefix"))
    assert found == (shell, str(tmp_path / place))


def test_a_line_in_the_users_own_file_counts(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text("source <(iii-cli completion zsh)\n")
    found = installed_completion({"SHELL": "/bin/zsh", "HOME": str(tmp_path)}, "/nowhere")
    assert found[1] == str(tmp_path / ".zshrc")
