"""nnU-Net's raw data sets: ``imagesTr/X_0000.nii.gz``, ``labelsTr/X.nii.gz``.

Both generations of ``dataset.json`` are understood: version 1 (``modality``, labels
as value: name) and version 2 (``channel_names``, labels as name: value or as regions,
``file_ending``, cases under ``dataset``). A ``splits_final.json`` beside it is kept
exactly: ``train`` and ``val`` of each fold, and nothing of cases that it never names.
"""

import json
from pathlib import Path
from typing import Any

from medseg.datasets.case import Case, Dataset
from medseg.datasets.folds import divide_cases
from medseg.datasets.known import Known
from medseg.datasets.msd import (
    SPECIFICATION,
    channel_names,
    read_specification,
    unlisted,
)
from medseg.datasets.msd import scheme_of as plain_scheme
from medseg.datasets.patients import find_patients
from medseg.datasets.splits import Split, named_cases
from medseg.errors import UnreadableFileError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme
from medseg.settings import parse_settings

SPLITS = "splits_final.json"


def is_nnunet(folder: Path) -> bool:
    """Whether a folder is an nnU-Net raw data set rather than a Decathlon one."""
    if not (folder / SPECIFICATION).is_file():
        return False
    values = read_specification(folder / SPECIFICATION)
    if "channel_names" in values or "file_ending" in values:
        return True
    names = {scan_stem(path) for path in _files(folder / "imagesTr")}
    listed = {
        scan_stem(Path(str(entry.get("image"))))
        for entry in values.get("training") or []
        if isinstance(entry, dict)
    }
    return any(f"{stem}_0000" in names for stem in listed - names)


def load_nnunet(folder: Path, known: Known) -> Dataset:
    """The data set that an nnU-Net raw folder holds.

    A case is a label map in ``labelsTr`` or an image in ``imagesTr``; of either
    without the other, the files are orphans. A channel that is missing is listed
    where it should be.

    Raises:
        UnreadableFileError: A JSON file is not JSON.
        DatasetError: Channels or labels are not named.
    """
    path = folder / SPECIFICATION
    values = read_specification(path)
    channels = channel_names(values, path)
    ending = str(values.get("file_ending", ".nii.gz"))
    files = _listed(values, folder) or _found(folder, len(channels), ending)
    patients, source = find_patients(folder, list(files))
    splits = _splits(folder)
    labelled = tuple(
        Case(name, patients[name], images, label)
        for name, (images, label) in sorted(files.items())
    )
    cases, rest = divide_cases(labelled, named_cases(splits) if splits else None)
    return Dataset(
        name=known.name or str(values.get("name") or folder.resolve().name),
        root=folder,
        channels=known.channels or channels,
        scheme=known.scheme or scheme_of(values, path),
        cases=cases,
        layout="nnU-Net raw",
        patient_source=source,
        test_cases=_test_cases(folder, len(channels), ending),
        lone_images=unlisted(folder / "imagesTr", labelled),
        lone_labels=unlisted(folder / "labelsTr", labelled),
        splits=splits,
        unlisted_cases=rest,
    )


def scheme_of(values: dict[str, Any], path: Path) -> LabelScheme:
    """The label scheme; labels that are lists of values become regions.

    Structures that only occur inside regions are named ``label_`` and their value.

    Raises:
        DatasetError: No label is named.
        SettingsError: The labels contradict each other.
    """
    labels = values.get("labels")
    if not isinstance(labels, dict):
        return plain_scheme(values, path)
    named = {name: value for name, value in labels.items() if name != "ignore"}
    if not any(isinstance(value, list) for value in named.values()):
        plain = plain_scheme({"labels": named}, path)
        settings = plain.model_dump() | {"ignore": labels.get("ignore")}
        return parse_settings(LabelScheme, settings, source=f"{path}: labels")
    members = {
        name: [value] if isinstance(value, int) else [int(v) for v in value]
        for name, value in named.items()
        if name != "background"
    }
    names = {
        v: f"label_{v}" for v in sorted({v for vs in members.values() for v in vs})
    }
    names |= {vs[0]: name for name, vs in members.items() if len(vs) == 1}
    settings = {
        "names": {name: value for value, name in names.items()},
        "background": named.get("background", 0),
        "regions": {name: [names[v] for v in vs] for name, vs in members.items()},
        "ignore": labels.get("ignore"),
    }
    return parse_settings(LabelScheme, settings, source=f"{path}: labels")


Files = dict[str, tuple[tuple[Path, ...], Path]]


def _listed(values: dict[str, Any], folder: Path) -> Files:
    """Cases under ``dataset``, which version 2 allows to name any path."""
    listed = values.get("dataset")
    if not isinstance(listed, dict):
        return {}
    return {
        str(name): (
            tuple(folder / image for image in entry["images"]),
            folder / entry["label"],
        )
        for name, entry in listed.items()
    }


def _found(folder: Path, num_channels: int, ending: str) -> Files:
    """Cases that have a label map and at least one channel."""
    files: Files = {}
    for label in _files(folder / "labelsTr"):
        if not label.name.endswith(ending):
            continue
        name = label.name[: -len(ending)]
        images = _channel_files(folder / "imagesTr", name, num_channels, ending)
        if any(image.exists() for image in images):
            files[name] = (images, label)
    return files


def _channel_files(
    folder: Path, name: str, num_channels: int, ending: str
) -> tuple[Path, ...]:
    return tuple(folder / f"{name}_{n:04d}{ending}" for n in range(num_channels))


def _test_cases(folder: Path, num_channels: int, ending: str) -> tuple[Case, ...]:
    suffix = f"_0000{ending}"
    names = [
        path.name[: -len(suffix)]
        for path in _files(folder / "imagesTs")
        if path.name.endswith(suffix)
    ]
    test = folder / "imagesTs"
    return tuple(
        Case(name, name, _channel_files(test, name, num_channels, ending))
        for name in names
    )


def _splits(folder: Path) -> tuple[Split, ...]:
    """nnU-Net's own splits, where they lie beside the data set.

    Raises:
        UnreadableFileError: The file is no list of folds with lists of names.
    """
    path = folder / SPLITS
    if not path.is_file():
        return ()
    try:
        listed = json.loads(path.read_text(encoding="utf-8-sig"))
        return tuple(
            Split(fold, train=_names(split["train"]), val=_names(split["val"]))
            for fold, split in enumerate(listed)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"{path}: expected a list of folds, each with lists of case names under "
            f"'train' and 'val': {error!r}"
        ) from error


def _names(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list) or not all(isinstance(n, str) for n in listed):
        raise TypeError(f"found {listed!r:.80}")
    return tuple(listed)


def _files(folder: Path) -> list[Path]:
    return find_scans(folder) if folder.is_dir() else []
