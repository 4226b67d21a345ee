"""Data sets of the Medical Segmentation Decathlon: ``dataset.json`` lists the files."""

import json
from pathlib import Path
from typing import Any

from medseg.datasets.case import Case, Dataset
from medseg.datasets.known import Known
from medseg.datasets.patients import find_patients
from medseg.errors import DatasetError, UnreadableFileError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme
from medseg.settings import parse_settings

SPECIFICATION = "dataset.json"


def load_msd(folder: Path, known: Known) -> Dataset:
    """The data set that a folder's ``dataset.json`` describes.

    Files are taken as listed; whether they exist is the doctor's business.

    Raises:
        UnreadableFileError: ``dataset.json`` is not JSON.
        DatasetError: It lists no training case, or an entry has no image.
    """
    path = folder / SPECIFICATION
    values = read_specification(folder)
    entries = values.get("training")
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: lists no case under 'training'")
    pairs = [_pair(entry, path) for entry in entries]
    names = [scan_stem(Path(image)) for image, _ in pairs]
    patients, source = find_patients(folder, names)
    cases = tuple(
        Case(name, patients[name], (folder / image,), folder / label)
        for name, (image, label) in zip(names, pairs, strict=True)
    )
    return Dataset(
        name=known.name or str(values.get("name") or folder.resolve().name),
        root=folder,
        channels=known.channels or channel_names(values, path),
        scheme=known.scheme or scheme_of(values, path),
        cases=cases,
        layout="Medical Segmentation Decathlon",
        patient_source=source,
        test_cases=_test_cases(values, folder, set(names)),
        lone_images=unlisted(folder / "imagesTr", cases),
        lone_labels=unlisted(folder / "labelsTr", cases),
    )


def read_specification(folder: Path) -> dict[str, Any]:
    """What ``dataset.json`` holds.

    Raises:
        UnreadableFileError: It is not a JSON object.
    """
    path = folder / SPECIFICATION
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


def _pair(entry: Any, path: Path) -> tuple[str, str]:
    if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
        raise DatasetError(
            f"{path}: each entry of 'training' needs 'image' and 'label', found "
            f"{entry!r:.80}"
        )
    return str(entry["image"]), str(entry["label"])


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
