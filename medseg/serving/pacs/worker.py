"""The model in a process of its own: a crash or a hang costs one study."""

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError, OutputError, PredictionError
from medseg.files import is_write_failure
from medseg.plugins import NOTHING_ALLOWED, Allowance, adopt
from medseg.progress import Silent


@dataclass(frozen=True)
class WorkerOptions:
    """What the process needs to load the model and name its results."""

    model: Path
    device: str = "auto"
    series: tuple[str, ...] = ()
    strict: bool = False
    sr: bool = False
    """Write reports of measurements beside segmentations."""
    key_path: Path | None = None
    settings: dict[str, Any] | None = None
    """Values of `InferenceSettings`."""
    plugins: Allowance = NOTHING_ALLOWED
    """Code of others that the model may need."""


@dataclass(frozen=True)
class StudyResult:
    """What became of one scan of a study."""

    scan: str
    status: str
    outputs: tuple[str, ...]
    reason: str
    seconds: float
    missing: tuple[str, ...] = ()
    """Objects that could not be made of it, a sentence each."""


class Worker:
    """Segments studies one by one; its process is started when it is needed.

    Args:
        options: What to load.
        time_limit: Seconds for one study, loading included.
    """

    def __init__(self, options: WorkerOptions, *, time_limit: float) -> None:
        self._options = options
        self._time_limit = time_limit
        self._process: Any = None
        self._pipe: Connection | None = None

    def check(self) -> None:
        """Loads the model, so that a damaged one is known at once.

        Raises:
            PredictionError: It cannot be loaded.
        """
        self._ask(None)

    def segment(self, study: Path, out: Path) -> list[StudyResult]:
        """Segments a study's folder into another.

        Args:
            study: Folder of the study's objects.
            out: Where results and their table go.

        Raises:
            PredictionError: The process ended or took too long, or the study as a
                whole could not be segmented.
            OutputError: There is no room for results, or no right to write them.
        """
        return self._ask((study, out))

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _ask(self, job: tuple[Path, Path] | None) -> list[StudyResult]:
        self._start()
        assert self._pipe is not None
        try:
            self._pipe.send(job)
            if not self._pipe.poll(self._time_limit):
                self.stop()
                raise PredictionError(f"gave up after {self._time_limit:g} s")
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise PredictionError("the process that segments ended") from error
        if isinstance(answer, MedsegError):
            raise answer
        results: list[StudyResult] = answer
        return results

    def _start(self) -> None:
        if self._process is not None and self._process.is_alive():
            return
        self.stop()
        context = multiprocessing.get_context("spawn")
        ends: Any = context.Pipe()  # of another type on Windows
        self._pipe, theirs = ends
        self._process = context.Process(
            target=_serve, args=(theirs, self._options), daemon=True
        )
        self._process.start()
        theirs.close()


def _serve(pipe: Connection, options: WorkerOptions) -> None:
    """The other process: studies in, results out, until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the node itself decides
        signal.signal(number, signal.SIG_IGN)
    segment: Callable[[Path, Path], list[StudyResult]] | None = None
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            segment = segment or _loaded(options)
            pipe.send([] if job is None else segment(*job))
        except (MedsegError, OSError) as error:
            full = isinstance(error, OutputError) or (
                isinstance(error, OSError) and is_write_failure(error)
            )
            kind = OutputError if full else PredictionError
            pipe.send(kind(str(error) or type(error).__name__))


def _loaded(options: WorkerOptions) -> Callable[[Path, Path], list[StudyResult]]:
    """Segments studies with a model that is loaded once."""
    from medseg.folder_lock import lock_folder
    from medseg.inference.settings import InferenceSettings
    from medseg.prediction.predict import collector_for, pseudonyms, segment_all
    from medseg.prediction.records import PredictionTable
    from medseg.prediction.segmenter import ScanOptions, Segmenter

    adopt(options.plugins)
    names = pseudonyms(options.key_path, progress=Silent())
    loaded = Segmenter.load(
        options.model,
        Path(),
        device=options.device,
        settings=InferenceSettings(**(options.settings or {})),
        options=ScanOptions(strict=options.strict, seg=True, sr=options.sr, page=True),
        series=options.series,
    )

    def segment(study: Path, out: Path) -> list[StudyResult]:
        segmenter = replace(loaded, out=out)
        scans = collector_for(segmenter, names).collect(study)
        with lock_folder(out):
            table = PredictionTable(out)
            lines = segment_all(scans, segmenter, table, progress=Silent())
            segmenter.write_page(table.lines, progress=Silent())
        return [
            StudyResult(
                line.scan,
                line.status,
                line.outputs,
                line.remark,
                line.seconds,
                missing=tuple(line.missing),
            )
            for line in lines
        ]

    return segment
