"""What calls print where no bar can move, though colours are forced."""

import io

import pytest

from medseg.console import Console


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_forced_colours_make_no_terminal(monkeypatch, name: str) -> None:
    """Jupyter sets FORCE_COLOR, for programs that a cell starts, too."""
    monkeypatch.setenv(name, "1")
    stream = io.StringIO()
    console = Console(stream=stream)
    assert list(console.track([1, 2, 3], label="measuring")) == [1, 2, 3]
    with console.meter(label="training") as meter:
        meter.update(0.5)
    assert "\x1b[?25l" not in stream.getvalue()  # no cursor was hidden
    assert "\x1b[2K" not in stream.getvalue()  # no line was overwritten
