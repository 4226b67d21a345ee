"""BIDS: scans in ``sub-X/anat``, label maps in ``derivatives/*/sub-X`` or beside them.

A session with a label map is a case, its scans are the channels. Label maps end in
``_dseg`` or, where there is none, in ``_mask`` or one of the endings that public data
sets use (ISLES' ``_msk``, OpenNeuro's ``_roi``); a ``*dseg.tsv`` names the values. The
subject is the patient. Subjects may lie in folders of sites, as those of ATLAS do. See
the BIDS specification 1.9, "Derivatives, imaging".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.datasets.case import Dataset
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.paired import dataset_of
from medseg.datasets.pairing import Pair, Pairs, common_channels, complete_images
from medseg.datasets.patients import read_table
from medseg.errors import DatasetError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme

LABEL_SUFFIXES = ("dseg", "seg", "mask", "msk", "lesion", "label", "roi")
"""In the order in which they count: of the first one found, all are label maps."""
_IMAGE_FOLDERS = ("anat", "dwi", "perf", "pet", "ct", "mr")
_ENTITY = re.compile(r"^(sub-[^_]+)(?:_(ses-[^_]+))?(?:_(.+))?_([A-Za-z0-9]+)$")


def is_bids(folder: Path) -> bool:
    """Whether a folder has BIDS subjects and label maps named as BIDS names files."""
    if not any(path.is_dir() for path in folder.glob("**/sub-*")):
        return False
    suffixes = {match[4] for _, match in _files(find_scans(folder))}
    in_derivatives = (folder / "derivatives").is_dir() and _subjects(folder)
    return bool(in_derivatives or suffixes & set(LABEL_SUFFIXES))


def load_bids(folder: Path, known: DatasetOverrides) -> Dataset:
    """The data set whose label maps are BIDS derivatives.

    Raises:
        DatasetError: No file is a label map, or a session has several.
    """
    scans = find_scans(folder)
    labels = _label_maps(folder, scans)
    images = _images(scans, folder)
    channels = common_channels(images[key] for key in labels if key in images)
    pairs = tuple(
        Pair(key, complete_images(images[key], channels), labels[key])
        for key in sorted(labels)
        if set(images.get(key, {})) & set(channels)
    )
    lost = [
        labels[key] for key in labels if key not in {pair.case_id for pair in pairs}
    ]
    if known.scheme is None:
        known = replace(known, scheme=_named_values(folder))
    return dataset_of(
        Pairs(pairs, channels, (), tuple(lost)),
        folder,
        known,
        layout=_layout(folder, labels),
        patients=(
            {key: key.split("_")[0] for key in labels},
            "patients from the BIDS subjects",
        ),
    )


def _label_maps(folder: Path, scans: Sequence[Path]) -> dict[str, Path]:
    for suffix in LABEL_SUFFIXES:
        maps: dict[str, Path] = {}
        for path, match in _files(scans):
            if match[4] != suffix:
                continue
            key = _session(match)
            if key in maps:
                raise DatasetError(
                    f"{folder}: {key} has several label maps, {maps[key].name} and "
                    f"{path.name}; list the wanted ones in a manifest"
                )
            maps[key] = path
        if maps:
            return maps
    raise DatasetError(
        f"{folder}: no file ends in _{', _'.join(LABEL_SUFFIXES)}, found {len(scans)} "
        "scans; list images and label maps in a manifest.csv"
    )


def _images(scans: Sequence[Path], folder: Path) -> dict[str, dict[str, Path]]:
    """Scans of each session, by what their name has beyond the session."""
    images: dict[str, dict[str, Path]] = {}
    for path, match in _files(scans):
        derived = "derivatives" in path.relative_to(folder).parts
        known = path.parent.name in _IMAGE_FOLDERS
        if not derived and known and match[4] not in LABEL_SUFFIXES:
            name = "_".join(filter(None, (match[3], match[4])))
            images.setdefault(_session(match), {})[name] = path
    return images


def _files(scans: Iterable[Path]) -> Iterator[tuple[Path, re.Match[str]]]:
    """The scans that are named as BIDS names files, with the parts of their names."""
    for path in scans:
        if match := _ENTITY.match(scan_stem(path)):
            yield path, match


def _session(match: re.Match[str]) -> str:
    return "_".join(filter(None, (match[1], match[2])))


def _layout(folder: Path, labels: Mapping[str, Path]) -> str:
    derived = (path.relative_to(folder).parts[0] for path in labels.values())
    return "BIDS derivatives" if "derivatives" in derived else "BIDS"


def _named_values(folder: Path) -> LabelScheme | None:
    """The scheme in a ``*dseg.tsv`` with the columns index and name."""
    for path in sorted(folder.rglob("*dseg.tsv")):
        rows = read_table(path)
        if rows and {"index", "name"} <= set(rows[0]):
            names = {row["name"]: int(row["index"]) for row in rows}
            return LabelScheme(names={n: v for n, v in names.items() if v != 0})
    return None


def _subjects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("sub-*") if path.is_dir())
