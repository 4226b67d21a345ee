"""One tracked run: entries go to the run's folder at once and are uploaded later."""

import atexit
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from medseg.errors import MissingFileError
from medseg.progress import Progress, Silent
from medseg.tracking.address import resolve_tracking_uri, without_credentials
from medseg.tracking.offline_queue import (
    FOLDER,
    OfflineQueue,
    RunState,
    now_ms,
    read_state,
)
from medseg.tracking.store import status_entry
from medseg.tracking.system_metrics import SystemMetrics
from medseg.tracking.uploader import DEADLINE, Uploader
from medseg.training.logger import RunStatus, TrackedDataset, TrackedModel


class MlflowRun:
    """A RunLogger that writes to MLflow and never holds up training.

    Every call is a line in the run's offline queue; a thread sends the lines to the
    store. A run that is not finished when its process ends is marked as failed.
    """

    run_id: str | None
    """The run's id in MLflow; none until the store has been reached."""
    folder: Path
    """The run's folder."""

    def __init__(
        self,
        queue: OfflineQueue,
        uploader: Uploader,
        progress: Progress,
        *,
        system_metrics: bool = False,
    ) -> None:
        self.folder = queue.root
        self._queue = queue
        self._uploader = uploader
        self._progress = progress
        self._finished = False
        self._warned: set[str] = set()
        queue.append("status", **status_entry("RUNNING"))
        uploader.start()
        self.run_id = queue.state.run_id
        self._gauges: SystemMetrics | None = None
        if system_metrics:
            started = queue.state.started_ms / 1000
            self._gauges = SystemMetrics(self._log_load, started=started)
        atexit.register(self._abandon)

    def log_params(self, params: Mapping[str, str | float | int | bool]) -> None:
        """Keeps settings; on a resumed run changed ones appear as tags."""
        with self._tolerant():
            self._queue.append("params", values=dict(params))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Keeps one point of each curve, at this moment."""
        values = {key: float(value) for key, value in metrics.items()}
        with self._tolerant():
            self._queue.append("metrics", values=values, step=step, time=now_ms())

    def _log_load(self, values: Mapping[str, float], seconds: int) -> None:
        self.log_metrics(values, step=seconds)

    def log_artifact(self, path: Path, *, folder: str = "") -> None:
        """Keeps a file or folder of the run's folder as it is when it is sent.

        What lies elsewhere is copied at once, so that it may be deleted.
        """
        with self._tolerant():
            self._queue.append_file(path, folder=folder)

    def log_dataset(self, dataset: TrackedDataset) -> None:
        """Keeps that the run used a data set."""
        with self._tolerant():
            self._queue.append("dataset", **asdict(dataset))

    def log_model(self, folder: Path, model: TrackedModel) -> None:
        """Keeps a model folder as a model of the run, as it is when it is sent."""
        with self._tolerant():
            self._queue.append_file(
                folder, kind="model", token=uuid.uuid4().hex, **asdict(model)
            )

    def log_scores(
        self, scores: Mapping[str, float], *, step: int, dataset: TrackedDataset
    ) -> None:
        """Keeps scores of the model that was kept last, on a data set."""
        values = {key: float(value) for key, value in scores.items()}
        about = [dataset.name, dataset.digest]
        with self._tolerant():
            self._queue.append(
                "metrics", values=values, step=step, time=now_ms(), dataset=about
            )

    def log_table(self, table: Path) -> None:
        """Keeps a CSV file as a table to look at, named after it."""
        with self._tolerant():
            self._queue.append_file(table, kind="table")

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Keeps short texts to search runs by."""
        with self._tolerant():
            self._queue.append("tags", values=dict(tags))

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Files that are missing and full disks are warned of, once each."""
        try:
            yield
        except OSError as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                self._progress.warn(f"tracking: {error}")

    def finish(self, status: RunStatus) -> None:
        """Sends what is left and says how the run ended; nothing may follow."""
        if self._finished:
            return
        self._finished = True
        atexit.unregister(self._abandon)
        if self._gauges is not None:
            self._gauges.stop()
        with self._tolerant():
            self._queue.append("status", **status_entry(status))
        self._uploader.close()
        self.run_id = self._queue.state.run_id
        if count := len(self._queue):
            self._progress.warn(
                f"tracking: {count} entries have not reached "
                f"{self._queue.state.tracking_uri}; they wait in the run's folder "
                f"({FOLDER}/) and are sent when the run is resumed or replayed"
            )

    def _abandon(self) -> None:
        self.finish("FAILED")

    def __enter__(self) -> "MlflowRun":
        """The run itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finishes: as killed when interrupted, as failed after any other error."""
        if kind is None:
            self.finish("FINISHED")
        else:
            killed = issubclass(kind, KeyboardInterrupt)
            self.finish("KILLED" if killed else "FAILED")


def open_mlflow_run(
    *,
    tracking_uri: str | None,
    experiment: str,
    run_name: str,
    folder: Path,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    parent_folder: Path | None = None,
    resume: bool = False,
    system_metrics: bool = False,
    progress: Progress | None = None,
    deadline: float = DEADLINE,
) -> MlflowRun:
    """A run in MLflow, new or continued; a store that is away is only warned of.

    Args:
        tracking_uri: The store; none takes ``MLFLOW_TRACKING_URI``, else an SQLite
            file beside the run's folder.
        experiment: Name of the experiment, created where it is missing.
        run_name: Name shown in MLflow.
        folder: The run's folder; what cannot be sent waits there.
        run_id: Run to continue.
        parent_run_id: Run that this one is part of, shown nested.
        parent_folder: Folder of that run, from which its id is read once known.
        resume: Continue the run that the folder belongs to, whether or not its id was
            ever known.
        system_metrics: Also keep the load of processor, memory, disk and GPU.
        progress: Told about trouble; logging's ``medseg.tracking`` if none.
        deadline: Seconds that a server may take for one answer before the run goes
            on without it.
    """
    progress = progress or _Logged()
    uri = resolve_tracking_uri(tracking_uri, folder=folder)
    state = read_state(folder)
    continues = state is not None and (resume or state.run_id == run_id is not None)
    if state is not None and not continues:
        _set_aside(folder, state, progress)
    if state is None or not continues:
        state = RunState(
            token=uuid.uuid4().hex,
            tracking_uri=without_credentials(uri),
            experiment=experiment,
            run_name=run_name,
            started_ms=now_ms(),
            parent_run_id=parent_run_id,
            parent_folder=None if parent_folder is None else str(parent_folder),
            run_id=run_id,
        )
    queue = OfflineQueue(folder, state)
    queue.update(tracking_uri=without_credentials(uri))
    uploader = Uploader(queue, tracking_uri=uri, progress=progress, deadline=deadline)
    return MlflowRun(queue, uploader, progress, system_metrics=system_metrics)


def replay_queue(
    folder: Path, *, tracking_uri: str | None = None, progress: Progress | None = None
) -> int:
    """Sends what waits in a run's folder; the number of entries still waiting.

    Not for the folder of a run that is under way: that one sends by itself.

    Args:
        folder: The run's folder.
        tracking_uri: The store; none takes the one the run was started with.
        progress: Told about trouble; logging's ``medseg.tracking`` if none.

    Raises:
        MissingFileError: The folder belongs to no tracked run.
    """
    state = read_state(folder)
    if state is None:
        raise MissingFileError(f"{folder}: no tracked run here, expected {FOLDER}/")
    queue = OfflineQueue(folder, state)
    if len(queue):
        uri = tracking_uri or _with_credentials(state.tracking_uri)
        uploader = Uploader(queue, tracking_uri=uri, progress=progress or _Logged())
        uploader.start()
        uploader.close()
    return len(queue)


def _with_credentials(tracking_uri: str) -> str:
    """The address as ``MLFLOW_TRACKING_URI`` has it, where it is the same server."""
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    return named if without_credentials(named) == tracking_uri else tracking_uri


def _set_aside(folder: Path, state: RunState, progress: Progress) -> None:
    """Makes room for a new run without losing what waits of an earlier one."""
    if replay_queue(folder, progress=progress):
        (folder / FOLDER).rename(folder / f"{FOLDER}-{state.token[:8]}")


class _Logged(Silent):
    """Trouble as warnings of Python's logging."""

    def warn(self, message: str) -> None:
        """One warning."""
        logging.getLogger("medseg.tracking").warning(message)
