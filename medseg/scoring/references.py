"""Which references a user means: a data set, its label folder, or any label maps."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from medseg.datasets import load_dataset
from medseg.datasets.case import FOUND_IN_LABEL_MAPS, Dataset
from medseg.datasets.discovery import MOST_STRUCTURES, discover_scheme
from medseg.datasets.label_noise import values_in
from medseg.datasets.overrides import DatasetOverrides
from medseg.errors import DatasetError, InputError, LabelError, MissingFileError
from medseg.evaluation.pairs import pair_files, references_in
from medseg.io import find_scans
from medseg.labels import LabelScheme
from medseg.progress import Progress
from medseg.reading import read_label_map
from medseg.scoring.object_numbers import OBJECTS, look_at_numbers

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
    objects: bool | None = None,
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
        objects: Whether values number objects, where the user says so; None takes
            what a data set describes, else what the label maps look like.
        progress: Told where names and values come from.

    Raises:
        MissingFileError: There is no such path, or no label map below it.
        LabelError: No structure is found in the label maps.
    """
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    found, described = _find(path, predictions, scheme, progress, objects=objects)
    if scheme is not None or found.scheme.instances is objects:
        return found
    if objects is None and (described or found.scheme.instances):
        return found
    if objects is False:
        named = _by_value(found.labels, predictions)
    elif objects or _seem_objects(found.labels, predictions, progress):
        named = _as_objects(found.scheme)
    else:
        return found
    return replace(found, scheme=named)


def _find(
    path: Path,
    predictions: Path,
    scheme: LabelScheme | None,
    progress: Progress,
    *,
    objects: bool | None,
) -> tuple[References, bool]:
    """The references, and whether somebody described their values."""
    dataset = _dataset_at(path, scheme, progress)
    if dataset is not None and (labels := _labels(dataset, within=path)):
        return _from_dataset(dataset, labels), _is_described(dataset)
    if path.is_dir() and _lies_in_dataset(path):
        dataset = _dataset_at(path.resolve().parent, scheme, progress)
        if dataset is not None and (labels := _labels(dataset, within=path)):
            return _from_dataset(dataset, labels), _is_described(dataset)
    labels = references_in(path)
    described = scheme is not None
    if scheme is None:
        scheme = _discover(path, labels, predictions, progress, objects=objects)
    return References(labels, scheme, source=f"label maps in {path.name}"), described


def _is_described(dataset: Dataset) -> bool:
    return dataset.scheme_source != FOUND_IN_LABEL_MAPS


def _seem_objects(
    labels: Mapping[str, Path], predictions: Path, progress: Progress
) -> bool:
    """Whether values look like numbers of objects; says why, and how to say other."""
    try:
        pairs = pair_files(predictions, labels).pairs
    except (DatasetError, MissingFileError):
        return False  # told when they are paired to be scored
    facts = look_at_numbers(pairs)
    if facts is None:
        return False
    if facts.reason:
        progress.warn(
            f"values are taken as numbers of objects: {facts.reason}; --classes scores "
            "them as structures"
        )
        return True
    if facts.renumbered:
        progress.warn(
            "values are taken as structures, yet what lies on each other has other "
            "values; --instances scores them as numbers of objects"
        )
    return False


def _as_objects(scheme: LabelScheme) -> LabelScheme:
    """The scheme with every value one object; its only structure keeps its name."""
    names = scheme.names if len(scheme.names) == 1 else OBJECTS.names
    return LabelScheme(
        names=names, background=scheme.background, ignore=scheme.ignore, instances=True
    )


def _by_value(labels: Mapping[str, Path], predictions: Path) -> LabelScheme:
    """Each value of references and predictions a structure of its own.

    Raises:
        LabelError: There are too many values for that, or none.
    """
    files = [*labels.values(), *find_scans(predictions)]
    values: set[int] = set()
    for path in files:
        with suppress(InputError):  # told when it is scored
            values |= set(values_in(read_label_map(path, allow_shear=True).voxels))
    values.discard(0)
    if not 0 < len(values) <= MOST_STRUCTURES:
        raise LabelError(
            f"--classes: the label maps hold {len(values)} values beside 0, expected 1 "
            f"to {MOST_STRUCTURES} structures"
        )
    return LabelScheme(names={f"label_{value}": value for value in sorted(values)})


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
        for case in (*dataset.cases, *dataset.test_cases, *dataset.unlisted_cases)
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
    cases = [*dataset.cases, *dataset.test_cases, *dataset.unlisted_cases]
    return References(
        labels=labels,
        scheme=dataset.scheme,
        patients={case.case_id: case.patient_id for case in cases},
        unannotated={case.case_id: case.unannotated for case in cases},
        images={case.case_id: case.images for case in cases},
        source=f"data set {dataset.name} ({dataset.layout}; {dataset.patient_source})",
    )


def _discover(
    path: Path,
    labels: Mapping[str, Path],
    predictions: Path,
    progress: Progress,
    *,
    objects: bool | None,
) -> LabelScheme:
    """Names for the values found in the references and, unless objects, predictions."""
    if objects is False:
        return _by_value(labels, predictions)
    if objects or _seem_objects(labels, predictions, progress):
        return OBJECTS
    known = DatasetOverrides(progress=progress)
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


def _values_predicted(predictions: Path, known: DatasetOverrides) -> set[int]:
    try:
        found = discover_scheme(find_scans(predictions), root=predictions, known=known)
    except DatasetError:  # nothing but background anywhere
        return set()
    return set(found.names.values())
