"""The log file of a call: whole, and not there where nothing was begun."""

import logging
from pathlib import Path

import pytest

from medseg.console import Console
from medseg.errors import OutputError


def test_the_log_is_begun_when_its_folder_is_there(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a" / "run.log"
    console = Console(quiet=True)
    console.log_to(path)
    console.say("first")
    console.warn("second")
    assert not path.parent.exists()
    path.parent.mkdir(parents=True)
    console.say("third")
    lines = path.read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == [
        "INFO first",
        "WARNING second",
        "INFO third",
    ]
    console.say("fourth")
    assert len(path.read_text().splitlines()) == 4
    again = Console(quiet=True)
    again.log_to(path)
    again.say("fifth")
    assert path.read_text().splitlines()[-1].endswith("INFO fifth")


def test_a_log_below_a_file_or_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "run.log").mkdir()
    with pytest.raises(OutputError, match=r"run\.log: cannot be written: .* no folder"):
        Console().log_to(tmp_path / "file" / "deep" / "run.log")
    with pytest.raises(OutputError, match="a folder of that name is there"):
        Console().log_to(tmp_path / "run.log")


def test_a_log_that_fails_later_stops_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    console = Console()
    console.log_to(tmp_path / "run" / "run.log")
    (tmp_path / "run" / "run.log").mkdir(parents=True)
    console.say("said all the same")
    assert "said all the same" in "".join(capsys.readouterr())
