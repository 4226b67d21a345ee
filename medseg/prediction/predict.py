"""Label maps for a tree of scans: one bad scan never stops the others."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from medseg.errors import OutputError
from medseg.folder_lock import lock_folder
from medseg.inference.settings import InferenceSettings
from medseg.io.identity import Pseudonymizer, load_pseudonymizer
from medseg.prediction.ended_calls import EndedCalls
from medseg.prediction.pipeline import PredictionPipeline
from medseg.prediction.records import Prediction, PredictionTable
from medseg.prediction.scan import Scan
from medseg.prediction.scans import Collector
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.segmenter import ScanOptions, Segmenter
from medseg.progress import Progress, Silent
from medseg.reading import REMEMBERED, start_early


def predict(
    model: Path | SegmentationModel,
    scans: Path | Sequence[Scan],
    out: Path,
    *,
    device: str = "auto",
    settings: InferenceSettings | None = None,
    options: ScanOptions | None = None,
    series: Sequence[str] = (),
    key_path: Path | None = None,
    overwrite: bool = False,
    small_first: bool = False,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Segments every scan at or below a path.

    A scan whose results are there already, made by the same model from the same bytes
    in the same way, is left alone. The table ``predictions.csv`` is brought up to date
    after each scan, so that a killed call can be continued by repeating it.

    Args:
        model: A model folder, or a run that holds one; several of them, separated by
            commas, or a folder of runs: an ensemble. Or one that is loaded already,
            with its device, settings and post-processing.
        scans: A scan, a folder of anything, or scans whose files are known already.
        out: Where label maps and the table go.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        settings: Windows, overlap and flips.
        options: How scans are read and what is written.
        series: Rules for DICOM series, for all channels or (``name:rule``) for one.
        key_path: File with the key of the pseudonyms; made where it is absent.
        overwrite: Segment again what is there already, and try files again that
            ended an earlier reader.
        small_first: Begin with the scans whose files are smallest.
        progress: Shows progress.

    Returns:
        One entry per scan of this call, in the order of work: by name, or by size;
        those last that were segmented when an earlier call ended abruptly.

    Raises:
        MissingFileError: There is no model, or no such path.
        ModelError: The model folder is damaged.
        SettingsError: A rule cannot be understood.
        InputError: There is no scan.
        OutputError: The output folder is another call's, or cannot be written (any
            more).
    """
    shown = progress or Silent()
    start_early()
    segmenter = Segmenter.load(
        model,
        out,
        device=device,
        settings=settings,
        options=options,
        series=series,
        progress=shown,
    )
    if overwrite:
        REMEMBERED.forget(out)
    if isinstance(scans, Path):
        names = pseudonyms(key_path, progress=shown)
        with REMEMBERED.kept_in(out):
            jobs = collector_for(segmenter, names).collect(scans, progress=shown)
    else:
        jobs = list(scans)
    if small_first:
        jobs = shortest_first(jobs)
    wants_objects = segmenter.options.seg or segmenter.options.sr
    if wants_objects and jobs and all(scan.series is None for scan in jobs):
        shown.warn("no scan is a DICOM series: there will be label maps alone")
    with lock_folder(out):
        table = PredictionTable(out)
        lines = segment_all(jobs, segmenter, table, overwrite=overwrite, progress=shown)
        segmenter.write_page(table.lines, progress=shown)
    return lines


def collector_for(segmenter: Segmenter, names: Pseudonymizer) -> Collector:
    """Finds the scans that a segmenter's model takes."""
    channels = segmenter.model.plan.channels
    return Collector(channels, names, segmenter.rules, segmenter.out)


def pseudonyms(key_path: Path | None, *, progress: Progress) -> Pseudonymizer:
    """The names of DICOM scans, by the key file that was named or the user's own.

    Where the user's own cannot be made (a home without write permission), a key is
    made up for this call, and said to be.

    Raises:
        UnreadableFileError: The key file cannot be used.
        OutputError: A key file that was named cannot be made.
    """
    try:
        return load_pseudonymizer(key_path)
    except OutputError as error:
        if key_path is not None:
            raise
        progress.warn(f"{error}; DICOM scans get other names at each call, see --key")
        return Pseudonymizer(secrets.token_bytes(32))


def segment_all(
    scans: Sequence[Scan],
    segmenter: Segmenter,
    table: PredictionTable,
    *,
    overwrite: bool = False,
    progress: Progress,
) -> list[Prediction]:
    """Segments all scans; the table on disk tells what became of each, however it ends.

    Raises:
        OutputError: Nothing more can be written.
    """
    results: list[Prediction] = []
    ended = EndedCalls(segmenter.out)
    scans = ended.in_order(scans)
    for scan in scans:
        if ended.during(scan):
            progress.say(f"{scan.name}: comes last, it was segmented when a call ended")

    def note(line: Prediction) -> None:
        results.append(line)
        table.put(line)
        for output in line.missing:
            progress.warn(f"{line.scan}: {output}")
        if line.failed:
            progress.warn(f"{line.scan}: failed: {line.reason}")
        elif line.doubts:
            progress.warn(f"{line.scan}: suspect: {'; '.join(line.doubts)}")
        elif not line.is_segmented:
            progress.say(f"{line.scan}: {line.status}: {line.reason}")
        elif line.num_objects is not None:
            progress.say(f"{line.scan}: {line.size_text}")

    def earlier(scan: Scan) -> Prediction | None:
        line = table.earlier(scan.name)
        return replace(line, settings="") if line and overwrite else line

    assembly = PredictionPipeline(segmenter, earlier, ended, note)
    try:
        tracked = progress.track(scans, label="predicting", total=len(scans))
        with REMEMBERED.kept_in(segmenter.out):
            assembly.run(tracked, scans)
    except BaseException:
        with suppress(OutputError):  # what ended the loop is the thing to report
            table.flush()
        raise
    table.flush()
    return results


def shortest_first(scans: Sequence[Scan]) -> list[Scan]:
    """The scans by the size of their files; those that are gone come first."""

    def size(scan: Scan) -> int:
        try:
            return sum(path.stat().st_size for path in scan.files)
        except OSError:
            return 0

    return sorted(scans, key=size)
