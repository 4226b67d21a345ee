"""Bars below the cells of a notebook; plain lines where there is no terminal."""

import sys
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from medseg import notebook
from medseg.console import Console


class Handle:
    """What IPython's `display` returns; keeps what it was told."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(bundle)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """A kernel's process, and the output of a cell in it."""
    handle = Handle()

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        handle.shown.append(bundle)
        return handle

    shell = SimpleNamespace(kernel=object())
    module: Any = SimpleNamespace(
        get_ipython=lambda: shell, display=SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setattr(notebook, "_SECONDS", 0.0)
    return handle


def test_a_loop_moves_a_bar_and_leaves_a_line(cell: Handle) -> None:
    assert list(Console().track([1, 2, 3, 4], label="predicting <b>")) == [1, 2, 3, 4]
    bars = [bundle.get("text/html", "") for bundle in cell.shown]
    assert "value='0.0000'" in bars[0]
    assert "value='0.5000'" in bars[2]
    assert "predicting &lt;b&gt;" in bars[2]
    assert "left" in cell.shown[2]["text/plain"]
    assert cell.shown[-1] == {"text/plain": "predicting <b>: 0:00"}


def test_a_meter_shows_its_note(cell: Handle) -> None:
    with Console().meter(label="training") as meter:
        meter.update(0.25, "loss 0.5")
    assert cell.shown[1]["text/plain"].startswith("training: 25%")
    assert cell.shown[1]["text/plain"].endswith("loss 0.5")


def test_lines_stand_below_the_cell_and_not_among_errors(
    cell: Handle, capsys: pytest.CaptureFixture[str]
) -> None:
    Console().say("a plan")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("a plan\n", "")


def test_quiet_shows_nothing(cell: Handle) -> None:
    with Console(quiet=True).meter(label="training") as meter:
        meter.update(0.5)
    assert list(Console(quiet=True).track([1, 2], label="x")) == [1, 2]
    assert cell.shown == []


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = SimpleNamespace(get_ipython=lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert not notebook.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.in_notebook()


def test_without_a_terminal_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    stream = StringIO()
    console = Console(stream=stream)
    assert list(console.track(range(3), label="predicting")) == [0, 1, 2]
    console.say("done")
    assert stream.getvalue() == "done\n"
