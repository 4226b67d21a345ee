"""What training tells whoever keeps track of runs; training never imports MLflow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class TrackedDataset:
    """The cases that a run used for one thing; nothing in it names a case."""

    name: str
    """Name of the data set."""
    digest: str
    """Hash of what the cases are: the same cases always have the same."""
    role: Literal["training", "validation"]
    """What the run used them for."""
    num_cases: int
    num_patients: int
    manifest: str
    """Hash of the whole data set's files, patients and folds."""


@dataclass(frozen=True)
class TrackedModel:
    """What a tracker is told of a model folder besides its files."""

    channels: tuple[str, ...]
    """What each channel of a scan must hold, in order."""
    labels: Mapping[str, int]
    """Value in label maps of each structure."""
    step: int
    """Optimiser steps that it was trained for."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Short facts to choose models by, such as network and loss."""


class RunTracker(RunLogger, Protocol):
    """A RunLogger that also keeps data sets, models, and what was scored on which."""

    def log_dataset(self, dataset: TrackedDataset) -> None:
        """Keeps that the run used a data set."""
        ...

    def log_model(self, folder: Path, model: TrackedModel) -> None:
        """Keeps a copy of a model folder as a model of the run."""
        ...

    def log_scores(
        self, scores: Mapping[str, float], *, step: int, dataset: TrackedDataset
    ) -> None:
        """Keeps scores of the model that was kept last, on a data set."""
        ...

    def log_table(self, table: Path) -> None:
        """Keeps a CSV file as a table to look at, named after it."""
        ...


class SeveralLoggers:
    """Tells several loggers; one of others that fails is warned of and told no more.

    Args:
        first: Names the run; its errors are errors.
        others: By their names; each is told what a `RunLogger` understands.
        warn: Told what went wrong.
    """

    def __init__(
        self,
        first: RunTracker,
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

    def log_dataset(self, dataset: TrackedDataset) -> None:
        """Tells the first which data set was used."""
        self._first.log_dataset(dataset)

    def log_model(self, folder: Path, model: TrackedModel) -> None:
        """Passes a model on; the others take its folder as files."""
        self._first.log_model(folder, model)
        self._tell(lambda logger: logger.log_artifact(folder, folder="model"))

    def log_scores(
        self, scores: Mapping[str, float], *, step: int, dataset: TrackedDataset
    ) -> None:
        """Passes scores on; the others take them as points of curves."""
        self._first.log_scores(scores, step=step, dataset=dataset)
        self._tell(lambda logger: logger.log_metrics(scores, step=step))

    def log_table(self, table: Path) -> None:
        """Tells the first of a table; its file the others are told of as all files."""
        self._first.log_table(table)

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

    def log_dataset(self, dataset: TrackedDataset) -> None:
        """Does nothing."""

    def log_model(self, folder: Path, model: TrackedModel) -> None:
        """Does nothing."""

    def log_scores(
        self, scores: Mapping[str, float], *, step: int, dataset: TrackedDataset
    ) -> None:
        """Does nothing."""

    def log_table(self, table: Path) -> None:
        """Does nothing."""

    def finish(self, status: RunStatus) -> None:
        """Does nothing."""
