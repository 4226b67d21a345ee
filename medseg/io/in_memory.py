"""Images that other libraries hold in memory as volumes, and label maps back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from medseg.errors import InputError
from medseg.geometry import lps_from_ras
from medseg.interchange import nibabel_image, sitk_image
from medseg.types import LabelArray
from medseg.volume import LabelMap, Volume

AnyImage: TypeAlias = Any
"""A `Volume`, (array, affine), a nibabel image, a SimpleITK image, a MetaTensor, or a
list of these on one grid, one for each channel; only `Volume` comes with types."""

_KINDS = (
    "expected a path, a Volume, (array, affine), a nibabel or SimpleITK image or a "
    "MetaTensor of MONAI"
)


@dataclass(frozen=True)
class InMemoryImage:
    """An image of any library, read.

    Attributes:
        volume: Its voxels and affine.
        answer: Makes a label map on its grid the same kind of image.
    """

    volume: Volume
    answer: Callable[[LabelMap], Any]


def open_image(
    image: AnyImage, *, name: str = "image", allow_shear: bool = False
) -> InMemoryImage:
    """An image in memory as a volume, and how label maps become its kind.

    Args:
        image: See `AnyImage`. An array has the shape (I, J, K), (C, I, J, K) or, for a
            picture, (I, J); its affine takes voxel indices to mm in RAS+.
        name: What messages call it.
        allow_shear: Whether a grid with leaning axes is taken as it is.

    Raises:
        InputError: It is none of these, or its voxels or geometry are unusable.
    """
    if isinstance(image, Volume):
        return InMemoryImage(image, lambda label_map: label_map)
    if _is_array_with_affine(image):
        return _from_array(*image, name=name)
    if isinstance(image, list) and image:
        return _stacked(image, name=name, allow_shear=allow_shear)
    makers = {type_.__module__.partition(".")[0] for type_ in type(image).__mro__}
    if "monai" in makers:
        return _from_monai(image, name=name)
    if "nibabel" in makers:
        return _from_nibabel(image, name=name, allow_shear=allow_shear)
    if "SimpleITK" in makers:
        return _from_sitk(image, name=name, allow_shear=allow_shear)
    if hasattr(image, "__array__"):
        raise InputError(
            f"{name}: an array does not say where its voxels lie; give (array, affine)"
        )
    raise InputError(f"{name}: a {type(image).__name__}, {_KINDS}")


def open_label_map(image: AnyImage, *, name: str = "label map") -> LabelMap:
    """A label map in memory, of any kind that `open_image` takes, or a `LabelMap`.

    Raises:
        InputError: It is none of these, or its values are no whole numbers.
    """
    if isinstance(image, LabelMap):
        return image
    volume = open_image(image, name=name, allow_shear=True).volume
    voxels = volume.voxels[0]
    if volume.num_channels > 1 or not np.array_equal(voxels, np.rint(voxels)):
        raise InputError(
            f"{name}: {volume.num_channels} channels of {voxels.dtype}, expected one "
            "whole number for each voxel"
        )
    if not np.issubdtype(voxels.dtype, np.integer):
        voxels = voxels.astype(np.int32)
    return LabelMap(voxels, volume.affine)


def _is_array_with_affine(image: object) -> bool:
    if not isinstance(image, tuple) or len(image) != 2:
        return False
    return all(hasattr(part, "__array__") for part in image)


def _stacked(
    images: Sequence[AnyImage], *, name: str, allow_shear: bool
) -> InMemoryImage:
    """Images on one grid as channels; label maps become the kind of the first."""
    parts = [
        open_image(image, name=f"{name} {number}", allow_shear=allow_shear)
        for number, image in enumerate(images, start=1)
    ]
    first = parts[0].volume
    volumes = [part.volume.turned_to(first.grid) for part in parts]
    for number, volume in enumerate(volumes[1:], start=2):
        what = f"{name} {number} does not lie on the grid of {name} 1"
        first.grid.require_match(volume.grid, what=what)
    voxels = np.concatenate([volume.voxels for volume in volumes])
    return InMemoryImage(Volume(voxels, first.affine), parts[0].answer)


def _from_array(array: Any, affine: Any, *, name: str) -> InMemoryImage:
    voxels, where = np.asarray(array), np.asarray(affine, dtype=np.float64)
    if where.shape != (4, 4):
        raise InputError(f"{name}: its affine has shape {where.shape}, expected (4, 4)")
    if voxels.ndim not in (2, 3, 4) or voxels.dtype.kind not in "biuf":
        raise InputError(
            f"{name}: an array of {voxels.dtype} with shape {voxels.shape}, expected "
            "numbers with shape (I, J, K), (C, I, J, K) or (I, J)"
        )
    spatial = voxels.shape[-3:] if voxels.ndim > 2 else voxels.shape
    volume = Volume(_four_axes(voxels, has_channels=voxels.ndim == 4), where)
    return InMemoryImage(volume, lambda found: (found.voxels.reshape(spatial), affine))


def _from_nibabel(image: Any, *, name: str, allow_shear: bool) -> InMemoryImage:
    from medseg.io.nifti import volume_of_nifti

    def answer(found: LabelMap) -> Any:
        labels: Any = nibabel_image(found.voxels.reshape(image.shape[:3]), image.affine)
        units = getattr(image.header, "get_xyzt_units", None)
        if units is not None:
            labels.header.set_xyzt_units(units()[0])
        return labels

    volume = volume_of_nifti(image, name=Path(name), allow_shear=allow_shear)
    return InMemoryImage(volume, answer)


def _from_sitk(image: Any, *, name: str, allow_shear: bool) -> InMemoryImage:
    from medseg.io.itk import volume_of_itk

    volume = volume_of_itk(image, name=Path(name), allow_shear=allow_shear)

    def answer(found: LabelMap) -> Any:
        labels: Any = sitk_image(found.voxels, volume.affine)
        labels = labels[:, :, 0] if image.GetDimension() == 2 else labels
        if image.GetDimension() < 4:
            labels.CopyInformation(image)
        return labels

    return InMemoryImage(volume, answer)


def _from_monai(image: Any, *, name: str) -> InMemoryImage:
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.utils.enums import MetaKeys, SpaceKeys

    array = image.detach().cpu().as_tensor().numpy()
    channel_axis = _channel_axis(image, name)
    if channel_axis == -1:
        array = np.moveaxis(array, -1, 0)
    affine = np.eye(4)
    given = np.asarray(image.affine.cpu(), dtype=np.float64)
    rank = len(given) - 1  # 2 for some pictures
    affine[:rank, :rank], affine[:rank, 3] = given[:rank, :rank], given[:rank, -1]
    if image.meta.get(MetaKeys.SPACE) == SpaceKeys.LPS:
        affine = lps_from_ras(affine)
    spatial = array.shape if channel_axis is None else array.shape[1:]
    volume = Volume(_four_axes(array, has_channels=channel_axis is not None), affine)

    def answer(found: LabelMap) -> Any:
        labels = torch.from_numpy(_for_torch(found.voxels).reshape(spatial))
        labels = labels if channel_axis is None else labels.unsqueeze(channel_axis)
        meta = {key: value for key, value in image.meta.items() if key != "affine"}
        return MetaTensor(labels, affine=image.affine, meta=meta)

    return InMemoryImage(volume, answer)


def _channel_axis(image: Any, name: str) -> int | None:
    """Where a MetaTensor has its channels: 0, -1 (as some files are loaded) or None.

    Raises:
        InputError: Three axes, and nothing says whether one of them is of channels.
    """
    shape = tuple(image.shape)
    loaded = tuple(int(n) for n in image.meta.get("spatial_shape", ()))
    rank = len(loaded) or 3
    if loaded and len(shape) == rank:
        return None
    if len(shape) == rank + 1:
        is_last = loaded and shape[:-1] == loaded and shape[1:] != loaded
        return -1 if is_last else 0
    raise InputError(
        f"{name}: a MetaTensor of shape {shape}; expected (C, I, J, K), or what "
        "MONAI's LoadImage gives, whose meta data say which axes are of space"
    )


def _for_torch(labels: LabelArray) -> np.ndarray:
    kept = labels.dtype.name in {"uint8", "int16", "int32", "int64"}
    return np.ascontiguousarray(labels if kept else labels.astype(np.int64))


def _four_axes(voxels: np.ndarray, *, has_channels: bool) -> np.ndarray:
    """Voxels as (C, I, J, K); numbers of booleans."""
    voxels = voxels if has_channels else voxels[None]
    voxels = voxels[..., None] if voxels.ndim == 3 else voxels
    return voxels.view(np.uint8) if voxels.dtype == np.bool_ else voxels
