"""The part of a case that fits on a page: cropped around the structures, thinned.

What was left out is said in words, for the page to show.
"""

from dataclasses import dataclass, replace

import numpy as np

from medseg.geometry import Grid, canonical_reorientation, spacing_of
from medseg.reporting.clearest_channel import clearest_channel
from medseg.types import Affine, ImageArray, LabelArray
from medseg.volume import LabelMap, Volume

MOST_VOXELS = 4_000_000
"""Voxels of all channels together that a page carries, unless told otherwise."""
MARGIN_MM = 25.0
"""Around the structures, of what is cropped."""
MARGIN_PIXELS = 200
"""The same of a picture, whose pixels have no size in mm."""


@dataclass(frozen=True)
class Excerpt:
    """Arrays as a page carries them, axes towards right, anterior and superior.

    Pictures keep their axes (column, row, 1).
    """

    image: ImageArray
    prediction: LabelArray | None
    reference: LabelArray | None
    affine: Affine
    channels: tuple[str, ...]
    """Name of each channel that is carried."""
    to_file: Affine
    """From a voxel here to the voxel index in the scan's file."""
    is_picture: bool
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @property
    def structures(self) -> np.ndarray:
        """Where either label map is not 0."""
        found = np.zeros(self.image.shape[1:], bool)
        for label_map in (self.prediction, self.reference):
            if label_map is not None:
                found |= label_map != 0
        return found


def is_picture(grid: Grid) -> bool:
    """Whether a grid is a picture's: one slice, with a pixel size at most, no place."""
    sizes = np.diag(grid.affine)
    plain = np.array_equal(grid.affine, np.diag(sizes)) and bool((sizes > 0).all())
    return plain and grid.shape[2] == 1


def cut_excerpt(
    volume: Volume,
    *,
    prediction: LabelMap | None,
    reference: LabelMap | None,
    channels: tuple[str, ...] = (),
    most_voxels: int = MOST_VOXELS,
) -> Excerpt:
    """The part of a case that a page of limited size can carry.

    Whole, where that fits; else the channel in which structures stand out most, then
    the box of the structures with a margin, then every n-th voxel.

    Args:
        volume: The scan.
        prediction: Indices of structures or numbers of objects, 0 for none.
        reference: The same.
        channels: Name of each channel; numbered where left out.
        most_voxels: Of all channels together.

    Raises:
        GridMismatchError: A label map does not lie on the scan's grid.
    """
    excerpt = _whole(volume, prediction, reference, channels)
    if excerpt.image.size > most_voxels and len(excerpt.image) > 1:
        excerpt = _one_channel(excerpt)
    if excerpt.image.size > most_voxels:
        excerpt = _cropped(excerpt)
    if excerpt.image.size > most_voxels:
        excerpt = _thinned(excerpt, most_voxels)
    return excerpt


def _whole(
    volume: Volume,
    prediction: LabelMap | None,
    reference: LabelMap | None,
    channels: tuple[str, ...],
) -> Excerpt:
    for label_map in (prediction, reference):
        if label_map is not None:
            volume.grid.require_match(label_map.grid, what="label map and scan differ")
    shape = volume.grid.shape
    names = channels or tuple(f"channel {n + 1}" for n in range(volume.num_channels))
    whole = Excerpt(
        image=volume.voxels,
        prediction=None if prediction is None else prediction.voxels,
        reference=None if reference is None else reference.voxels,
        affine=volume.affine,
        channels=names,
        to_file=np.eye(4),
        is_picture=is_picture(volume.grid),
    )
    if whole.is_picture:
        return whole
    turn = canonical_reorientation(volume.affine)
    return replace(
        whole,
        image=turn.apply(volume.voxels),
        prediction=None if prediction is None else turn.apply(prediction.voxels),
        reference=None if reference is None else turn.apply(reference.voxels),
        affine=turn.apply_to_affine(volume.affine, shape),
        to_file=turn.apply_to_affine(np.eye(4), shape),
    )


def _one_channel(excerpt: Excerpt) -> Excerpt:
    if excerpt.is_picture and len(excerpt.image) == 3:
        return excerpt  # colours belong together
    number = clearest_channel(excerpt.image, excerpt.structures)
    name = excerpt.channels[number]
    return replace(
        excerpt,
        image=excerpt.image[number : number + 1],
        channels=(name,),
        notes=(
            *excerpt.notes,
            f"only {name} of {len(excerpt.channels)} channels, in which the structures "
            "stand out most",
        ),
    )


def _cropped(excerpt: Excerpt) -> Excerpt:
    """The box around the structures with a margin; the middle where there is none."""
    found = excerpt.structures
    if not found.any():
        return excerpt
    spacing = spacing_of(excerpt.affine)
    box = []
    for axis, size in enumerate(found.shape):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(found.any(axis=others))
        margin = (
            MARGIN_PIXELS
            if excerpt.is_picture
            else int(np.ceil(MARGIN_MM / spacing[axis]))
        )
        box.append((max(0, filled[0] - margin), min(size, filled[-1] + 1 + margin)))
    if all(
        (low, high) == (0, n) for (low, high), n in zip(box, found.shape, strict=True)
    ):
        return excerpt
    margin_text = (
        f"{MARGIN_PIXELS} pixels" if excerpt.is_picture else f"{MARGIN_MM:g} mm"
    )
    return replace(
        _part(excerpt, tuple(slice(low, high) for low, high in box)),
        notes=(
            *excerpt.notes,
            f"cropped to the structures and {margin_text} around them",
        ),
    )


def _thinned(excerpt: Excerpt, most_voxels: int) -> Excerpt:
    """Every n-th voxel along each axis, finest axes first."""
    steps = np.ones(3, int)
    shape = np.asarray(excerpt.image.shape[1:])
    spacing = np.asarray(spacing_of(excerpt.affine))
    while len(excerpt.image) * np.prod(-(-shape // steps)) > most_voxels:
        able = np.where(shape > steps, spacing * steps, np.inf)
        steps[int(able.argmin())] += 1
    said = " × ".join(str(step) for step in steps[: 2 if excerpt.is_picture else 3])
    return replace(
        _part(excerpt, tuple(slice(None, None, int(step)) for step in steps)),
        notes=(
            *excerpt.notes,
            f"every {said} voxels only; fine detail and thin structures may be lost",
        ),
    )


def _part(excerpt: Excerpt, box: tuple[slice, ...]) -> Excerpt:
    """The voxels of a box with steps, and where they lie."""
    into = np.eye(4)
    for axis, part in enumerate(box):
        into[axis, axis] = part.step or 1
        into[axis, 3] = part.start or 0
    maps = (excerpt.prediction, excerpt.reference)
    prediction, reference = (None if found is None else found[box] for found in maps)
    return replace(
        excerpt,
        image=excerpt.image[(slice(None), *box)],
        prediction=prediction,
        reference=reference,
        affine=excerpt.affine @ into,
        to_file=excerpt.to_file @ into,
    )
