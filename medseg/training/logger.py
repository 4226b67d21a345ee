"""What training tells whoever keeps track of runs; training never imports MLflow."""

from collections.abc import Mapping
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
