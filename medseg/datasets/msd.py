"""Data sets of the Medical Segmentation Decathlon: ``dataset.json`` lists the files."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.datasets.case import Case, Dataset
from medseg.datasets.case_ids import ids_of_files
from medseg.datasets.folds import divide_cases
from medseg.datasets.listed_paths import ListedPaths
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.patients import find_patients
from medseg.datasets.splits import Split, named_cases, splits_of_folds
from medseg.errors import DatasetError, UnreadableFileError
from medseg.io import find_scans
from medseg.labels import LabelScheme
from medseg.settings import parse_settings

SPECIFICATION = "dataset.json"


def load_msd(
    path: Path, known: DatasetOverrides, *, root: Path | None = None
) -> Dataset:
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
    listed = ListedPaths(folder)
    images = [tuple(map(listed.path, entry.images)) for entry in entries]
    maps = [listed.path(entry.label) for entry in entries]
    names = ids_of_files([files[0] for files in images], folder)
    patients, source = find_patients(folder, names)
    labelled = tuple(
        Case(name, patients[name], files, label)
        for name, files, label in zip(names, images, maps, strict=True)
    )
    test_cases = _test_cases(values, listed, folder, set(names))
    listed.say(path, known.progress)
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
        test_cases=test_cases,
        lone_images=unlisted(folder / "imagesTr", (*labelled, *test_cases)),
        lone_labels=unlisted(folder / "labelsTr", (*labelled, *test_cases)),
        splits=splits,
        unlisted_cases=rest,
        licence=licence_of(values),
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


def licence_of(values: dict[str, Any]) -> str:
    """The terms of the data that a ``dataset.json`` states; empty if it does not."""
    found = values.get("licence") or values.get("license") or ""
    return found[:200] if isinstance(found, str) else ""


def channel_names(values: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Channel names under ``channel_names`` or ``modality``, by their number.

    A list is taken in its order, a text as the only channel, and names and numbers
    the wrong way round are turned. Names that occur twice are numbered.

    Raises:
        DatasetError: Neither is there, or the numbers are none.
    """
    key = "channel_names" if "channel_names" in values else "modality"
    named = values.get(key)
    if isinstance(named, str) and named:
        return (named,)
    if isinstance(named, list) and named:
        return _numbered([str(name) for name in named])
    if not isinstance(named, dict) or not named:
        raise DatasetError(f'{path}: names no channel; add "modality": {{"0": "MRI"}}')
    if _are_numbers(named.values()) and not _are_numbers(named):
        named = {str(number): name for name, number in named.items()}
    if not _are_numbers(named):
        raise DatasetError(
            f'{path}: "{key}" has {", ".join(map(str, named))}, expected numbers of '
            f'channels, as in {{"0": "T1", "1": "FLAIR"}}'
        )
    numbers = sorted(named, key=int)
    return _numbered([str(named[number]) for number in numbers])


def _are_numbers(values: Iterable[object]) -> bool:
    return all(str(value).isdecimal() for value in values)


def _numbered(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which none occurs twice."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{name}_{number}" for number, name in enumerate(names))


def scheme_of(values: dict[str, Any], path: Path) -> LabelScheme:
    """The label scheme under ``labels``: value: name, name: value or a list of names.

    Raises:
        DatasetError: There is none, or one name has several values.
        SettingsError: It is inconsistent.
    """
    labels = values.get("labels")
    if isinstance(labels, list):
        labels = {str(value): name for value, name in enumerate(labels)}
    if not isinstance(labels, dict) or not labels:
        raise DatasetError(f'{path}: names no label; add "labels": {{"1": "tumour"}}')
    if all(str(key).lstrip("-").isdigit() for key in labels):
        named = {str(name): int(value) for value, name in labels.items()}
        if len(named) < len(labels):
            twice = [name for name, n in Counter(labels.values()).items() if n > 1]
            raise DatasetError(
                f"{path}: several labels are called {twice[0]}; a structure has one "
                "value: name them apart and unite them as a region in dataset.yaml, "
                "or store one value"
            )
        labels = named
    return parse_settings(LabelScheme, {"names": labels}, source=f"{path}: labels")


def unlisted(folder: Path, cases: tuple[Case, ...]) -> tuple[Path, ...]:
    """Scans in a folder that belong to none of the cases."""
    files = [p for case in cases for p in (*case.images, case.label) if p is not None]
    used = {path.resolve() for path in files}
    found = find_scans(folder) if folder.is_dir() else []
    return tuple(path for path in found if path.resolve() not in used)


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
    values: dict[str, Any], listed: ListedPaths, folder: Path, taken: set[str]
) -> tuple[Case, ...]:
    """What is held out: images under ``test``, or whole entries under ``testing``."""
    items = [*(values.get("test") or []), *(values.get("testing") or [])]
    entries = [item if isinstance(item, dict) else {"image": item} for item in items]
    images = [entry["image"] for entry in entries]
    files = [
        tuple(listed.path(str(name)) for name in (n if isinstance(n, list) else [n]))
        for n in images
    ]
    names = ids_of_files([paths[0] for paths in files], folder)
    return tuple(
        Case(
            name,
            name,
            paths,
            listed.path(str(entry["label"])) if entry.get("label") else None,
        )
        for name, paths, entry in zip(names, files, entries, strict=True)
        if name not in taken
    )
