"""BIDS: scans in ``sub-X/anat``, label maps in ``derivatives/*/sub-X/anat``.

A session with a label map is a case. Label maps end in ``_dseg`` or, where there is
none, in ``_mask``; a ``*dseg.tsv`` beside them names the values. The subject is the
patient. See the BIDS specification 1.9, "Derivatives, imaging".
"""

import re
from dataclasses import replace
from pathlib import Path

from medseg.datasets.case import Dataset
from medseg.datasets.known import Known
from medseg.datasets.paired import dataset_of
from medseg.datasets.pairing import Pair, Pairs, common_channels, complete_images
from medseg.datasets.patients import read_table
from medseg.errors import DatasetError
from medseg.io import find_scans, scan_stem
from medseg.labels import LabelScheme

_ENTITY = re.compile(r"^(sub-[^_]+)(?:_(ses-[^_]+))?(?:_(.+))?_([A-Za-z0-9]+)$")


def is_bids(folder: Path) -> bool:
    """Whether a folder has BIDS subjects and derivatives of them."""
    return bool(_subjects(folder)) and (folder / "derivatives").is_dir()


def load_bids(folder: Path, known: Known) -> Dataset:
    """The data set whose label maps are BIDS derivatives.

    Raises:
        DatasetError: No derivative is a label map, or a session has several.
    """
    labels = _label_maps(folder)
    images = _images(folder)
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
        layout="BIDS derivatives",
        patients=(
            {key: key.split("_")[0] for key in labels},
            "patients from the BIDS subjects",
        ),
    )


def _label_maps(folder: Path) -> dict[str, Path]:
    scans = find_scans(folder / "derivatives")
    for suffix in ("dseg", "mask"):
        maps: dict[str, Path] = {}
        for path in scans:
            match = _ENTITY.match(scan_stem(path))
            if match is None or match[4] != suffix:
                continue
            key = "_".join(filter(None, (match[1], match[2])))
            if key in maps:
                raise DatasetError(
                    f"{folder}: {key} has several label maps, {maps[key].name} and "
                    f"{path.name}; list the wanted ones in a manifest"
                )
            maps[key] = path
        if maps:
            return maps
    raise DatasetError(
        f"{folder / 'derivatives'}: no file ends in _dseg or _mask, found "
        f"{len(scans)} other scans"
    )


def _images(folder: Path) -> dict[str, dict[str, Path]]:
    """Anatomical scans of each session, by what their name has beyond the session."""
    images: dict[str, dict[str, Path]] = {}
    for subject in _subjects(folder):
        for path in find_scans(subject):
            match = _ENTITY.match(scan_stem(path))
            if match is not None and path.parent.name == "anat":
                key = "_".join(filter(None, (match[1], match[2])))
                name = "_".join(filter(None, (match[3], match[4])))
                images.setdefault(key, {})[name] = path
    return images


def _named_values(folder: Path) -> LabelScheme | None:
    """The scheme in a ``*dseg.tsv`` with the columns index and name."""
    for path in sorted((folder / "derivatives").rglob("*dseg.tsv")):
        rows = read_table(path)
        if rows and {"index", "name"} <= set(rows[0]):
            names = {row["name"]: int(row["index"]) for row in rows}
            return LabelScheme(names={n: v for n, v in names.items() if v != 0})
    return None


def _subjects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("sub-*") if path.is_dir())
