"""Folders in which names alone pair images with label maps; no table, no JSON.

Understood are folders side by side (``images`` and ``labels``, under any of their usual
names, at any depth), one folder that holds both (``a_image``, ``a_label``; ``a``,
``a_seg``), one folder per case or patient, also with a folder of one mask per
structure. Files that are no scans are passed over. How scans are brought together is
told in `tree`.

Public data sets give scans as acquired beside registered ones. A network needs all
channels on one grid, so that others are left out.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.datasets.case import OWN_PATIENT, Case, Dataset
from medseg.datasets.case_ids import CasePath, distinct_ids, nameable, patients_of
from medseg.datasets.discovery import discover_channels, discover_scheme
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.pairing import Pair, Pairs, common_channels, complete_images
from medseg.datasets.patients import find_patients
from medseg.datasets.places import Place, folder_name, places_in
from medseg.datasets.splits import Split, some
from medseg.datasets.tree import Tree, TreeCase
from medseg.errors import DatasetError, InputError
from medseg.geometry import Grid, reorientation_between
from medseg.io import GeometryWarning, find_scans
from medseg.reading import read_grid

_LOOKED_AT = 3


def without_off_grid(pairs: Pairs) -> tuple[Pairs, tuple[str, ...]]:
    """Pairs without the channels that are off the label maps' grid, and those channels.

    Nothing is left out where no channel lies on the label maps' grid.
    """
    if len(pairs.channels) < 2:
        return pairs, ()
    seen = [on_grid for pair in pairs.pairs[:_LOOKED_AT] if (on_grid := _on_grid(pair))]
    kept = [
        number
        for number in range(len(pairs.channels))
        if not seen or any(on_grid[number] for on_grid in seen)
    ]
    if not kept or len(kept) == len(pairs.channels):
        return pairs, ()
    left = tuple(
        name for number, name in enumerate(pairs.channels) if number not in kept
    )
    return only_channels(pairs, kept), left


def only_channels(pairs: Pairs, kept: Sequence[int]) -> Pairs:
    """The pairs with some of their channels, in the order given."""
    return replace(
        pairs,
        channels=tuple(pairs.channels[number] for number in kept),
        pairs=tuple(
            replace(pair, images=tuple(pair.images[number] for number in kept))
            for pair in pairs.pairs
        ),
    )


def _on_grid(pair: Pair) -> list[bool] | None:
    """Whether each image lies on the label map's grid; None where it is unknown."""
    label = _grid_or_none(pair.label)
    grids = [_grid_or_none(path) for path in pair.images]
    if label is None or any(grid is None for grid in grids):
        return None
    return [
        grid is not None and reorientation_between(grid, label) is not None
        for grid in grids
    ]


def _grid_or_none(path: Path) -> Grid | None:
    with warnings.catch_warnings():  # said when the scan itself is read
        warnings.simplefilter("ignore", GeometryWarning)
        try:
            file = find_scans(path)[0] if path.is_dir() else path
            return read_grid(file, allow_shear=True)
        except (InputError, IndexError):
            return None


def has_label_maps(folder: Path) -> bool:
    """Whether a folder, or its subfolders, holds files that seem to be label maps."""
    return any(place.is_label for place in places_in(folder))


def load_tree(folder: Path, known: DatasetOverrides) -> Dataset:
    """The data set in a tree whose names say what belongs together.

    Folders called ``train``, ``val`` and ``test`` are kept as a split: the validation
    cases are held out in fold 0, test cases are never trained on.

    Raises:
        DatasetError: No image and label map belong together, or several label maps
            contend for one image.
    """
    tree = Tree(folder, _places_of_pairs(folder))
    tree.match()
    cases = _kept_apart(tree.cases)
    if not cases:
        raise DatasetError(_why_nothing_matches(folder, tree))
    channels = common_channels(case.images for case in cases.values())
    named = {
        name: case for name, case in cases.items() if set(case.images) & set(channels)
    }
    pairs = Pairs(
        pairs=tuple(
            Pair(name, complete_images(case.images, channels), case.label)
            for name, case in sorted(named.items())
        ),
        channels=tuple(filter(None, channels)),
        lone_images=tuple(sorted(_lone_images(tree, named.values(), channels))),
        lone_labels=tuple(sorted(place.path for place in tree.lone_labels)),
    )
    dataset = dataset_of(
        pairs, folder, known, layout=_layout(folder), patients=_patients(folder, named)
    )
    return _with_splits(dataset, named, tree.lone_images)


def _places_of_pairs(folder: Path) -> list[Place]:
    """The scans of a tree; of folders of images and label maps side by side, theirs.

    What lies beside such folders, as previews and results do, is none of the data.
    """
    places = places_in(folder)
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    said = {name: folder_name(name) for name in names}
    if not {"image", "label"} <= {name.role for name in said.values()}:
        return places
    kept = {name for name in names if said[name].role or said[name].split}
    return [
        place for place in places if place.path.relative_to(folder).parts[0] in kept
    ]


