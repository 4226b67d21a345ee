"""Any understood layout becomes a `Dataset`."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from medseg.datasets.bids import is_bids, load_bids
from medseg.datasets.case import Dataset
from medseg.datasets.description import Description, read_description
from medseg.datasets.manifest import load_manifest
from medseg.datasets.msd import SPECIFICATION, load_msd
from medseg.datasets.nnunet import is_nnunet, load_nnunet
from medseg.datasets.overrides import DatasetOverrides
from medseg.datasets.paired import has_label_maps, load_tree
from medseg.datasets.patients import with_annotations
from medseg.errors import DatasetError, MissingFileError, PluginError
from medseg.io import find_scans
from medseg.io.formats import suffix_of
from medseg.io.special_files import linked_folders, special_files
from medseg.labels import LabelScheme
from medseg.plugins import find, names_in_use
from medseg.progress import Progress, Silent

_NAMED = 5


def warn_of_lost_links(folder: Path, dataset: Dataset, progress: Progress) -> None:
    """Says which linked folders hold scans that are in no case, and what is no file.

    Args:
        folder: The data set's folder.
        dataset: What was made of it.
        progress: Is told.
    """
    files = set(_files(dataset))
    used = {parent for path in (*files, *dataset.orphans) for parent in path.parents}
    lost = [link for link in linked_folders(folder) if link not in used]
    lost = [link for link in lost if _holds_scans(link)]
    if lost:
        progress.warn(
            f"links to folders elsewhere are not followed, the scans in them belong to "
            f"no case: {_shown(lost, folder)}"
        )
    odd = [path for path, _ in special_files(folder) if path not in files]
    if odd:
        progress.warn(
            "dangling links, FIFOs, sockets or devices belong to no case: "
            f"{_shown(odd, folder)}"
        )


def _files(dataset: Dataset) -> Iterator[Path]:
    for case in (*dataset.cases, *dataset.test_cases):
        yield from case.images
        if case.label is not None:
            yield case.label


def _holds_scans(folder: Path) -> bool:
    try:
        return any(suffix_of(path) for path in folder.iterdir())
    except OSError:
        return False


def _shown(paths: list[Path], folder: Path) -> str:
    names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:_NAMED])
    more = len(paths) - _NAMED
    return f"{names} and {more} more" if more > 0 else names


TABLES = (".csv", ".tsv")
DESCRIPTIONS = (".yaml", ".yml")


class Layout(Protocol):
    """A way in which a data set may lie on the disk."""

    @property
    def signs(self) -> str:
        """What it is recognised by, for the message when nothing is."""
        ...

    def matches(self, path: Path, /) -> bool:
        """Whether a folder or file is of this kind; quick, and raises nothing."""
        ...

    def load(self, path: Path, known: DatasetOverrides, /) -> Dataset:
        """The data set; what the user said goes before what the files say."""
        ...


@dataclass(frozen=True)
class KnownLayout:
    """One way in which a folder may hold a data set."""

    signs: str
    """What it is recognised by, for the message when nothing is."""
    matches: Callable[[Path], bool]
    load: Callable[[Path, DatasetOverrides], Dataset]


def load_dataset(
    path: Path,
    *,
    scheme: LabelScheme | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set in a folder, or the one that a table or a description names.

    Nothing needs to be renamed. Understood are the Medical Segmentation Decathlon,
    nnU-Net's raw folders, a manifest, BIDS derivatives, and images paired with label
    maps by name. A description (YAML) says what files cannot; beside a table it has
    the table's name, in a folder it is called ``dataset.yaml``.

    Whether files exist and can be read is the doctor's business, except that label
    values nobody named are read from the label maps.

    Args:
        path: Folder, CSV or TSV table, JSON data list, or YAML description.
        scheme: Labels; wins over what the data set says.
        root: Folder of the files of a table or description; their own by default.
        progress: Follows the reading of label maps.

    Raises:
        MissingFileError: There is no such path.
        DatasetError: The layout is not understood, or the data set contradicts
            itself.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    beside = _description_path(path)
    description = read_description(beside)
    known = DatasetOverrides(
        name=description.name,
        scheme=scheme or description.scheme(source=str(beside)),
        channels=description.channels,
        progress=progress or Silent(),
    )
    dataset = _load(path, known, _root(path, description, root))
    dataset = with_annotations(dataset)
    if path.is_dir():
        warn_of_lost_links(path, dataset, known.progress)
    if description.licence:
        dataset = replace(dataset, licence=description.licence)
    if description.checksums:
        return replace(dataset, checksums=beside.parent / description.checksums)
    return dataset


def _load(path: Path, known: DatasetOverrides, folder: Path) -> Dataset:
    for layout in _plugin_layouts():
        if layout.matches(path):
            return _loaded_by(layout, path, known)
    table = path.with_suffix(".csv") if path.suffix in DESCRIPTIONS else path
    if table.suffix in TABLES and table.is_file():
        return load_manifest(table, known, root=folder)
    if path.suffix == ".json":
        return load_msd(path, known, root=folder)
    return _load_folder(folder, known)


def _plugin_layouts() -> list[Layout]:
    """Layouts by path, which are asked before medseg's own.

    Raises:
        PluginError: One cannot be found, or is none.
    """
    found: list[Layout] = []
    for name in names_in_use("layouts"):
        made = find(name, kind="layouts").made()
        missing = [k for k in ("signs", "matches", "load") if not hasattr(made, k)]
        if missing:
            raise PluginError(f"layout {name}: has no {', '.join(missing)}")
        found.append(made)
    return found


def _loaded_by(layout: Layout, path: Path, known: DatasetOverrides) -> Dataset:
    dataset = layout.load(path, known)
    if not isinstance(dataset, Dataset):
        raise PluginError(
            f"layout {type(layout).__name__}: expected a medseg.Dataset, found "
            f"{type(dataset).__name__}"
        )
    return dataset


def _load_folder(folder: Path, known: DatasetOverrides) -> Dataset:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder, .csv, .tsv, .json or .yaml")
    for layout in LAYOUTS:
        if layout.matches(folder):
            return layout.load(folder, known)
    looked = "; ".join(layout.signs for layout in (*_plugin_layouts(), *LAYOUTS))
    raise DatasetError(
        f"{folder}: no data set is recognised. Found: {_contents(folder)}. Looked for: "
        f"{looked}. Any files can be listed in a manifest.csv"
    )


def _description_path(path: Path) -> Path:
    if path.is_dir():
        return path / "dataset.yaml"
    return path if path.suffix in DESCRIPTIONS else path.with_suffix(".yaml")


def _root(path: Path, description: Description, root: Path | None) -> Path:
    """The folder that holds the files: as called for, as described, or the own one."""
    if path.is_dir():
        return path
    if root is not None:
        return Path(root)
    return path.parent / (description.root or ".")


def _contents(folder: Path) -> str:
    """What a folder holds, in words."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    endings = Counter("".join(path.suffixes[-2:]) for path in find_scans(folder))
    folders = f"folders {', '.join(names[:8])}" if names else "no folder"
    scans = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(4))
    return f"{folders}; {f'scans {scans}' if scans else 'no scan'}"


