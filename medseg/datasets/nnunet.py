"""nnU-Net's raw data sets: ``imagesTr/X_0000.nii.gz``, ``labelsTr/X.nii.gz``.

Both generations of ``dataset.json`` are understood: version 1 (``modality``, labels
as value: name) and version 2 (``channel_names``, labels as name: value or as regions,
``file_ending``, cases under ``dataset``). A ``splits_final.json`` beside it is kept
exactly: ``train`` and ``val`` of each fold, and nothing of cases that it never names.
Natural images are one file of all colours under ``_0000``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.datasets.case import Case, Dataset
from medseg.datasets.folds import divide_cases
from medseg.datasets.listed_paths import ListedPaths
from medseg.datasets.msd import (
    SPECIFICATION,
    channel_names,
    licence_of,
    read_specification,
    unlisted,
)
from medseg.datasets.msd import scheme_of as plain_scheme
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.patients import find_patients
from medseg.datasets.splits import Split, named_cases
from medseg.errors import DatasetError, InputError, UnreadableFileError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme
from medseg.reading import read_volume
from medseg.settings import parse_settings

SPLITS = "splits_final.json"
COLOURS = ("red", "green", "blue")
_RGB = {"r", "g", "b", *COLOURS}


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


def load_nnunet(folder: Path, known: DatasetOverrides) -> Dataset:
    """The data set that an nnU-Net raw folder holds.

    A case is a label map in ``labelsTr`` or an image in ``imagesTr``; of either
    without the other, the files are orphans. A channel that is missing is listed
    where it should be.

    Raises:
        UnreadableFileError: A JSON file is not JSON.
        DatasetError: Channels or labels are not named, or no file has the ending.
    """
    path = folder / SPECIFICATION
    values = read_specification(path)
    channels = channel_names(values, path)
    raw = _raw_files(values, folder, channels, known)
    files = _listed(values, path, known) or raw.cases()
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
        channels=known.channels or raw.channels,
        scheme=known.scheme or scheme_of(values, path),
        cases=cases,
        layout="nnU-Net raw",
        patient_source=source,
        test_cases=raw.test_cases(),
        lone_images=unlisted(folder / "imagesTr", labelled),
        lone_labels=unlisted(folder / "labelsTr", labelled),
        splits=splits,
        unlisted_cases=rest,
        licence=licence_of(values),
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
    settings = _overlapping(named) | {"ignore": labels.get("ignore")}
    return parse_settings(LabelScheme, settings, source=f"{path}: labels")


def _overlapping(named: Mapping[str, Any]) -> dict[str, Any]:
    """A scheme whose structures are single values, and the labels its regions."""
    members = {
        name: [value] if isinstance(value, int) else [int(v) for v in value]
        for name, value in named.items()
        if name != "background"
    }
    names = {
        v: f"label_{v}" for v in sorted({v for vs in members.values() for v in vs})
    }
    names |= {vs[0]: name for name, vs in members.items() if len(vs) == 1}
    return {
        "names": {name: value for value, name in names.items()},
        "background": named.get("background", 0),
        "regions": {name: [names[v] for v in vs] for name, vs in members.items()},
    }


Files = dict[str, tuple[tuple[Path, ...], Path]]


@dataclass(frozen=True)
class RawFiles:
    """How the files of a raw folder are named."""

    folder: Path
    ending: str
    """As the files have it."""
    channels: tuple[str, ...]
    in_one_file: bool = False
    """Whether ``X_0000`` holds all channels, as pictures in colour do."""

    def images(self, folder: Path, name: str) -> tuple[Path, ...]:
        """The files of a case's channels, whether they are there or not."""
        count = 1 if self.in_one_file else len(self.channels)
        return tuple(folder / f"{name}_{n:04d}{self.ending}" for n in range(count))

    def cases(self) -> Files:
        """Cases that have a label map and at least one channel."""
        files: Files = {}
        for label in _files(self.folder / "labelsTr"):
            if label.name.endswith(self.ending):
                name = label.name[: -len(self.ending)]
                images = self.images(self.folder / "imagesTr", name)
                if any(image.exists() for image in images):
                    files[name] = (images, label)
        return files

    def test_cases(self) -> tuple[Case, ...]:
        """The cases of ``imagesTs``, with the label maps of ``labelsTs`` if any."""
        suffix = f"_0000{self.ending}"
        test = self.folder / "imagesTs"
        names = [
            path.name[: -len(suffix)]
            for path in _files(test)
            if path.name.endswith(suffix)
        ]
        labels = {
            name: self.folder / "labelsTs" / f"{name}{self.ending}" for name in names
        }
        return tuple(
            Case(
                name,
                name,
                self.images(test, name),
                labels[name] if labels[name].exists() else None,
            )
            for name in names
        )


def _raw_files(
    values: dict[str, Any],
    folder: Path,
    channels: tuple[str, ...],
    known: DatasetOverrides,
) -> RawFiles:
    ending = _ending(values, folder, known)
    raw = RawFiles(folder, ending, channels)
    images = _files(folder / "imagesTr")
    others = any(path.name.endswith(f"_0001{ending}") for path in images)
    if len(channels) < 2 or others or not images:
        return raw
    if _num_channels(images) != len(channels):
        return raw
    if len(channels) == len(COLOURS) and {name.lower() for name in channels} <= _RGB:
        channels = COLOURS
    return RawFiles(folder, ending, channels, in_one_file=True)


def _ending(values: dict[str, Any], folder: Path, known: DatasetOverrides) -> str:
    """The label maps' ending; another spelling than the files' is mended and said.

    Raises:
        DatasetError: No label map has it.
    """
    said = str(values.get("file_ending", ".nii.gz"))
    names = [path.name for path in _files(folder / "labelsTr")]
    if not names or (said[:1] == "." and any(name.endswith(said) for name in names)):
        return said
    dotted = f".{said.lstrip('.')}".lower()
    fitting = [name for name in names if name.lower().endswith(dotted)]
    if fitting and "file_ending" in values:
        found = fitting[0][-len(dotted) :]
        known.progress.warn(
            f'{folder / SPECIFICATION}: "file_ending" is "{said}", the files have '
            f'"{found}", which is taken'
        )
        return found
    if "file_ending" not in values:
        return names[0][len(scan_stem(Path(names[0]))) :]
    raise DatasetError(
        f'{folder / SPECIFICATION}: no label map ends in "file_ending" "{said}"; found '
        f"{names[0]}"
    )


def _num_channels(images: Sequence[Path]) -> int:
    """Channels of the first image that can be read."""
    for path in images[:3]:
        try:
            return read_volume(path).num_channels
        except InputError:
            continue
    return 0


def _listed(values: dict[str, Any], path: Path, known: DatasetOverrides) -> Files:
    """Cases under ``dataset``, which version 2 allows to name any path.

    Raises:
        DatasetError: A case lacks images or a label map.
    """
    listed = values.get("dataset")
    if not isinstance(listed, dict):
        return {}
    paths = ListedPaths(path.parent)
    files: Files = {}
    for name, entry in listed.items():
        if not isinstance(entry, dict) or not {"images", "label"} <= set(entry):
            raise DatasetError(
                f"{path}: {name} under 'dataset' needs 'images' and 'label', found "
                f"{entry!r:.80}"
            )
        images = tuple(paths.path(str(image)) for image in entry["images"])
        files[str(name)] = (images, paths.path(str(entry["label"])))
    paths.say(path, known.progress)
    return files


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
