"""Help of every verb, by -h too, as wide as the terminal; names like others."""

import os

import pytest
from command_line import medseg
from typer.testing import CliRunner

from medseg.cli.app import app

VERBS = [
    command.name or command.callback.__name__
    for command in app.registered_commands
    if command.callback
]


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_short_and_long_and_has_an_example(verb: str) -> None:
    short, long = (CliRunner().invoke(app, [verb, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0, short.output
    assert short.output == long.output
    assert f"Example: medseg {verb}" in short.output


@pytest.mark.parametrize("columns", [60, 120])
def test_help_follows_the_width_of_the_terminal(columns: int) -> None:
    done = medseg("train", "-h", env={**os.environ, "COLUMNS": str(columns)})
    widths = [len(line.rstrip()) for line in done.stdout.splitlines()]
    assert columns - 12 < max(widths) <= columns


def test_a_verb_that_is_like_another_is_suggested() -> None:
    done = CliRunner().invoke(app, ["trian"])
    assert done.exit_code == 2
    assert "Did you mean 'train'" in done.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_can_complete(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # shellingham asks which process started this one; in CI that may be plain sh
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    script = CliRunner().invoke(app, ["--show-completion"])
    assert script.exit_code == 0, script.output
    assert "COMPLETE" in script.output
