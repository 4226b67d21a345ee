"""From a scan to network input: reorient, crop, normalise, resample."""

from dataclasses import dataclass

import numpy as np

from medseg.errors import ONE_AXIS, GeometryError, InputError
from medseg.geometry import Grid, Reorientation, canonical_reorientation
from medseg.grid_limits import require_grid_size
from medseg.instances.object_colouring import paint
from medseg.instances.targets import encode, renumber
from medseg.labels import IGNORE_INDEX
from medseg.placement import CropBox, Placement, crop_grid, slices_of
from medseg.plan import Plan
from medseg.preparation.normalization import FaintPicture, faintness, normalize
from medseg.resampling import (
    resample_label_map,
    resample_objects,
    resample_volume,
)
from medseg.types import Affine, ImageArray, LabelArray, MaskArray, Shape, Spacing
from medseg.volume import LabelMap, Volume

AS_STORED = Reorientation((0, 1, 2), (False, False, False))
"""Leaves the voxel axes alone."""

COLOURS = ("red", "green", "blue")
"""Channels of a colour picture; a grey one shows the same in all three."""


@dataclass(frozen=True)
class Prepared:
    """Network input and the way back.

    Attributes:
        image: Normalised intensities, float32, shape (C, I, J, K).
        placement: How the image lies in the scan it was made from.
        faint: Says so where the picture has too little contrast.
    """

    image: ImageArray
    placement: Placement
    faint: FaintPicture | None = None


def preprocess(
    volume: Volume,
    plan: Plan,
    *,
    name: str = "scan",
    memory_bytes: int | None = None,
) -> Prepared:
    """Network input for one scan.

    The scan is brought closest to RAS+ (an exact permutation and flips of its axes),
    its all-zero margin is cut away if the plan says so, its intensities are
    normalised on its own voxels, and only then interpolated onto the target spacing.

    Args:
        volume: The scan, any orientation and spacing.
        plan: What was decided for the data set.
        name: Case or file, for error messages.
        memory_bytes: That the result may take; by default a share of what is free.

    Raises:
        InputError: The number of channels is not the plan's, voxels are NaN or
            infinite, or the resampled scan would be too large.
    """
    volume = with_channels(volume, plan.channel_names, name=name)
    require_finite(volume.voxels, name)
    turn = choose_turn(volume.affine, plan)
    turned = turn.apply(volume.voxels)
    grid = Grid(
        _last_three(turned), turn.apply_to_affine(volume.affine, volume.grid.shape)
    )
    crop = nonzero_box(turned) if plan.crop_nonzero else _whole(turned)
    cropped = crop_grid(grid, crop)
    prepared = resampled_grid(cropped, plan.target_spacing)
    if prepared is not cropped:
        require_grid_size(
            prepared.shape,
            measured=cropped.shape,
            what=f"{name}: voxels of {_in_mm(grid.spacing)} mm resampled to "
            f"{_in_mm(prepared.spacing)} mm",
            num_channels=len(turned),
            memory_bytes=memory_bytes,
        )
    part = turned[(slice(None), *slices_of(crop))]
    image = normalize(part, plan.channels)
    if prepared is not cropped:
        image = resample_volume(Volume(image, cropped.affine), prepared).voxels
    placement = Placement(volume.grid, turn, crop, prepared)
    return Prepared(image, placement, faintness(part, plan.channels))


def preprocess_label(
    label_map: LabelMap, placement: Placement, plan: Plan, *, name: str = "label map"
) -> LabelArray:
    """Label indices on the prepared grid, as uint8; ignored voxels are 255.

    Where the plan has a target for single objects, these are its levels.

    Args:
        label_map: Values as they are in the file, on the scan's own grid.
        placement: What `preprocess` returned for the scan.
        plan: What was decided for the data set.
        name: Case or file, for error messages.

    Raises:
        GridMismatchError: The label map is not on the scan's grid.
        LabelError: It holds values that the plan's scheme does not know.
    """
    if plan.instance_target != "none":
        return preprocess_objects(label_map, placement, plan, name=name)[0]
    placement.source.require_match(label_map.grid, what=f"{name}: against its image")
    indices = plan.labels.to_indices(label_map.voxels, name=name)
    turned = placement.reorientation.apply(indices)[slices_of(placement.crop)]
    cropped = LabelMap(np.ascontiguousarray(turned), placement.cropped.affine)
    if not placement.is_resampled:
        return cropped.voxels
    return resample_label_map(cropped, placement.prepared).voxels


def preprocess_objects(
    label_map: LabelMap, placement: Placement, plan: Plan, *, name: str = "label map"
) -> tuple[LabelArray, LabelArray]:
    """Levels of single objects on the prepared grid, and the objects painted.

    Args:
        label_map: Values as they are in the file, on the scan's own grid.
        placement: What `preprocess` returned for the scan.
        plan: With a target for single objects.
        name: Case or file, for error messages.

    Raises:
        GridMismatchError: The label map is not on the scan's grid.
    """
    kind = plan.instance_target
    assert kind != "none"
    placement.source.require_match(label_map.grid, what=f"{name}: against its image")
    numbers, ignored = _objects(label_map, placement, plan)
    flat, spacing = plan.spatial_dims == 2, placement.prepared.spacing
    levels = encode(numbers, kind, spacing=spacing, flat=flat)
    levels[ignored] = IGNORE_INDEX
    return levels, paint(numbers, levels, kind, ignored=ignored, flat=flat)


