"""Progress bars in notebooks, without widgets: one line that is replaced."""

import html
import sys
import time
from typing import Any

_SECONDS = 0.5
"""Least time between two updates: each is a message to the browser."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookMeter:
    """A bar in the output of a cell; implements `medseg.progress.Meter`."""

    def __init__(self, label: str) -> None:
        """Shows an empty bar."""
        from IPython import display as ipython

        self._label = label
        self._start = self._last = time.monotonic()
        show: Any = ipython.display
        self._handle: Any = show(self._bundle(0.0, ""), raw=True, display_id=True)

    def update(self, done: float, note: str = "") -> None:
        """Moves the bar to a share in [0, 1], with a short remark beside it."""
        now = time.monotonic()
        if now - self._last >= _SECONDS:
            self._last = now
            self._handle.update(self._bundle(done, note), raw=True)

    def close(self) -> None:
        """Leaves one line that says how long it took."""
        text = f"{self._label}: {_clock(time.monotonic() - self._start)}"
        self._handle.update({"text/plain": text}, raw=True)

    def _bundle(self, done: float, note: str) -> dict[str, str]:
        """The bar as text and as HTML, of which front ends choose."""
        spent = time.monotonic() - self._start
        left = f", {_clock(spent / done - spent)} left" if done > 0 else ""
        words = f"{done:.0%}, {_clock(spent)}{left}  {note}".rstrip()
        return {
            "text/plain": f"{self._label}: {words}",
            "text/html": f"<pre>{html.escape(self._label)} <progress max='1' "
            f"value='{done:.4f}'></progress> {html.escape(words)}</pre>",
        }


def _clock(seconds: float) -> str:
    whole = max(round(seconds), 0)
    return f"{whole // 60}:{whole % 60:02d}"
