"""A reader for MONAI's `LoadImage` that reads as medseg does.

DICOM folders are sorted by position, told apart where they hold several volumes, set
upright where the gantry was tilted and put on a regular grid where slices are missing;
affines are those of `medseg.read_volume`, in millimetres, RAS+.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils.enums import MetaKeys, SpaceKeys

from medseg.errors import InputError
from medseg.io import read_label_map, read_volume
from medseg.io.formats import Format, format_of, format_or_none
from medseg.volume import Volume

AnyPath = str | PathLike


class MedsegReader(ImageReader):
    """Reads what medseg reads: NIfTI, NRRD, MetaImage, DICOM, pictures.

    `LoadImage` tries its other readers where one raises while it opens a file, and so
    would answer with the geometry that was refused. Therefore a file of a known format
    is read where errors reach the caller, in `get_data`.

    Args:
        series: Which DICOM series of a folder, such as
            ``Modality=CT,Description~thorax``; without, it must hold one volume.
        labels: Read label maps: DICOM SEG, RTSTRUCT, 3D Slicer's segmentations, folders
            of masks, and whole numbers in every other format.

    Examples:
        >>> import medseg
        >>> from monai.transforms import LoadImaged
        >>> reader = medseg.monai.MedsegReader()
        >>> load = LoadImaged("image", reader=reader, ensure_channel_first=True)
        >>> load({"image": "tiny/imagesTr/tiny_000.nii.gz"})["image"].shape
        torch.Size([1, 24, 28, 20])
    """

    def __init__(self, series: str | None = None, *, labels: bool = False) -> None:
        self.series = series
        self.labels = labels

    def verify_suffix(self, filename: Sequence[AnyPath] | AnyPath) -> bool:
        """Whether all are of a format that medseg reads."""
        return all(format_or_none(path) is not None for path in _paths(filename))

    def read(
        self, data: Sequence[AnyPath] | AnyPath, **kwargs: Any
    ) -> tuple[Path, ...]:
        """The paths, which `get_data` reads.

        Args:
            data: A file, a DICOM folder, or several files as channels.
            kwargs: Not used.

        Raises:
            InputError: A file is not there, or of a format that medseg does not read.
        """
        del kwargs
        paths = _paths(data)
        if not self.labels:
            for path in paths:
                format_of(path)
        return paths

    def get_data(self, img: Sequence[Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """Voxels and their meta data.

        Args:
            img: Paths from `read`.

        Returns:
            Voxels of shape (I, J, K), (C, I, J, K) where there are several channels,
            without K for pictures; and a dictionary with ``affine``,
            ``original_affine``, ``spatial_shape``, ``space`` and
            ``original_channel_dim``.

        Raises:
            InputError: Something cannot be read or used; the message names the file.
        """
        volume = self._volume(list(img))
        voxels, affine = volume.voxels, np.array(volume.affine, np.float64)
        if voxels.shape[3] == 1 and _is_picture(img[0]):
            voxels, affine = voxels[..., 0], affine[[0, 1, 3]][:, [0, 1, 3]]
        channel_dim: float = 0
        spatial_shape = np.array(voxels.shape[1:])
        if len(voxels) == 1:
            voxels, channel_dim = voxels[0], float("nan")
        meta = {
            str(MetaKeys.AFFINE): affine,
            str(MetaKeys.ORIGINAL_AFFINE): affine.copy(),
            str(MetaKeys.SPATIAL_SHAPE): spatial_shape,
            str(MetaKeys.SPACE): SpaceKeys.RAS,
            str(MetaKeys.ORIGINAL_CHANNEL_DIM): channel_dim,
        }
        return np.ascontiguousarray(voxels), meta

    def _volume(self, paths: list[Path]) -> Volume:
        if self.labels:
            if len(paths) != 1:
                raise InputError(
                    f"{paths[0]}: {len(paths)} paths for a label map, expected one"
                )
            found = read_label_map(paths[0])
            return Volume(found.voxels[None], found.affine)
        is_dicom = len(paths) == 1 and format_of(paths[0]) is Format.DICOM
        if self.series is not None and is_dicom:
            return _chosen_series(paths[0], self.series)
        return read_volume(paths[0] if len(paths) == 1 else paths)


def _chosen_series(path: Path, rule: str) -> Volume:
    """The one volume of a DICOM tree that a rule chooses."""
    from medseg.io.dicom.scan import read_series
    from medseg.io.dicom.series import find_series
    from medseg.io.dicom.series_selection import parse_rule

    wanted, volumes = parse_rule(rule), find_series(path).volumes
    chosen = [series for series in volumes if wanted.chooses(series)]
    if len(chosen) != 1:
        found = "; ".join(str(series) for series in (chosen or volumes)[:10])
        raise InputError(
            f"{path}: series {rule!r} chooses {len(chosen)} volumes, expected one; "
            f"{'it chooses' if chosen else 'there are'}: {found or 'none'}"
        )
    return read_series(chosen[0]).volume


def _paths(filename: Sequence[AnyPath] | AnyPath) -> tuple[Path, ...]:
    if isinstance(filename, (str, PathLike)):
        return (Path(filename),)
    return tuple(Path(path) for path in filename)


def _is_picture(path: Path) -> bool:
    return format_or_none(path) is Format.PICTURE