def _load_manifest_in(folder: Path, known: DatasetOverrides) -> Dataset:
    """The data set of a folder's manifest; ``dataset.yaml`` wins over its own YAML."""
    path = _manifest(folder)
    assert path is not None, "recognised by its manifest"
    beside = path.with_suffix(".yaml")
    own = read_description(beside)
    merged = replace(
        known,
        name=known.name or own.name,
        scheme=known.scheme or own.scheme(source=str(beside)),
        channels=known.channels or own.channels,
    )
    return replace(load_manifest(path, merged), licence=own.licence)


def _manifest(folder: Path) -> Path | None:
    names = [f"{stem}{end}" for stem in ("manifest", "dataset") for end in TABLES]
    return next((folder / name for name in names if (folder / name).is_file()), None)


LAYOUTS = (
    KnownLayout(
        "manifest.csv with case_id, patient_id, image, label",
        lambda folder: _manifest(folder) is not None,
        _load_manifest_in,
    ),
    KnownLayout(
        "dataset.json of nnU-Net",
        is_nnunet,
        load_nnunet,
    ),
    KnownLayout(
        "dataset.json of the Decathlon",
        lambda folder: (folder / SPECIFICATION).is_file(),
        lambda folder, known: load_msd(folder / SPECIFICATION, known),
    ),
    KnownLayout(
        "BIDS subjects and label maps (_dseg, _mask, ...)",
        is_bids,
        load_bids,
    ),
    KnownLayout(
        "folders images/ and labels/ (imagesTr, scans, masks, seg, ...), files X_image "
        "and X_label or X and X_seg, folders of cases",
        has_label_maps,
        load_tree,
    ),
)
