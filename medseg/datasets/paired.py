"""Folders in which names alone pair images with label maps; no table, no JSON.

Understood are two folders side by side (``images`` and ``labels``, under any of
their usual names), one folder that holds both (``a_image``, ``a_label``; ``a``,
``a_seg``), and one folder per case or patient. Files that are no scans are passed
over.
"""

from collections.abc import Mapping
from pathlib import Path

from medseg.datasets.case import OWN_PATIENT, Case, Dataset
from medseg.datasets.discovery import discover_channels, discover_scheme
from medseg.datasets.known import Known
from medseg.datasets.pairing import LABEL_WORDS, Pair, Pairs, core_name, pair_files
from medseg.datasets.patients import find_patients
from medseg.errors import DatasetError
from medseg.io import find_scans, scan_stem

IMAGE_FOLDERS = (
    "images", "image", "imagestr", "imgs", "img", "scans", "volumes", "data", "raw",
)  # fmt: skip
LABEL_FOLDERS = (
    "labels", "label", "labelstr", "masks", "mask", "segmentations", "segmentation",
    "segs", "seg", "annotations", "groundtruth", "ground_truth", "gt", "targets",
)  # fmt: skip
TEST_FOLDERS = ("imagests", "images_test", "test_images")


def has_paired_folders(folder: Path) -> bool:
    """Whether a folder has one subfolder of images and one of label maps."""
    return bool(_child(folder, IMAGE_FOLDERS) and _child(folder, LABEL_FOLDERS))


def has_paired_files(folder: Path) -> bool:
    """Whether a folder, or its subfolders, holds files named as label maps."""
    return any(_is_label(path) for path in find_scans(folder))


def load_paired_folders(folder: Path, known: Known) -> Dataset:
    """The data set in a folder of images and a folder of label maps."""
    images, labels = _child(folder, IMAGE_FOLDERS), _child(folder, LABEL_FOLDERS)
    if images is None or labels is None:
        raise DatasetError(f"{folder}: needs a folder of images and one of label maps")
    pairs = pair_files(_names_below(images), _names_below(labels))
    test = _child(folder, TEST_FOLDERS)
    return dataset_of(
        pairs,
        folder,
        known,
        layout=f"paired folders {images.name}/ and {labels.name}/",
        patients=_patients(pairs.pairs, folder, labels),
        test_images=_names_below(test) if test else {},
    )


def load_paired_files(folder: Path, known: Known) -> Dataset:
    """The data set in one folder that holds images and label maps side by side."""
    names = _names_below(folder)
    labels = {path: name for path, name in names.items() if _is_label(path)}
    images = {path: name for path, name in names.items() if path not in labels}
    pairs = pair_files(images, labels)
    patients = _patients(pairs.pairs, folder, folder)
    layout = "images and label maps side by side"
    return dataset_of(pairs, folder, known, layout=layout, patients=patients)


def dataset_of(
    pairs: Pairs,
    folder: Path,
    known: Known,
    *,
    layout: str,
    patients: tuple[dict[str, str], str],
    test_images: Mapping[Path, str] | None = None,
) -> Dataset:
    """The data set made of pairs; what nobody said is read from the files.

    Args:
        pairs: Cases and what is left over.
        folder: The data set's folder.
        known: What the user said.
        layout: How the folder was understood.
        patients: Patient by case id, and where that comes from.
        test_images: Name of each image that is held out.

    Raises:
        DatasetError: There is no label map, or its values are no labels.
    """
    maps = [pair.label for pair in pairs.pairs] or list(pairs.lone_labels)
    images = [pair.images for pair in pairs.pairs]
    patient_of, source = patients
    cases = tuple(
        Case(pair.case_id, patient_of[pair.case_id], pair.images, pair.label)
        for pair in pairs.pairs
    )
    taken = {case.case_id for case in cases}
    return Dataset(
        name=known.name or folder.resolve().name,
        root=folder,
        channels=discover_channels(images, pairs.channels, known=known),
        scheme=discover_scheme(maps, root=folder, known=known),
        cases=cases,
        layout=layout,
        patient_source=source,
        scheme_source=known.scheme_source,
        test_cases=_test_cases(test_images or {}, pairs.channels, taken),
        lone_images=pairs.lone_images,
        lone_labels=pairs.lone_labels,
    )


def _patients(
    pairs: tuple[Pair, ...], folder: Path, labels: Path
) -> tuple[dict[str, str], str]:
    """Patients from a table beside the data, else from subfolders, else the cases."""
    patients, source = find_patients(folder, [pair.case_id for pair in pairs])
    nested = {pair.case_id: pair.label.relative_to(labels).parts for pair in pairs}
    flat = any(len(parts) < 2 for parts in nested.values())
    if source != OWN_PATIENT or flat or not pairs:
        return patients, source
    chosen = {case_id: parts[0] for case_id, parts in nested.items()}
    return chosen, "patients from the names of the subfolders"


def _test_cases(
    images: Mapping[Path, str], channels: tuple[str, ...], taken: set[str]
) -> tuple[Case, ...]:
    cases: dict[str, list[Path]] = {}
    for path, name in images.items():
        endings = (
            f"_{channel}" for channel in channels if name.endswith(f"_{channel}")
        )
        cases.setdefault(name.removesuffix(next(endings, "")), []).append(path)
    return tuple(
        Case(name, name, tuple(sorted(paths)))
        for name, paths in sorted(cases.items())
        if name not in taken
    )


def _names_below(folder: Path) -> dict[Path, str]:
    """Name of each scan below a folder, led by its subfolder where that adds to it."""
    names = {}
    for path in find_scans(folder):
        stem, parent = scan_stem(path), path.parent
        nested = parent != folder and not stem.startswith(parent.name)
        names[path] = f"{parent.name}_{stem}" if nested else stem
    return names


def _is_label(path: Path) -> bool:
    stem = scan_stem(path)
    return stem.lower() in LABEL_WORDS or core_name(stem, LABEL_WORDS) != stem


def _child(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The subfolder with the first of several names, in any case."""
    children = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    return next((children[name] for name in names if name in children), None)
