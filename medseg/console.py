"""What a user sees: bars with time left on a terminal and in notebooks, else lines."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, TypeVar

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from medseg.errors import MedsegError
from medseg.files import require_writable
from medseg.notebook import NotebookMeter, in_notebook
from medseg.progress import Meter

T = TypeVar("T")

PLAIN_SECONDS = 15.0
"""Time between lines where there is no terminal."""


def run_to_end(program: Callable[[], None]) -> NoReturn:
    """Runs a program such as a pipeline, and ends the process.

    What is wrong with data or settings is said in words, exit code 2, and so is Ctrl-C,
    130; defects keep their traceback.
    """
    try:
        program()
    except MedsegError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command continues\n")
        sys.exit(130)
    sys.exit(0)


class Console:
    """Progress for people; implements `medseg.progress.Progress`."""

    def __init__(self, *, quiet: bool = False, stream: IO[str] | None = None) -> None:
        """Writes to standard error, in notebooks below the cell, unless told otherwise.

        Args:
            quiet: Show warnings only.
            stream: Where to write.
        """
        self._quiet = quiet
        self._notebook = stream is None and in_notebook()
        usual = sys.stdout if self._notebook else sys.stderr
        self._rich = RichConsole(
            file=stream or usual, highlight=False, force_jupyter=False
        )
        self._is_terminal = self._rich.is_terminal and self._rich.file.isatty()
        """Where a bar can move; FORCE_COLOR, as notebooks set it, makes no terminal."""
        self._log: logging.Logger | None = None

    def log_to(self, path: Path) -> None:
        """Also appends every message, with the time, to a file.

        The file is begun when its folder is there: a call that is refused before it
        makes the folder leaves nothing behind.

        Raises:
            OutputError: The file cannot be written.
        """
        require_writable(path)
        handler = _LateFile(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.Logger(f"medseg.{path}", level=logging.INFO)
        logger.addHandler(handler)
        self._log = logger

    def say(self, message: str) -> None:
        """Shows one line, unless quiet."""
        if self._log is not None:
            self._log.info(message)
        if not self._quiet:
            self._rich.print(message, markup=False, soft_wrap=True)

    def made(
        self, places: Mapping[str, Path], *, then: Sequence[Sequence[object]]
    ) -> None:
        """Says, as the last thing of a verb, what was made and what can follow.

        Args:
            places: Files and folders by what they are; those that are not there are
                left out.
            then: Commands that can follow, each as its words; none after a failure.
        """
        there = {what: path for what, path in places.items() if path.exists()}
        width = max([len(what) for what in there] + [4])
        for what, path in there.items():
            self.say(f"{what:<{width}}  {path}")
        for words in then:
            self.say(f"{'next':<{width}}  {shlex.join(map(str, words))}")

    def warn(self, message: str) -> None:
        """Shows one line, even when quiet."""
        if self._log is not None:
            self._log.warning(message)
        self._rich.print("warning:", style="yellow", end=" ")
        self._rich.print(message, markup=False, soft_wrap=True)

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        """The items, one by one, with a bar and the time left."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        if self._quiet:
            yield from items
        elif self._notebook:
            yield from self._counted(items, label, total)
        elif self._is_terminal:
            yield from self._bar(items, label, total)
        else:
            yield from self._lines(items, label, total)

    @contextmanager
    def meter(self, *, label: str) -> Iterator[Meter]:
        """A bar for one long piece of work, with the time left."""
        if self._notebook and not self._quiet:
            bar = NotebookMeter(label)
            try:
                yield bar
            finally:
                bar.close()
            return
        if self._quiet or not self._is_terminal:
            yield _PlainMeter(self, label)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self._rich, transient=True) as rich_bar:
            task = rich_bar.add_task(label, total=1.0, note="")
            yield _RichMeter(rich_bar, int(task))

    def _counted(
        self, items: Iterable[T], label: str, total: int | None
    ) -> Iterator[T]:
        """The items, with a bar below the cell; one alone is worth none."""
        if total == 1:
            yield from items
            return
        with self.meter(label=label) as meter:
            for count, item in enumerate(items, start=1):
                yield item
                meter.update(count / total if total else 0.0, f"{count}")

    def _bar(self, items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._rich, transient=True) as bar:
            yield from bar.track(items, description=label, total=total)

    def _lines(self, items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
        start = last = time.monotonic()
        for count, item in enumerate(items):
            yield item
            now = time.monotonic()
            if now - last > PLAIN_SECONDS:
                last = now
                left = _left((count + 1) / total, now - start) if total else ""
                self.say(f"{label}: {count + 1} of {total or '?'}{left}")


class _LateFile(logging.Handler):
    """Lines at the end of a file; they wait until its folder is there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(f"{self.format(record)}\n")
        if not self._path.parent.is_dir():
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(self._waiting)
        except OSError:
            self.handleError(record)
        self._waiting.clear()


class _RichMeter:
    def __init__(self, bar: RichProgress, task: int) -> None:
        self._bar = bar
        self._task = task

    def update(self, done: float, note: str = "") -> None:
        self._bar.update(self._task, completed=done, note=note)  # type: ignore[arg-type]


class _PlainMeter:
    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._start = self._last = time.monotonic()

    def update(self, done: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_SECONDS:
            return
        self._last = now
        left = _left(done, now - self._start)
        self._console.say(f"{self._label}: {done:.0%}{left}  {note}")


def _left(done: float, seconds: float) -> str:
    if done <= 0:
        return ""
    left = round(seconds / done - seconds)
    return f", {left // 60}:{left % 60:02d} left"
