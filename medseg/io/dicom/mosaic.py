"""Siemens mosaics: the slices of a volume as tiles of one picture.

The number of tiles and the direction of the slices stand in Siemens' private CSA
header, which nibabel parses. ImagePositionPatient is wrong in a mosaic: it is where
the corner would be if the large picture were one slice with the same centre
(nibabel, doc/source/dicom/dicom_mosaic.rst).
"""

import math
import warnings
from dataclasses import replace

import numpy as np

from medseg.errors import UnreadableFileError
from medseg.io.dicom.frame import Frame


def is_mosaic(image_type: str) -> bool:
    """Whether ImageType, its values joined by backslashes, says MOSAIC."""
    return "MOSAIC" in image_type.upper().split("\\")


def mosaic_frames(dataset: object, whole: Frame) -> tuple[Frame, ...]:
    """One frame for each tile.

    Raises:
        UnreadableFileError: The private header that says how many tiles there are is
            missing, as anonymisation may leave it.
    """
    count, normal = _csa(dataset, whole)
    across = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // across, whole.columns // across
    gap = getattr(dataset, "SpacingBetweenSlices", None)
    gap = float(gap if gap else getattr(dataset, "SliceThickness", 1.0))
    assert whole.position is not None
    corner = (
        np.asarray(whole.position)
        + whole.row_direction * whole.pixel_spacing[1] * (whole.columns - columns) / 2
        + whole.column_direction * whole.pixel_spacing[0] * (whole.rows - rows) / 2
    )
    frames = []
    for tile in range(count):
        x, y, z = (corner + normal * gap * tile).tolist()
        frames.append(
            replace(
                whole,
                index=0,
                tile=((tile // across) * rows, (tile % across) * columns),
                rows=rows,
                columns=columns,
                position=(x, y, z),
            )
        )
    return tuple(frames)


def _csa(dataset: object, whole: Frame) -> tuple[int, np.ndarray]:
    """Number of tiles and the direction in which they are stacked."""
    with warnings.catch_warnings():  # the whole package calls itself experimental
        warnings.simplefilter("ignore", UserWarning)
        from nibabel.nicom import csareader

    try:
        header = csareader.get_csa_header(dataset, "image")  # type: ignore[no-untyped-call]
        count = csareader.get_n_mosaic(header) if header else None  # type: ignore[no-untyped-call]
        normal = csareader.get_slice_normal(header) if header else None  # type: ignore[no-untyped-call]
    except Exception as error:  # a private binary block, parsed as far as known
        raise UnreadableFileError(
            f"{whole.path}: a Siemens mosaic whose private header cannot be read"
        ) from error
    if not count or not 1 <= count <= 4096 or whole.position is None:
        raise UnreadableFileError(
            f"{whole.path}: a Siemens mosaic without the private header that says how "
            "many slices it holds; export it with private elements kept"
        )
    return int(count), whole.normal if normal is None else np.asarray(normal)
