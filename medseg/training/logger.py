"""What training tells whoever keeps track of runs; training never imports MLflow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended."""


class RunLogger(Protocol):
    """Keeps the parameters, curves and files of one run."""

    run_id: str | None
    """How the tracking store names the run; none where nothing is kept."""

    def log_params(self, params: Mapping[str, str | float | int | bool]) -> None:
        """Keeps settings that hold for the whole run."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Keeps one point of each curve."""
        ...

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        """Keeps a copy of a file, or of what a folder holds.

        Args:
            path: The file or folder.
            folder: Where the file, or what the folder holds, is kept; if none, a file
                is kept at the top and a folder under its own name.
        """
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keeps short texts to search runs by."""
        ...

    def finish(self, status: RunStatus) -> None:
        """Says how the run ended; nothing follows."""
        ...


class SeveralLoggers:
    """Tells several loggers; one of others that fails is warned of and told no more.

    Args:
        first: Names the run; its errors are errors.
        others: By their names.
        warn: Told what went wrong.
    """

    def __init__(
        self,
        first: RunLogger,
        others: Mapping[str, RunLogger],
        *,
        warn: Callable[[str], None],
    ) -> None:
        self.run_id = first.run_id
        self._first = first
        self._others = dict(others)
        self._warn = warn

    def log_params(self, params: Mapping[str, str | float | int | bool]) -> None:
        """Passes settings on."""
        self._first.log_params(params)
        self._tell(lambda logger: logger.log_params(params))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Passes points of curves on."""
        self._first.log_metrics(metrics, step=step)
        self._tell(lambda logger: logger.log_metrics(metrics, step=step))

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        """Passes a file or folder on."""
        self._first.log_artifact(path, folder=folder)
        self._tell(lambda logger: logger.log_artifact(path, folder=folder))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Passes short texts on."""
        self._first.set_tags(tags)
        self._tell(lambda logger: logger.set_tags(tags))

    def finish(self, status: RunStatus) -> None:
        """Tells all how the run ended."""
        self._first.finish(status)
        self._tell(lambda logger: logger.finish(status))

    def _tell(self, call: Callable[[RunLogger], None]) -> None:
        for name, logger in list(self._others.items()):
            try:
                call(logger)
            except Exception as error:  # noqa: BLE001 - no tracker ends a training
                del self._others[name]
                self._warn(
                    f"tracker {name}: {type(error).__name__}: {error}; it is told "
                    "nothing more of this run"
                )


class NullLogger:
    """A run that is not tracked."""

    run_id: str | None = None

    def log_params(self, params: Mapping[str, str | float | int | bool]) -> None:
        """Does nothing."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Does nothing."""

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        """Does nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Does nothing."""

    def finish(self, status: RunStatus) -> None:
        """Does nothing."""
