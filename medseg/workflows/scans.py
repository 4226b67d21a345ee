"""Which files make up each scan of a folder, and what its result is called."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import InputError
from medseg.io import find_scans, scan_stem


@dataclass(frozen=True)
class Scan:
    """One scan to segment: a name and the files of its channels."""

    name: str
    files: tuple[Path, ...]


def collect_scans(path: Path, *, num_channels: int) -> list[Scan]:
    """The scans at or below a path, sorted by name.

    One file, or one folder of DICOM files, is one scan. Where the model wants
    several channels, files named like ``case_0000``, ``case_0001`` belong together;
    a file that holds all channels needs no such name. Files of equal name in
    different folders are told apart by the folders' names.

    Args:
        path: A scan, or a folder of scans.
        num_channels: Channels that the model wants.

    Raises:
        MissingFileError: There is no such path.
        InputError: The folder holds no scan.
    """
    files = find_scans(path)
    if not files:
        raise InputError(
            f"{path}: no scan found; expected NIfTI, NRRD, MetaImage, PNG or TIFF "
            "files, or folders of DICOM files"
        )
    root = path if path.is_dir() and files != [path] else path.parent
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        groups[_case_name(file, root, num_channels)].append(file)
    return [Scan(name, tuple(sorted(groups[name]))) for name in sorted(groups)]


def _case_name(file: Path, root: Path, num_channels: int) -> str:
    """The stem without a channel number, with the folders below the root before it."""
    stem = scan_stem(file)
    head, _, tail = stem.rpartition("_")
    if len(tail) == 4 and tail.isdigit() and (num_channels > 1 or tail == "0000"):
        stem = head or stem
    folders = file.parent.relative_to(root).parts if file != root else ()
    return "__".join([*folders, stem])
