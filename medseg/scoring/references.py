"""Which references a user means: a data set, its label folder, or any label maps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medseg.datasets import load_dataset
from medseg.datasets.case import Dataset
from medseg.datasets.discovery import discover_scheme
from medseg.datasets.known import Known
from medseg.errors import DatasetError, LabelError, MissingFileError
from medseg.evaluation.pairs import references_in
from medseg.io import find_scans
from medseg.labels import LabelScheme
from medseg.progress import Progress

_SIGNS = ("dataset.json", "dataset.yaml", "manifest.csv", "dataset.csv")


@dataclass(frozen=True)
class References:
    """Label maps to compare with, and what is known about their cases."""

    labels: Mapping[str, Path]
    """The reference of each case."""
    scheme: LabelScheme
    """What the values mean."""
    patients: Mapping[str, str] = field(default_factory=dict)
    """The patient of each case, where known."""
    unannotated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Structures that a case does not annotate, where known."""
    images: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """The scan of each case, where known, for pictures."""
    source: str = ""
    """Where all this comes from, in words."""


def find_references(
    path: Path,
    predictions: Path,
    *,
    scheme: LabelScheme | None,
    progress: Progress,
) -> References:
    """The references at a path.

    Tried in turn: a data set in any understood layout; the label folder of one, such
    as ``labelsTr``; a folder of label maps, whose values are named by themselves
    (``label_1``) unless a scheme is given.

    Args:
        path: Data set, manifest or folder.
        predictions: What will be compared; values that occur only there are named
            too where nothing else names the values.
        scheme: Labels; wins over what the data set says.
        progress: Told where names and values come from.

    Raises:
        MissingFileError: There is no such path, or no label map below it.
        LabelError: No structure is found in the label maps.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    dataset = _dataset_at(path, scheme, progress)
    if dataset is not None and (labels := _labels(dataset, within=path)):
        return _from_dataset(dataset, labels)
    if path.is_dir() and _lies_in_dataset(path):
        dataset = _dataset_at(path.resolve().parent, scheme, progress)
        if dataset is not None and (labels := _labels(dataset, within=path)):
            return _from_dataset(dataset, labels)
    labels = references_in(path)
    if scheme is None:
        scheme = _discover(path, labels, predictions, progress)
    return References(labels, scheme, source=f"label maps in {path.name}")


def _lies_in_dataset(folder: Path) -> bool:
    """Whether the folder around this one says that it is a data set.

    Asked before reading it, since it may as well be somebody's whole disk.
    """
    around = folder.resolve().parent
    return any((around / name).is_file() for name in _SIGNS) or any(
        sibling.is_dir() for sibling in around.glob("images*")
    )


def _dataset_at(
    path: Path, scheme: LabelScheme | None, progress: Progress
) -> Dataset | None:
    try:
        return load_dataset(path, scheme=scheme, progress=progress)
    except (DatasetError, MissingFileError, LabelError):
        return None


def _labels(dataset: Dataset, *, within: Path) -> dict[str, Path]:
    """Label maps of a data set; of a label folder, those that lie inside."""
    found = {
        case.case_id: case.label
        for case in (*dataset.cases, *dataset.test_cases)
        if case.label is not None
    }
    if within.is_file() or dataset.root.resolve() == within.resolve():
        return found
    folder = within.resolve()
    inside = {
        case_id: label
        for case_id, label in found.items()
        if label.resolve().is_relative_to(folder)
    }
    return inside


def _from_dataset(dataset: Dataset, labels: Mapping[str, Path]) -> References:
    cases = [*dataset.cases, *dataset.test_cases]
    return References(
        labels=labels,
        scheme=dataset.scheme,
        patients={case.case_id: case.patient_id for case in cases},
        unannotated={case.case_id: case.unannotated for case in cases},
        images={case.case_id: case.images for case in cases},
        source=f"data set {dataset.name} ({dataset.layout}; {dataset.patient_source})",
    )


def _discover(
    path: Path, labels: Mapping[str, Path], predictions: Path, progress: Progress
) -> LabelScheme:
    """Names for the values found in the references and, unless objects, predictions."""
    known = Known(progress=progress)
    scheme = discover_scheme(list(labels.values()), root=path, known=known)
    if scheme.instances:
        return scheme
    predicted = _values_predicted(predictions, known)
    extra = sorted(predicted - set(scheme.values))
    if not extra:
        return scheme
    progress.warn(
        f"{predictions}: holds values {extra} that no reference in {path} holds; "
        "they are scored as structures of their own"
    )
    values = sorted({*scheme.names.values(), *extra})
    return LabelScheme(names={f"label_{value}": value for value in values})


def _values_predicted(predictions: Path, known: Known) -> set[int]:
    try:
        found = discover_scheme(find_scans(predictions), root=predictions, known=known)
    except DatasetError:  # nothing but background anywhere
        return set()
    return set(found.names.values())
