"""Label maps for a tree that grows: waits for studies and survives errors."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.errors import MedsegError, MissingFileError, OutputError
from medseg.folder_lock import lock_folder
from medseg.inference.settings import InferenceSettings
from medseg.plain_text import one_line
from medseg.prediction.predict import collector_for, pseudonyms, segment_all
from medseg.prediction.records import PredictionTable
from medseg.prediction.scan import Scan
from medseg.prediction.scans import Collector
from medseg.prediction.segmenter import ScanOptions, Segmenter
from medseg.prediction.shutdown import Stop, stop_on_signals
from medseg.prediction.stable_files import StableFiles
from medseg.progress import Progress, Silent

SETTLE_SECONDS = 30.0
"""A study is complete when it has not changed for so long."""
_LONGEST_POLL, _SHORTEST_POLL = 5.0, 0.05


def watch(
    model_folder: Path,
    tree: Path,
    out: Path,
    *,
    settle: float = SETTLE_SECONDS,
    device: str = "auto",
    settings: InferenceSettings | None = None,
    options: ScanOptions | None = None,
    series: Sequence[str] = (),
    key_path: Path | None = None,
    progress: Progress | None = None,
) -> bool:
    """Segments what is in a folder and what comes, until Ctrl-C or SIGTERM.

    Args:
        model_folder: A model folder, or a run that holds one; several of them,
            separated by commas, or a folder of runs: an ensemble.
        tree: The folder to watch.
        out: Where label maps and the table go.
        settle: Seconds without a change after which a study is complete.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        settings: Windows, overlap and flips.
        options: How scans are read and what is written.
        series: Rules for DICOM series, for all channels or (``name:rule``) for one.
        key_path: File with the key of the pseudonyms; made where it is absent.
        progress: Shows progress.

    Returns:
        Whether it was Ctrl-C that ended it.

    Raises:
        MissingFileError: There is no model, or no such folder.
        ModelError: The model folder is damaged.
        SettingsError: A rule cannot be understood.
        OutputError: The output folder is another call's, or cannot be written.
    """
    shown = progress or Silent()
    if not tree.is_dir():
        raise MissingFileError(f"{tree}: no such folder to watch")
    segmenter = Segmenter.load(
        model_folder,
        out,
        device=device,
        settings=settings,
        options=options,
        series=series,
        progress=shown,
    )
    collector = collector_for(segmenter, pseudonyms(key_path, progress=shown))
    channels = [channel.name for channel in segmenter.model.plan.channels]
    files = StableFiles(tree, channels=channels, settle=settle, out=out)
    with lock_folder(out), stop_on_signals(shown) as stop:
        table = PredictionTable(out)
        shown.say(f"watching {tree}; Ctrl-C ends")
        _Loop(tree, files, collector, segmenter, table, shown, stop).run(settle)
        table.flush()
    return stop.interrupted


class _Loop:
    """Searches the tree, segments what is complete, waits."""

    def __init__(
        self,
        tree: Path,
        files: StableFiles,
        collector: Collector,
        segmenter: Segmenter,
        table: PredictionTable,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self._tree = tree
        self._files = files
        self._collector = collector
        self._segmenter = segmenter
        self._table = table
        self._progress = progress
        self._stop = stop
        self._trouble = ""
        self._owners: dict[str, str] = {}

    def run(self, settle: float) -> None:
        poll = min(max(settle / 4, _SHORTEST_POLL), _LONGEST_POLL)
        while not self._stop:
            self._once()
            self._stop.wait(poll)

    def _once(self) -> None:
        """One look at the tree; what goes wrong is said once and tried again."""
        if not self._tree.is_dir():
            self._say_trouble(f"{self._tree}: cannot be reached; waiting for it")
            return
        trouble = ""
        for paths in self._files.poll(time.monotonic()):
            if self._stop:
                return
            try:
                self._segment(paths)
            except OutputError as error:
                trouble = f"{one_line(str(error))}; trying again"
                self._files.again(paths, time.monotonic())
            except (MedsegError, OSError) as error:
                trouble = one_line(str(error))
        self._say_trouble(trouble)

    def _segment(self, paths: list[Path]) -> None:
        scans = self._collector.collect_files(paths, self._tree)
        for scan in map(self._under_own_name, scans):
            if self._stop:
                self._files.again(paths, time.monotonic())
                return
            lines = segment_all(
                [scan], self._segmenter, self._table, progress=self._progress
            )
            self._segmenter.write_page(self._table.lines, progress=self._progress)
            for line in lines:
                if line.status == "done":
                    self._progress.say(f"{line.scan}: done in {line.seconds:.1f} s")

    def _under_own_name(self, scan: Scan) -> Scan:
        """The scan, renamed where one of another study or folder is called the same.

        Scans that come together are told apart when they are collected; these come one
        study after the other, and one would overwrite the other's results.
        """
        series = scan.series
        place = str(scan.files[0].parent) if scan.files else scan.name
        owner = series.attributes["StudyInstanceUID"] if series else place
        other = f"{scan.name}_{self._collector.names.name(owner)}"
        if self._table.earlier(other) is None:
            first = self._owners.setdefault(scan.name.casefold(), owner)
            if first == owner:
                return scan
        return replace(scan, name=other)

    def _say_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._progress.warn(trouble)
        self._trouble = trouble
