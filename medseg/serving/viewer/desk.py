"""Own pictures and scans, put down in a browser and segmented on this machine."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from medseg.errors import InputError, MedsegError, MissingFileError
from medseg.files import real_path
from medseg.inference.settings import InferenceSettings
from medseg.model import DESCRIPTION, ModelDescription
from medseg.prediction.folder_page import PICTURES
from medseg.prediction.predict import predict
from medseg.prediction.records import TABLE, Prediction, PredictionTable
from medseg.prediction.segmenter import ScanOptions
from medseg.prediction.viewer_pages import address_of
from medseg.progress import Silent
from medseg.settings import load_settings
from medseg.shipped_models import find_starter, starter_names

T = TypeVar("T")

SCANS, RESULTS = "scans", "results"
"""Folders of the desk."""
_DEEPEST = 4


@dataclass
class Job:
    """One call of predict, and how far it is; written by its thread alone."""

    done: int = 0
    total: int = 0
    is_running: bool = True
    failure: str = ""
    lines: list[str] = field(default_factory=list)
    failed: tuple[Prediction, ...] = ()
    """Scans without a label map, known at the end."""


class _JobProgress(Silent):
    """Notes in a job what predict says."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def track(
        self, items: Iterable[T], *, label: str, total: int | None = None
    ) -> Iterator[T]:
        if label != "predicting":
            yield from items
            return
        self._job.total = total or 0
        for item in items:
            yield item
            self._job.done += 1

    def say(self, message: str) -> None:
        self._job.lines.append(message)

    def warn(self, message: str) -> None:
        self._job.lines.append(message)


class Desk:
    """Files that were put down, a model, and what it made of them.

    One call of predict runs at a time, in a thread; what is there already, made by the
    same model of the same bytes, is not made again.
    """

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, Path],
        *,
        device: str = "auto",
        settings: InferenceSettings | None = None,
    ) -> None:
        """An empty desk.

        Args:
            folder: Where files and results are kept.
            models: Folder of each model that can be chosen.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
            settings: Windows, overlap, flips and engine.
        """
        self.folder, self.models = folder, dict(models)
        self._device, self._settings = device, settings
        self._job: Job | None = None
        self._lock = threading.Lock()
        for part in (SCANS, RESULTS):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def place_for(self, name: str) -> Path:
        """Where a file is put, by its name or its path below a dropped folder.

        Raises:
            InputError: The name leads out of the folder, or is none.
        """
        parts = PurePosixPath(name.replace("\\", "/")).parts
        unusable = [part for part in parts if part in ("..", "/") or "\0" in part]
        place = Path(*parts)
        leaves = bool(place.drive) or place.is_absolute()  # C:\\a.tif, on Windows
        if not parts or unusable or leaves or parts[-1].startswith("."):
            raise InputError(f"{name!r} is no name for a file; expected folder/a.tif")
        return self.folder / SCANS / place

    def start(self, model: str) -> None:
        """Segments what was put down, in a thread.

        Raises:
            InputError: There is no such model, nothing was put down, or an earlier
                call still runs.
        """
        if model not in self.models:
            raise InputError(f"{model!r}: no such model; there are {list(self.models)}")
        if not self.num_files:
            raise InputError("nothing to segment; drop pictures or scans first")
        with self._lock:
            if self._job is not None and self._job.is_running:
                raise InputError("the last call still runs; wait until it has ended")
            self._job = job = Job()
        work = threading.Thread(target=self._run, args=(model, job), daemon=True)
        work.start()

    @property
    def num_files(self) -> int:
        """Files that were put down."""
        return sum(path.is_file() for path in (self.folder / SCANS).rglob("*"))

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        job = self._job
        return {
            "models": list(self.models),
            "files": self.num_files,
            "running": job is not None and job.is_running,
            "done": 0 if job is None else job.done,
            "total": 0 if job is None else job.total,
            "failure": "" if job is None else job.failure,
            "lines": [] if job is None else job.lines[-5:],
            "rows": [self._row(line) for line in self._lines],
        }

    def result(self, address: str) -> Path | None:
        """A file below the results; None where there is none."""
        folder = real_path(self.folder / RESULTS)
        path = real_path(folder / address)
        return path if path.is_relative_to(folder) and path.is_file() else None

    def results(self) -> list[Path]:
        """Files worth a download: label maps, tables, outlines, the page."""
        folder = self.folder / RESULTS
        if not folder.is_dir():
            return []
        hidden = (".",)
        return [
            path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            and not any(
                part.startswith(hidden) for part in path.relative_to(folder).parts
            )
        ]

    @property
    def _lines(self) -> list[Prediction]:
        folder = self.folder / RESULTS
        there = PredictionTable(folder).lines if (folder / TABLE).is_file() else []
        failed = () if self._job is None else self._job.failed
        return sorted((*there, *failed), key=lambda line: line.scan)

    def _run(self, model: str, job: Job) -> None:
        try:
            lines = predict(
                self.models[model],
                self.folder / SCANS,
                self.folder / RESULTS,
                device=self._device,
                settings=self._settings,
                options=ScanOptions(page=True),
                progress=_JobProgress(job),
            )
            job.failed = tuple(line for line in lines if not line.is_segmented)
        except (MedsegError, OSError, MemoryError) as error:
            job.failure = str(error) or type(error).__name__
        except BaseException as error:
            job.failure = f"{type(error).__name__}: {error}"
            raise
        finally:
            job.is_running = False

    def _row(self, line: Prediction) -> dict[str, Any]:
        """A line of the table as the page shows it."""
        folder = self.folder / RESULTS
        picture = f"{PICTURES}/{line.scan}.png"
        return {
            "name": line.scan,
            "status": line.status,
            "suspect": bool(line.doubts),
            "count": line.num_objects,
            "sizes": _sizes(line),
            "picture": picture if (folder / picture).is_file() else "",
            "viewer": address_of(folder, line.scan),
            "remarks": [*filter(None, [line.remark]), *line.missing, *line.warnings],
        }


def find_models(folder: Path) -> dict[str, Path]:
    """The models below a folder and those of the package, by names that differ.

    Raises:
        MissingFileError: There is none.
    """
    models: dict[str, Path] = {}
    for depth in range(_DEEPEST):
        for path in sorted(folder.glob("*/" * depth + DESCRIPTION)):
            place = path.parent
            run = place.parent if place.name == "model" else place
            named = run.relative_to(folder).as_posix()
            shown = run.resolve().name if named == "." else named
            models[_described(shown, path)] = place
    for name in starter_names():
        if (starter := find_starter(Path(name))) is not None:
            described = _described(f"{name}, comes with medseg", starter / DESCRIPTION)
            models[described] = starter
    if not models:
        raise MissingFileError(
            f"{folder}: no model below it; train one, or name the folder of a model: "
            "medseg view --models FOLDER"
        )
    return models


def _described(name: str, path: Path) -> str:
    """A model's name with the structures it finds."""
    try:
        structures = load_settings(ModelDescription, path).plan.labels.structures
    except MedsegError:
        return name
    more = ", …" if len(structures) > 4 else ""
    return f"{name} ({', '.join(structures[:4])}{more})"


def _sizes(line: Prediction) -> dict[str, float]:
    """How much of each structure was found, by its heading with the unit."""
    found = (("ml", line.volumes_ml), ("µm²", line.areas_um2), ("px", line.areas_px))
    return {
        f"{name} [{unit}]": float(f"{size:.4g}")
        for unit, sizes in found
        for name, size in sizes.items()
    }