def _objects(
    label_map: LabelMap, placement: Placement, plan: Plan
) -> tuple[LabelArray, MaskArray]:
    """Object numbers on the prepared grid, and which voxels are ignored."""
    turned = placement.reorientation.apply(label_map.voxels)[slices_of(placement.crop)]
    cropped = LabelMap(np.ascontiguousarray(turned), placement.cropped.affine)
    if placement.is_resampled:
        cropped = resample_objects(cropped, placement.prepared)
    scheme, values = plan.labels, cropped.voxels
    outside = values == scheme.background
    ignored = np.zeros_like(outside)
    if scheme.ignore is not None:
        ignored = values == scheme.ignore
    return renumber(values, outside=outside | ignored), ignored


def choose_turn(affine: Affine, plan: Plan) -> Reorientation:
    """How a scan's axes are permuted and flipped for the network."""
    turn = canonical_reorientation(affine) if plan.reorient else AS_STORED
    a, b, c = axes_with_last("ijk".index(plan.slice_axis))
    return Reorientation(
        (turn.order[a], turn.order[b], turn.order[c]),
        (turn.flips[a], turn.flips[b], turn.flips[c]),
    )


def axes_with_last(last: int) -> tuple[int, int, int]:
    """The three axes in their order, one of them moved to the end."""
    a, b = (axis for axis in range(3) if axis != last)
    return a, b, last


def nonzero_box(voxels: ImageArray) -> CropBox:
    """The smallest box around the voxels that are not zero in every channel.

    The whole array where everything is zero.
    """
    known = (voxels != 0).any(axis=0)
    if not known.any():
        return _whole(voxels)
    pairs = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(known.any(axis=others))
        pairs.append((int(found[0]), int(found[-1]) + 1))
    return (pairs[0], pairs[1], pairs[2])


def resampled_grid(grid: Grid, target: Spacing) -> Grid:
    """The grid at the target spacing, or the grid itself where nothing would change.

    An axis whose target is 0, or whose number of voxels would stay the same, keeps
    its own voxels, so that rounding in headers does not blur a scan.
    """
    own = np.asarray(grid.spacing)
    wanted = np.where(np.asarray(target) > 0, target, own)
    count = np.rint(np.asarray(grid.shape) * own / wanted)
    spacing = np.where(count == grid.shape, own, wanted)
    if np.array_equal(spacing, own):
        return grid
    return grid.resampled((float(spacing[0]), float(spacing[1]), float(spacing[2])))


def with_channels(volume: Volume, names: tuple[str, ...], *, name: str) -> Volume:
    """The volume with as many channels as there are names; grey becomes colour.

    A picture in colours that are all equal is grey.

    Raises:
        GeometryError: The number of channels is another.
    """
    if volume.num_channels == len(names):
        return volume
    if volume.num_channels == 1 and names == COLOURS:
        return Volume(np.repeat(volume.voxels, len(COLOURS), axis=0), volume.affine)
    if len(names) == 1 and _is_grey(volume):
        return Volume(volume.voxels[:1], volume.affine)
    raise GeometryError(
        f"{name}: {volume.num_channels} channels, expected {len(names)} "
        f"({', '.join(names)})"
    )


def _is_grey(volume: Volume) -> bool:
    """Whether a volume is a picture whose three colours are equal."""
    first = volume.voxels[:1]
    picture = volume.num_channels == len(COLOURS) and volume.voxels.shape[-1] == 1
    return picture and bool((volume.voxels == first).all())


def require_finite(voxels: ImageArray, name: str) -> None:
    """Refuses intensities that are NaN or infinite.

    Raises:
        InputError: Some are; the message says how many.
    """
    if np.issubdtype(voxels.dtype, np.integer):
        return
    bad = int(voxels.size - np.isfinite(voxels).sum())
    if bad:
        raise InputError(
            f"{name}: {bad} of {voxels.size} voxels are NaN or infinite; "
            "repair or remove the scan (`medseg doctor` finds all of them)"
        )


def _in_mm(spacing: Spacing) -> str:
    return " × ".join(f"{size:.4g}" for size in spacing)


def require_contrast(voxels: ImageArray, name: str) -> None:
    """Refuses a scan whose voxels are all alike, in every channel.

    Raises:
        InputError: Nothing is on it; the message says what value it has.
    """
    if all(channel.min() == channel.max() for channel in voxels):
        values = ", ".join(f"{channel.flat[0]:g}" for channel in voxels)
        raise InputError(
            f"{name}: all voxels are {values} everywhere, so that nothing can be "
            "learnt from it; export the scan anew, or take the case out"
        )


def require_two_axes(shape: Shape, name: str) -> None:
    """Refuses a line of voxels.

    Raises:
        InputError: Only one axis has more than a voxel.
    """
    if sum(size > 1 for size in shape) == 1:
        raise InputError(
            f"{name}: a line of {' × '.join(map(str, shape))} voxels; {ONE_AXIS}"
        )


def edgewise_remark(grid: Grid, plan: Plan) -> str:
    """That a scan is one slice which a 2D network would see row by row, or nothing.

    Args:
        grid: After its axes were turned as the plan says, slices along the last.
        plan: What was decided for the data set.
    """
    first, second, slices = grid.shape
    if plan.spatial_dims == 3 or slices == 1 or min(first, second) > 1:
        return ""
    return (
        f"one slice that lies across the model's: the 2D network sees it as {slices} "
        f"rows of one voxel, each by itself; it was made for slices along "
        f"{plan.slice_axis}. Use a 3D model, or a 2D one trained on slices of this kind"
    )


def _whole(voxels: ImageArray) -> CropBox:
    i, j, k = _last_three(voxels)
    return ((0, i), (0, j), (0, k))


def _last_three(voxels: ImageArray) -> tuple[int, int, int]:
    i, j, k = voxels.shape[-3:]
    return (int(i), int(j), int(k))
