"""Data sets of the Medical Segmentation Decathlon: ``dataset.json`` lists the files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.datasets.case import Case, Dataset
from medseg.datasets.folds import divide_cases
from medseg.datasets.known import Known
from medseg.datasets.patients import find_patients
from medseg.datasets.splits import Split, named_cases, splits_of_folds
from medseg.errors import DatasetError, UnreadableFileError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme
from medseg.settings import parse_settings

SPECIFICATION = "dataset.json"


def load_msd(path: Path, known: Known, *, root: Path | None = None) -> Dataset:
    """The data set that a ``dataset.json``, or a MONAI data list, describes.

    Beyond the Decathlon's own form, an entry may list one image per channel and a
    ``fold``, in which it validates; without folds, cases under ``validation`` are held
    out in fold 0, the only one. Files are taken as listed; whether they exist is the
    doctor's business.

    Args:
        path: The JSON file.
        known: What the user said.
        root: Folder that paths are relative to; the JSON file's own by default.

    Raises:
        UnreadableFileError: It is not JSON.
        DatasetError: It lists no training case, or an entry has no image.
    """
    folder = path.parent if root is None else root
    values = read_specification(path)
    entries = _entries(values, path)
    names = [scan_stem(Path(entry.images[0])) for entry in entries]
    patients, source = find_patients(folder, names)
    labelled = tuple(
        Case(
            name,
            patients[name],
            tuple(folder / image for image in entry.images),
            folder / entry.label,
        )
        for name, entry in zip(names, entries, strict=True)
    )
    splits = _splits(dict(zip(names, entries, strict=True)))
    cases, rest = divide_cases(labelled, named_cases(splits) if splits else None)
    return Dataset(
        name=known.name or str(values.get("name") or folder.resolve().name),
        root=folder,
        channels=known.channels or channel_names(values, path),
        scheme=known.scheme or scheme_of(values, path),
        cases=cases,
        layout="Medical Segmentation Decathlon",
        patient_source=source,
        test_cases=_test_cases(values, folder, set(names)),
        lone_images=unlisted(folder / "imagesTr", labelled),
        lone_labels=unlisted(folder / "labelsTr", labelled),
        splits=splits,
        unlisted_cases=rest,
    )


def read_specification(path: Path) -> dict[str, Any]:
    """What a ``dataset.json`` holds.

    Raises:
        UnreadableFileError: It is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise UnreadableFileError(f"{path}: expected an object, found a list or value")
    return values


def channel_names(values: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Channel names under ``channel_names`` or ``modality``, by their number.

    Raises:
        DatasetError: Neither is there.
    """
    named = values.get("channel_names", values.get("modality"))
    if not isinstance(named, dict) or not named:
        raise DatasetError(f'{path}: names no channel; add "modality": {{"0": "MRI"}}')
    numbers = sorted(named, key=lambda number: int(number))
    return tuple(str(named[number]) for number in numbers)


def scheme_of(values: dict[str, Any], path: Path) -> LabelScheme:
    """The label scheme under ``labels``, written as value: name or name: value.

    Raises:
        DatasetError: There is none.
        SettingsError: It is inconsistent.
    """
    labels = values.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise DatasetError(f'{path}: names no label; add "labels": {{"1": "tumour"}}')
    if all(str(key).lstrip("-").isdigit() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    return parse_settings(LabelScheme, {"names": labels}, source=f"{path}: labels")


def unlisted(folder: Path, cases: tuple[Case, ...]) -> tuple[Path, ...]:
    """Scans in a folder that belong to none of the cases."""
    used = {path for case in cases for path in (*case.images, case.label)}
    found = find_scans(folder) if folder.is_dir() else []
    return tuple(path for path in found if path not in used)


@dataclass(frozen=True)
class _Entry:
    """A training case as the JSON lists it."""

    images: tuple[str, ...]
    label: str
    part: str
    fold: int | None


def _entries(values: dict[str, Any], path: Path) -> list[_Entry]:
    parts = {part: values.get(part) for part in ("training", "validation")}
    listed = {part: v for part, v in parts.items() if isinstance(v, list) and v}
    if "training" not in listed:
        raise DatasetError(f"{path}: lists no case under 'training'")
    return [
        _entry(entry, path, part)
        for part, entries in listed.items()
        for entry in entries
    ]


def _splits(entries: Mapping[str, _Entry]) -> tuple[Split, ...]:
    """The splits that a data list gives, by its entries' folds or by its parts."""
    folds = {n: entry.fold for n, entry in entries.items() if entry.fold is not None}
    if folds:
        return splits_of_folds(folds)
    val = tuple(n for n, entry in entries.items() if entry.part == "validation")
    if not val:
        return ()
    return (Split(0, train=tuple(n for n in entries if n not in set(val)), val=val),)


def _entry(entry: Any, path: Path, part: str) -> _Entry:
    if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
        raise DatasetError(
            f"{path}: each entry of 'training' needs 'image' and 'label', found "
            f"{entry!r:.80}"
        )
    images = entry["image"] if isinstance(entry["image"], list) else [entry["image"]]
    fold = entry.get("fold")
    if fold is not None and not str(fold).isdecimal():
        raise DatasetError(f"{path}: fold {fold!r}, expected a whole number from 0")
    return _Entry(
        images=tuple(str(image) for image in images),
        label=str(entry["label"]),
        part=part,
        fold=None if fold is None else int(fold),
    )


def _test_cases(
    values: dict[str, Any], folder: Path, taken: set[str]
) -> tuple[Case, ...]:
    listed = values.get("test") or []
    images = [str(item["image"] if isinstance(item, dict) else item) for item in listed]
    return tuple(
        Case(name, name, (folder / image,))
        for image in images
        if (name := scan_stem(Path(image))) not in taken
    )
