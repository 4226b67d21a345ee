"""A folder or file that must hold exactly one DICOM volume."""

from pathlib import Path

from medseg.errors import InputError, UnreadableFileError
from medseg.io.dicom.scan import read_series
from medseg.io.dicom.series import Series, SeriesTree, find_series
from medseg.io.geometry_warning import warn_geometry
from medseg.volume import Volume


def read_dicom(path: Path, *, allow_shear: bool = False) -> Volume:
    """The one volume in a folder of DICOM files, or in one multi-frame file.

    What had to be repaired (tilt, gaps, duplicates) is issued as a
    `GeometryWarning`.

    Raises:
        InputError: No volume is there, or several are; the message names them.
    """
    scan = read_series(only_volume(find_series(path), path), allow_shear=allow_shear)
    for correction in scan.corrections:
        if correction.is_repair:
            warn_geometry(path, str(correction))
    return scan.volume


def only_volume(tree: SeriesTree, path: Path) -> Series:
    """The one readable volume of a tree.

    Raises:
        InputError: None is there, or several are, or a file is unreadable.
    """
    if tree.unreadable:
        more = len(tree.unreadable) - 1
        others = f" ({more} other files too)" if more else ""
        raise UnreadableFileError(f"{tree.unreadable[0].reason}{others}")
    if len(tree.volumes) == 1:
        return tree.volumes[0]
    if tree.volumes:
        found = "; ".join(str(series) for series in tree.volumes[:10])
        raise InputError(
            f"{path}: {len(tree.volumes)} volumes, expected one: {found}; give the "
            "folder of one, or convert them with `medseg convert`"
        )
    if tree.series:
        found = "; ".join(f"{s}: {s.reason}" for s in tree.series[:5])
        raise InputError(f"{path}: no DICOM image to segment: {found}")
    raise InputError(f"{path}: no DICOM file in it")
