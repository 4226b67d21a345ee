"""What is kept of a folder that was segmented: a mosaic and a tracked run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import MedsegError
from medseg.io.formats import scan_stem
from medseg.labels import LabelScheme
from medseg.prediction.channel_files import split_channel
from medseg.prediction.records import Prediction
from medseg.progress import Progress, Silent
from medseg.reading import read_label_map, read_volume
from medseg.reporting.mosaic import MosaicTile, make_tile, write_mosaic
from medseg.reporting.shown_cases import choose_cases
from medseg.volume import LabelMap, Volume

SIZES = {"worst": "smallest", "median": "middle", "best": "largest"}
"""Without references cases are sorted by the volume that was found."""
EXPERIMENT = "predictions"
"""Of tracked calls."""


def write_prediction_mosaic(
    path: Path,
    results: Sequence[Prediction],
    *,
    scans: Path,
    label_maps: Path,
    scheme: LabelScheme,
    channels: Sequence[str] = (),
    each: int = 4,
) -> bool:
    """Writes a PNG of the scans with the smallest, middle and largest findings.

    Scans that cannot be found again under the name in the table, such as DICOM series
    whose folders name a patient, are drawn on black.

    Args:
        path: The PNG file.
        results: As `predict` gives.
        scans: What was segmented.
        label_maps: Folder of the label maps.
        scheme: What their values mean.
        channels: The model's, by which files of one scan are told from others'.
        each: Cases of each kind.

    Returns:
        Whether there was anything to draw.

    Raises:
        OutputError: The file cannot be written.
    """
    known = {result.scan: result for result in results if result.is_segmented}
    volumes = {name: result.size for name, result in known.items()}
    tiles = []
    for case in choose_cases(volumes, each=each):
        detail = f"{known[case.case_id].size_text} ({SIZES[case.reason]})"
        result = known[case.case_id]
        files = _files_of(result.source, scans, channels)
        tile = _tile(result, files, label_maps, scheme, detail)
        tiles += [tile] if tile is not None else []
    if tiles:
        write_mosaic(path, tiles, scheme=scheme)
    return bool(tiles)


def track_predictions(
    out: Path,
    results: Sequence[Prediction],
    files: Sequence[Path],
    *,
    params: Mapping[str, str],
    tracking_uri: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Keeps counts, seconds and files of a call as a tracked run.

    Args:
        out: Folder of the results; a second call adds to its run.
        results: As `predict` gives.
        files: Tables and pictures.
        params: Model and settings, in words.
        tracking_uri: Where to; by default as for training.
        progress: Warned where tracking fails.
    """
    from medseg.tracking import open_mlflow_run
    from medseg.tracking.address import resolve_tracking_uri

    metrics = {
        "scans": float(len(results)),
        "segmented": float(sum(result.is_segmented for result in results)),
        "failed": float(sum(result.failed for result in results)),
        "seconds": sum(result.seconds for result in results),
    }
    with open_mlflow_run(
        tracking_uri=resolve_tracking_uri(tracking_uri, folder=out),
        experiment=EXPERIMENT,
        run_name=out.resolve().name,
        folder=out,
        resume=(out / "tracking").exists(),
        progress=progress or Silent(),
    ) as logger:
        logger.log_params(params)
        logger.log_metrics(metrics, step=0)
        for file in files:
            logger.log_artifact(file)


def _tile(
    result: Prediction,
    files: Sequence[Path],
    label_maps: Path,
    scheme: LabelScheme,
    detail: str,
) -> MosaicTile | None:
    try:
        label_map = read_label_map(label_maps / result.outputs[0])
        return make_tile(
            _scan(result.scan, files, label_map),
            prediction=label_map,
            reference=None,
            scheme=scheme,
            title=result.scan,
            detail=detail,
        )
    except (MedsegError, IndexError):
        return None


def _files_of(source: str, scans: Path, channels: Sequence[str]) -> list[Path]:
    """The files of a line of the table, channels in order; none if not found again."""
    if scans.is_file():
        return [scans]
    place, _, name = source.rpartition("/")
    if not name.endswith("*"):
        file = scans / place / name
        return [file] if name and file.is_file() else []
    found: dict[int, Path] = {}
    folder = scans / place
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        head, channel = split_channel(scan_stem(file), channels)
        if channel is not None and head == name[:-1]:
            found[channel] = file
    return [found[number] for number in sorted(found)]


def _scan(name: str, files: Sequence[Path], label_map: LabelMap) -> Volume:
    """The scan of some files; black where it cannot be read."""
    black = np.zeros((1, *label_map.voxels.shape), np.uint8)
    try:
        volume = read_volume(list(files)) if files else Volume(black, label_map.affine)
        volume.grid.require_match(label_map.grid, what=name)
    except MedsegError:
        return Volume(black, label_map.affine)
    return volume
