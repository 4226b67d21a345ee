"""Label maps for a folder of scans: one bad scan never stops the others."""

import csv
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import MedsegError, OutputError
from medseg.files import atomic_write, hash_file, hash_text
from medseg.inference.predictor import Predictor
from medseg.inference.settings import InferenceSettings
from medseg.io import read_volume, scan_stem, write_label_map
from medseg.labels import LabelScheme
from medseg.model import Model, load_model
from medseg.progress import Progress, Silent
from medseg.volume import LabelMap
from medseg.workflows.device import peak_memory_mb, pick_device
from medseg.workflows.scans import Scan, collect_scans

TABLE = "predictions.csv"


@dataclass(frozen=True)
class Prediction:
    """What became of one scan."""

    scan: Scan
    status: str
    """``done``, ``unchanged`` or ``failed``."""
    output: str = ""
    """Name of the label map, below the output folder."""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    volumes_ml: dict[str, float] = field(default_factory=dict)
    """Volume of each structure."""
    warnings: tuple[str, ...] = ()
    reason: str = ""
    """Why it failed."""
    input_hash: str = ""
    model: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no label map."""
        return self.status == "failed"


def predict(
    model_folder: Path,
    scans: Path | Sequence[Scan],
    out: Path,
    *,
    device: str = "auto",
    settings: InferenceSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Prediction]:
    """Segments every scan at or below a path.

    A scan whose label map is there already, made by the same model from the same
    bytes, is left alone. The table ``predictions.csv`` is brought up to date after
    each scan, so that a killed call can be continued by repeating it.

    Args:
        model_folder: A model folder, or a run that holds one.
        scans: A scan, a folder of scans, a folder of DICOM files, or scans whose files
            are known already.
        out: Where label maps and the table go.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        settings: Windows, overlap and flips.
        overwrite: Segment again what is there already.
        progress: Shows progress.

    Returns:
        One entry per scan, in the order of the names.

    Raises:
        MissingFileError: There is no model, or no such path.
        ModelError: The model folder is damaged.
        InputError: There is no scan.
        OutputError: The output folder cannot be written.
    """
    progress = progress or Silent()
    model = load_model(model_folder)
    num_channels = len(model.plan.channels)
    jobs = (
        collect_scans(scans, num_channels=num_channels)
        if isinstance(scans, Path)
        else list(scans)
    )
    where = pick_device(device)
    predictor = Predictor(
        model.network.to(where), model.plan, where, settings or InferenceSettings()
    )
    known = {} if overwrite else _known(out / TABLE)
    results: dict[str, Prediction] = {}
    for job in progress.track(jobs, label="predicting", total=len(jobs)):
        result = _segment(job, predictor, model, out, known.get(job.name, {}))
        results[job.name] = result
        _write_table(out / TABLE, list(results.values()), model.plan.labels)
        if result.failed:
            progress.warn(f"{job.name}: failed: {result.reason}")
    return list(results.values())


def _segment(
    job: Scan, predictor: Predictor, model: Model, out: Path, row: dict[str, str]
) -> Prediction:
    """One scan, from its files to its label map on disk."""
    started = time.perf_counter()
    caught: list[str] = []
    try:
        input_hash = _hash_inputs(job.files)
        if _unchanged(row, out, input_hash, model):
            return _from_row(job, row, model.plan.labels)
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always", UserWarning)
            label_map, output = _run(job, predictor, out)
        caught = sorted({str(warning.message) for warning in recorded})
    except OutputError:
        raise
    except (MedsegError, OSError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        return Prediction(
            job, "failed", seconds=time.perf_counter() - started, reason=reason
        )
    return Prediction(
        job,
        "done",
        output=output.name,
        seconds=time.perf_counter() - started,
        peak_memory_mb=peak_memory_mb(predictor.device),
        volumes_ml=_volumes_ml(label_map, model.plan.labels),
        warnings=tuple(caught),
        input_hash=input_hash,
        model=model.identity,
    )


def _run(job: Scan, predictor: Predictor, out: Path) -> tuple[LabelMap, Path]:
    source: Path | Sequence[Path] = job.files if len(job.files) > 1 else job.files[0]
    volume = read_volume(source)
    label_map = predictor.predict(volume, name=job.name)
    output = out / f"{job.name}{_suffix(job.files[0])}"
    like = None if job.files[0].is_dir() else job.files[0]
    write_label_map(output, label_map, like=like)
    return label_map, output


def _suffix(file: Path) -> str:
    """The scan's own format where it can hold labels, else compressed NIfTI."""
    suffix = "" if file.is_dir() else file.name[len(scan_stem(file)) :].lower()
    if suffix in {".nrrd", ".mha", ".png", ".tif", ".tiff", ".nii"}:
        return suffix
    return ".png" if suffix in {".jpg", ".jpeg", ".bmp"} else ".nii.gz"


def _volumes_ml(label_map: LabelMap, scheme: LabelScheme) -> dict[str, float]:
    voxel_ml = label_map.grid.voxel_volume_mm3 / 1000
    return {
        name: float((label_map.voxels == value).sum() * voxel_ml)
        for name, value in scheme.names.items()
    }


def _hash_inputs(files: Sequence[Path]) -> str:
    """Hash of all files' bytes; a DICOM folder counts with all its files."""
    parts = []
    for file in files:
        members = sorted(file.iterdir()) if file.is_dir() else [file]
        parts += [hash_file(member) for member in members if member.is_file()]
    return hash_text("\n".join(parts))


def _unchanged(row: dict[str, str], out: Path, input_hash: str, model: Model) -> bool:
    return (
        row.get("status") in {"done", "unchanged"}
        and row.get("input_sha256") == input_hash
        and row.get("model") == model.identity
        and (out / row["output"]).is_file()
    )


def _from_row(job: Scan, row: dict[str, str], scheme: LabelScheme) -> Prediction:
    return Prediction(
        job,
        "unchanged",
        output=row["output"],
        seconds=float(row["seconds"]),
        peak_memory_mb=float(row["peak_memory_mb"]),
        volumes_ml={name: float(row[f"{name}_ml"]) for name in scheme.names},
        warnings=tuple(filter(None, row["warnings"].split("; "))),
        input_hash=row["input_sha256"],
        model=row["model"],
    )


def _known(path: Path) -> dict[str, dict[str, str]]:
    """Rows of an earlier call, by scan."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["scan"]: row for row in csv.DictReader(stream)}


def _write_table(
    path: Path, results: Sequence[Prediction], scheme: LabelScheme
) -> None:
    volumes = [f"{name}_ml" for name in scheme.names]
    fields = [
        "scan",
        "status",
        "output",
        "seconds",
        "peak_memory_mb",
        *volumes,
        "warnings",
        "reason",
        "input_sha256",
        "model",
    ]
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, fields)
        writer.writeheader()
        for result in results:
            writer.writerow(_row(result))


def _row(result: Prediction) -> dict[str, object]:
    return {
        "scan": result.scan.name,
        "status": result.status,
        "output": result.output,
        "seconds": f"{result.seconds:.3f}",
        "peak_memory_mb": f"{result.peak_memory_mb:.0f}",
        **{f"{name}_ml": f"{ml:.6g}" for name, ml in result.volumes_ml.items()},
        "warnings": "; ".join(result.warnings),
        "reason": result.reason,
        "input_sha256": result.input_hash,
        "model": result.model,
    }
