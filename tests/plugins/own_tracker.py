"""A user's tracker."""

from collections.abc import Mapping
from pathlib import Path


class TextTracker:
    """A line of a file for each thing it is told."""

    run_id = None

    def __init__(self, folder: Path) -> None:
        self.path = folder / "told.txt"

    def _write(self, *words: object) -> None:
        with self.path.open("a") as stream:
            print(*words, file=stream)

    def log_params(self, params: Mapping[str, object]) -> None:
        self._write("params", len(params))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        self._write("metrics", step, *metrics)

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        self._write("artifact", path.name, folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._write("tags", *tags)

    def finish(self, status: str) -> None:
        self._write("finish", status)