def dataset_of(
    pairs: Pairs,
    folder: Path,
    known: DatasetOverrides,
    *,
    layout: str,
    patients: tuple[dict[str, str], str],
) -> Dataset:
    """The data set made of pairs; what nobody said is read from the files.

    Args:
        pairs: Cases and what is left over.
        folder: The data set's folder.
        known: What the user said.
        layout: How the folder was understood.
        patients: Patient by case id, and where that comes from.

    Raises:
        DatasetError: There is no label map, or its values are no labels.
    """
    pairs, note = _chosen_channels(pairs, folder, known)
    maps = [pair.label for pair in pairs.pairs] or list(pairs.lone_labels)
    images = [pair.images for pair in pairs.pairs]
    patient_of, source = patients
    cases = tuple(
        Case(pair.case_id, patient_of[pair.case_id], pair.images, pair.label)
        for pair in pairs.pairs
    )
    return Dataset(
        name=known.name or folder.resolve().name,
        root=folder,
        channels=discover_channels(images, pairs.channels, known=known),
        scheme=discover_scheme(maps, root=folder, known=known),
        cases=cases,
        layout=f"{layout}{note}",
        patient_source=source,
        scheme_source=known.scheme_source,
        lone_images=pairs.lone_images,
        lone_labels=pairs.lone_labels,
    )


def _chosen_channels(
    pairs: Pairs, folder: Path, known: DatasetOverrides
) -> tuple[Pairs, str]:
    """The channels that the user named, else those on the label maps' grid."""
    if known.channels is not None:
        names = [name.casefold() for name in pairs.channels]
        wanted = [name.casefold() for name in known.channels]
        if names and set(wanted) <= set(names) and wanted != names:
            return only_channels(pairs, [names.index(name) for name in wanted]), ""
        return pairs, ""
    pairs, left = without_off_grid(pairs)
    if not left:
        return pairs, ""
    note = f"{', '.join(left)} left out: not on the label maps' grid"
    known.progress.warn(
        f"{folder}: channel {note}; resample it there to use it, or name the wanted "
        "channels in dataset.yaml"
    )
    return pairs, f", {note}"


def _kept_apart(cases: Sequence[TreeCase]) -> dict[str, TreeCase]:
    """The cases by an id that no two share."""
    ids = distinct_ids([CasePath(case.folders, case.name) for case in cases])
    return dict(zip(ids, cases, strict=True))


def _lone_images(
    tree: Tree, cases: Iterable[TreeCase], channels: Sequence[str]
) -> list[Path]:
    """Images without a label map, and those of a channel that few cases have."""
    left = [place.path for place in tree.lone_images if place.split != "test"]
    for case in cases:
        left += [path for name, path in case.images.items() if name not in channels]
    return left


def _patients(
    folder: Path, cases: Mapping[str, TreeCase]
) -> tuple[dict[str, str], str]:
    """Patients from a table beside the data, else from names of folders and files."""
    patients, source = find_patients(folder, list(cases))
    if source != OWN_PATIENT:
        return patients, source
    return patients_of(
        {key: CasePath(case.folders, case.name) for key, case in cases.items()}
    )


def _with_splits(
    dataset: Dataset, cases: Mapping[str, TreeCase], lone_images: Sequence[Place]
) -> Dataset:
    """The data set with the split that folders say, and its test cases."""
    test = {name for name, case in cases.items() if case.split == "test"}
    if len(test) == len(cases):
        return dataset
    val = tuple(sorted(name for name, case in cases.items() if case.split == "val"))
    train = tuple(sorted(set(cases) - test - set(val)))
    images = [place for place in lone_images if place.split == "test"]
    held_out = [case for case in dataset.cases if case.case_id in test]
    return replace(
        dataset,
        cases=tuple(case for case in dataset.cases if case.case_id not in test),
        test_cases=(*held_out, *_test_cases(images, dataset.channels, set(cases))),
        splits=(Split(0, train=train, val=val),) if val and train else (),
    )


def _test_cases(
    images: Sequence[Place], channels: tuple[str, ...], taken: set[str]
) -> tuple[Case, ...]:
    """Test images without label maps, those of one name a case."""
    cases: dict[str, list[Path]] = {}
    for place in images:
        stem = place.stem
        ending = next((c for c in channels if stem.endswith(f"_{c}")), "")
        own = stem.removesuffix(f"_{ending}") if ending else stem
        name = own if own not in channels else "_".join(place.folders[-1:]) or own
        cases.setdefault(nameable(name), []).append(place.path)
    return tuple(
        Case(name, name, tuple(sorted(paths)))
        for name, paths in sorted(cases.items())
        if name not in taken
    )


def _layout(folder: Path) -> str:
    """How the tree was understood, in words."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    roles = {folder_name(name).role: name for name in reversed(names)}
    if {"image", "label"} <= set(roles):
        return f"paired folders {roles['image']}/ and {roles['label']}/"
    return "images and label maps side by side"


def _why_nothing_matches(folder: Path, tree: Tree) -> str:
    """What was seen of a tree without a single pair, and what to write."""
    images, labels = tree.lone_images, tree.lone_labels

    def shown(places: Sequence[Place]) -> str:
        names = [place.path.relative_to(folder).as_posix() for place in places]
        return some(names, most=2) or "none"

    return (
        f"{folder}: no image belongs to a label map by its name. {len(images)} images: "
        f"{shown(images)}. {len(labels)} label maps: {shown(labels)}. List them in a "
        "manifest.csv with the columns case_id, patient_id, image or image_<channel>, "
        "and label"
    )
